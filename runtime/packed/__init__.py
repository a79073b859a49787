"""The ``packed`` executor: a plan for every batch size, and for every layer the kernel estimated fastest.

Weights are several outputs a float, sign and magnitude planes of words, or lists of bit rows.
"""
