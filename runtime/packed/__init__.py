"""The ``packed`` executor: activations as bit planes in 64-bit words, weights as sign and magnitude
planes, products as and/xor, sums as popcounts."""
