"""Timing that survives a shared machine: alternate the candidates, take medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

WARM_UP = 3


def alternate_ms(
    calls: Mapping[str, Callable[[], object]], budget_s: float = 1.0, repeats: int = 50
) -> dict[str, float]:
    """Median wall-clock milliseconds of each call, run in turns.

    Stops after ``repeats`` rounds, or after ``budget_s`` seconds and at least five rounds.
    """
    for _ in range(WARM_UP):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(repeats):
        if done >= 5 and time.perf_counter() - start > budget_s:
            break
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - before)
    return {name: 1000 * float(np.median(seconds)) for name, seconds in times.items()}
