"""HEQ as a method: what its rule, its update frequency, a zero median and the number of levels do."""
