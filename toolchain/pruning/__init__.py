"""Pruning: global magnitude pruning, the lottery-ticket protocols, and studies of many runs.

Source: arXiv 2308.06780. ``magnitude`` prunes one network; ``settings`` and ``plan`` say which runs a
study consists of, ``protocol`` trains one of them, ``queue``, ``study`` and ``workers`` share them out,
``results`` and ``plot`` show what came out.
"""
