"""The ``packed`` executor: activations as bit planes in 64-bit words, products as and/xor.

Weights are sign and magnitude planes, their sums popcounts; sparse weights are lists added bit by bit.
"""
