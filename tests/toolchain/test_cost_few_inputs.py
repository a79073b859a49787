"""Neurons that read few bits are tables: the look-up tables they are counted as."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.ops import Dense, Threshold
from runtime.types import Interval, TensorType
from runtime.weights import Weights
from toolchain.cost.columns import luts_of
from toolchain.cost.linear import linear


def tables(codes: list[int], thresholds: int = 1, top: int = 1) -> tuple[int, int, float]:
    """LUT4 and LUT6 of a neuron with these weights on inputs within 0..``top``, and its gates."""
    weights = np.array([codes], np.int8)
    limits = np.arange(1, thresholds + 1)[None]
    op, type_ = Dense(Weights(weights, 3)), TensorType((len(codes),), Interval(0, top))
    trees, tests = linear(op, type_, Threshold(limits, np.ones(1, np.int64)))
    whole = (trees + tests).parallel
    assert (trees + tests).one_position == whole
    return whole.lut4, whole.lut6, whole.ge


@pytest.mark.parametrize("inputs", [2, 3, 4, 5, 6])
def test_a_neuron_of_few_bits_is_a_table_at_most(inputs):
    four, six, ge = tables([1, -1] * (inputs // 2) + [1] * (inputs % 2))
    assert four <= luts_of(inputs, 4)
    assert six == 1
    assert ge > 0


def test_zero_weights_and_words_count_by_the_bits_that_are_read():
    assert tables([1, 0, 0, -1, 0, 1, 0, 1])[:2] == (1, 1)
    assert tables([1, 1], top=3)[:2] == (1, 1), "two words of two bits"
    assert tables([1, 1], thresholds=2, top=3)[:2] == (2, 2), "a table for each bit of the code"


def test_a_neuron_of_many_bits_is_counted_in_adders():
    few, many = tables([1] * 8), tables([1] * 9)
    assert few[0] <= many[0]
    assert many[0] > 9
