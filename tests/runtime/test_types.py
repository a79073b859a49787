"""Intervals and tensor types."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ProgramError
from runtime.types import BIT, Interval, TensorType, check_type

ends = st.integers(-(2**62), 2**62)
intervals = st.tuples(ends, ends).map(lambda e: Interval(min(e), max(e)))


@given(intervals)
def test_bits_are_the_smallest_that_hold_both_ends(interval: Interval) -> None:
    def fits(bits: int) -> bool:
        lo, hi = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if interval.signed else (0, 2**bits - 1)
        return lo <= interval.lo and interval.hi <= hi

    assert fits(interval.bits)
    assert interval.bits == 1 or not fits(interval.bits - 1)


@given(intervals)
def test_dtype_holds_the_interval_and_no_smaller_one_does(interval: Interval) -> None:
    info = np.iinfo(interval.dtype)
    assert info.min <= interval.lo
    assert interval.hi <= info.max
    for smaller in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        if np.dtype(smaller).itemsize < interval.dtype.itemsize:
            limits = np.iinfo(smaller)
            assert interval.lo < limits.min or interval.hi > limits.max


@given(intervals, intervals)
def test_hull_and_sum(a: Interval, b: Interval) -> None:
    assert a.hull(b) == Interval(min(a.lo, b.lo), max(a.hi, b.hi))
    assert a + b == Interval(a.lo + b.lo, a.hi + b.hi)


def test_text_and_properties() -> None:
    assert str(TensorType((3, 4), Interval(-2, 5))) == "i4[3x4] in [-2, 5]"
    assert str(TensorType((), BIT)) == "u1[scalar] in [0, 1]"
    assert Interval(0, 0).bits == 1
    assert Interval(-1, 0).bits == 1
    assert Interval(0, 255).dtype == np.uint8
    assert TensorType((3, 4), BIT).channels == 3
    assert TensorType((), BIT).channels == 1
    assert BIT.is_binary
    assert not Interval(0, 2).is_binary


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (TensorType((2, 0), BIT), r"shape must have at most 8 positive dimensions, not \[2, 0\]"),
        (TensorType((1,) * 9, BIT), "shape must have at most 8 positive dimensions"),
        (TensorType((2**14, 2**14), BIT), "a value may have at most 134217728 elements"),
        (TensorType((2,), Interval(0, 2**62 + 1)), "exceeds 62 bits"),
    ],
)
def test_limits(type_: TensorType, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        check_type(type_)


def test_an_interval_is_ordered() -> None:
    with pytest.raises(ProgramError, match=r"interval must have lo <= hi, not \[2, 1\]"):
        Interval(2, 1)
