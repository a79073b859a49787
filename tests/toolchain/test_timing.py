"""Timing in turns: who runs how often, and what comes of it."""

import time
from collections import Counter

from toolchain.timing import FEWEST_TURNS, WARM_UP, Times, alternate, alternate_ms


def test_quartiles_are_of_the_turns() -> None:
    times = Times.of([0.001, 0.002, 0.003, 0.004, 0.010], calls=7)
    assert (times.quartile1_ms, times.median_ms, times.quartile3_ms) == (2, 3, 4)
    assert (times.best_ms, times.turns, times.calls) == (1, 5, 35)


def test_every_call_gets_the_same_turns_and_short_ones_are_repeated_within_one() -> None:
    made: Counter[str] = Counter()

    def slow() -> None:
        made["slow"] += 1
        time.sleep(0.003)

    def fast() -> None:
        made["fast"] += 1

    heard: list[str] = []
    found = alternate({"slow": slow, "fast": fast}, budget_s=60, repeats=6, progress=heard.append)
    assert found["slow"].turns == found["fast"].turns == 6
    assert (found["slow"].calls, made["slow"]) == (6, 6 + WARM_UP)
    assert found["fast"].calls > found["fast"].turns
    assert heard[:2] == ["warming up slow", "warming up fast"]
    assert heard[-1] == "turn 6 of at most 6"


def test_the_budget_ends_it_after_five_turns() -> None:
    found = alternate({"nothing": lambda: None}, budget_s=0, repeats=1000)
    assert found["nothing"].turns == FEWEST_TURNS
    assert set(alternate_ms({"nothing": lambda: None}, budget_s=0)) == {"nothing"}
