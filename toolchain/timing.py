"""Timing that survives a shared machine: alternate the candidates, take medians."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]

WARM_UP = 3
"""Calls before the first that counts; one is enough where it takes longer than ``LONG_S``."""

LONG_S = 0.25

FEWEST_TURNS = 5

TURN_S = 0.002
"""A turn repeats a short call until about this much time has passed, so that what ran before it, and the
clock, weigh little."""


@dataclass(frozen=True, slots=True)
class Times:
    """Wall-clock milliseconds of one call: quartiles and the best of its turns; ``calls`` made in all."""

    median_ms: float
    quartile1_ms: float
    quartile3_ms: float
    best_ms: float
    turns: int
    calls: int

    @staticmethod
    def of(seconds: list[float], calls: int) -> Times:
        """From the seconds a call took in each turn, and the calls made in a turn."""
        quartiles = 1000 * np.percentile(seconds, (25, 50, 75))
        first, median, third = map(float, quartiles)
        return Times(median, first, third, 1000 * min(seconds), len(seconds), len(seconds) * calls)


def alternate(
    calls: Mapping[str, Call],
    budget_s: float = 1.0,
    repeats: int = 50,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Times]:
    """Times of each call, run in turns, in another random order every round.

    Stops after ``repeats`` rounds, or after ``budget_s`` seconds and at least five rounds, or ``repeats``
    if that is fewer. ``progress`` hears what is done.
    """
    tell = progress or (lambda _: None)
    counts = {}
    for name, call in calls.items():
        tell(f"warming up {name}")
        counts[name] = max(1, min(1000, math.ceil(TURN_S / warm_up(call))))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, rng = list(calls), np.random.default_rng(0)
    start = time.perf_counter()
    for done in range(repeats):
        if done >= FEWEST_TURNS and time.perf_counter() - start > budget_s:
            break
        tell(f"turn {done + 1} of at most {repeats}")
        for name in rng.permutation(order).tolist():
            seconds[name].append(_turn(calls[name], counts[name]))
    return {name: Times.of(found, counts[name]) for name, found in seconds.items()}


def warm_up(call: Call) -> float:
    """Run ``call`` a few times; the seconds of the fastest."""
    best = math.inf
    for _ in range(WARM_UP):
        best = min(best, _turn(call, 1))
        if best > LONG_S:
            break
    return max(best, 1e-9)


def _turn(call: Call, count: int) -> float:
    before = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - before) / count


def alternate_ms(calls: Mapping[str, Call], budget_s: float = 1.0, repeats: int = 50) -> dict[str, float]:
    """Median wall-clock milliseconds of each call; see ``alternate``."""
    return {name: times.median_ms for name, times in alternate(calls, budget_s, repeats).items()}
