"""Functions of many inputs by several tables: they are the function, and no more than it takes."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.netlist.splits import Steps, halved, split
from exporters.netlist.truth import column, ones


def value(steps: Steps, table: int, inputs: int, size: int) -> int:
    """The table that ``steps`` compute, row by row."""
    found = 0
    for row in range(1 << inputs):
        places = [row >> i & 1 for i in range(inputs)]
        for step in steps:
            assert len(step.inputs) <= size
            places.append(step.table >> sum(places[p] << i for i, p in enumerate(step.inputs)) & 1)
        found |= places[-1] << row
    return found


def random_table(seed: int, inputs: int) -> int:
    rng = np.random.default_rng(seed)
    return sum(int(bit) << i for i, bit in enumerate(rng.integers(0, 2, 1 << inputs)))


@pytest.mark.parametrize("seed", range(20))
def test_a_split_is_the_function(seed: int) -> None:
    inputs, size = (7, 6) if seed % 2 else (6, 4)
    inner = random_table(seed, 4)
    left = sum((inner >> (row & 15) & 1) << row for row in range(1 << inputs))
    table = left ^ column(inputs - 1, inputs) & column(inputs - 2, inputs)
    found = split(table, inputs, size)
    assert found is not None
    assert len(found) == 2
    assert value(found, table, inputs, size) == table


def test_an_and_of_seven_is_two_tables_and_a_random_function_has_no_split() -> None:
    table = ones(7)
    for place in range(7):
        table &= column(place, 7)
    assert len(split(table, 7, 6) or ()) == 2
    assert split(random_table(0, 6), 6, 4) is None


@pytest.mark.parametrize("seed", range(20))
def test_any_function_of_six_inputs_is_six_tables_of_four_at_most(seed: int) -> None:
    table = random_table(seed, 6)
    found = halved(table, 6, 4)
    assert len(found) <= 6
    assert value(found, table, 6, 4) == table


@pytest.mark.parametrize(
    ("table", "tables"),
    [
        (column(0, 6) & column(1, 6) ^ column(4, 6) & column(5, 6), 1),
        (column(0, 6) ^ column(1, 6) ^ column(2, 6) ^ column(3, 6) ^ column(4, 6) ^ column(5, 6), 2),
        (column(5, 6) & column(0, 6) | ~column(5, 6) & column(1, 6) & ones(6), 1),
    ],
)
def test_simple_functions_take_few(table: int, tables: int) -> None:
    found = halved(table, 6, 4)
    assert len(found) == tables
    assert value(found, table, 6, 4) == table
