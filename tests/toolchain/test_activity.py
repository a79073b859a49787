"""How busy stored values are, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Not, Reshape, Threshold
from runtime.types import BIT, Interval
from runtime.weights import Weights
from toolchain.cost.activity import FEWEST, MAC_BUDGET, MOST, measure_activity, sample_count


def network() -> Program:
    """Bits, their complement under two names, and the threshold of a sum that is never stored."""
    b = Builder("busy")
    x = b.input("x", (2, 1, 2), BIT)
    no = b.add(Not(), x, name="no")
    flat = b.add(Reshape((4,)), no, name="flat")
    sums = b.add(Conv2d(Weights(np.array([[[[1]], [[1]]]]), 3)), x, name="sums")
    both = b.add(Threshold(np.array([[1, 2]]), np.ones(1, int)), sums, name="both")
    return b.build((flat, both))


def test_shares_are_those_counted_by_hand() -> None:
    samples = np.array([[[[0, 0]], [[1, 0]]], [[[0, 1]], [[1, 1]]]])
    found = measure_activity(network(), {"x": samples}, "by hand")
    assert (found.source, found.samples, list(found.values)) == ("by hand", 2, ["x", "no", "both"])
    x, no, both = found.values.values()
    assert (x.nonzero, x.maximum, x.toggles) == (0.5, 0.5, 0.5)
    assert (x.dead_channels, x.channels) == (0, 2)
    assert (no.nonzero, no.toggles) == (0.5, 0.5)
    # the sums are 1 0 and 1 2, their codes 1 0 and 1 2: two bits of four change
    assert (both.nonzero, both.maximum, both.toggles) == (0.75, 0.25, 0.25)


def test_a_channel_is_dead_where_it_never_changes_anywhere() -> None:
    samples = np.zeros((3, 2, 1, 2), int)
    samples[:, 0] = 1
    samples[:, 1, 0, 1] = 1
    found = measure_activity(network(), {"x": samples}, "still")
    assert found.values["x"].dead_channels == 1
    assert found.values["x"].toggles == 0


def test_bits_of_negative_numbers_are_those_of_their_width() -> None:
    b = Builder("signed")
    x = b.input("x", (1,), Interval(-4, 3))
    program = b.build((b.add(Reshape((1, 1)), x, name="y"),))
    found = measure_activity(program, {"x": np.array([[-1], [0], [-4]])}, "")
    # 111 -> 000 -> 100
    assert found.values["x"].toggles == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("macs", "samples"),
    [(0, MOST), (MAC_BUDGET // 10, 10), (MAC_BUDGET, FEWEST), (10 * MAC_BUDGET, FEWEST)],
)
def test_large_programs_get_fewer_samples(macs: int, samples: int) -> None:
    assert sample_count(macs) == samples
