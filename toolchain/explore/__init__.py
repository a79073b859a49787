"""Exploration: many small trainings that look for the best accuracy at every cost.

``space`` is what may vary, ``settings`` what decides an exploration, ``costs`` says what a program costs
and whether that is allowed, ``pareto`` which results count and when a training is given up. ``ledger``
shares the trials out among workers, ``trial`` makes one of them a run directory, ``exploration`` and
``workers`` do all until none is left; ``results`` and ``plot`` show what came out.
"""
