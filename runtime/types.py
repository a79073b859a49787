"""Integer intervals and tensor types: what the IR knows of every value.

A type knows its own minimum, maximum, bit width and storage; nothing else in Gatefold
recomputes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

IntArray = NDArray[np.int64]

INT64_LIMIT = 2**62
"""Largest magnitude a value may reach; one bit below int64, so that sums of two never wrap."""

FLOAT32_EXACT, FLOAT64_EXACT = 2**24, 2**53
"""Integers up to this magnitude are float32, float64 values."""

SQRT_EXACT = 2**52
"""Up to here the float64 root of an integer, rounded down, is the integer root: that of ``n * n - 1`` lies
further below ``n`` than float64 rounds."""

ELEMENT_LIMIT = 2**27
"""Largest number of elements of one value (per sample)."""

RANK_LIMIT = 8
"""Largest number of axes of one value (per sample)."""

_DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64)


@dataclass(frozen=True, slots=True)
class Interval:
    """The integers ``lo .. hi``, both included."""

    lo: int
    hi: int

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise ProgramError(f"interval must have lo <= hi, not [{self.lo}, {self.hi}]")

    def __contains__(self, value: int) -> bool:
        return self.lo <= value <= self.hi

    def __str__(self) -> str:
        return f"[{self.lo}, {self.hi}]"

    @property
    def signed(self) -> bool:
        """Whether two's complement is needed."""
        return self.lo < 0

    @property
    def bits(self) -> int:
        """Smallest bit width that holds the interval (two's complement when signed), at least 1."""
        if self.signed:
            return max((-self.lo - 1).bit_length(), max(self.hi, 0).bit_length()) + 1
        return max(1, self.hi.bit_length())

    @property
    def magnitude(self) -> int:
        """Largest absolute value."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def is_binary(self) -> bool:
        """Whether the values are within {0, 1}."""
        return self.lo >= 0 and self.hi <= 1

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Smallest NumPy integer dtype that holds the interval, unsigned preferred."""
        for candidate in _DTYPES:
            info = np.iinfo(candidate)
            if info.min <= self.lo and self.hi <= info.max:
                return np.dtype(candidate)
        raise ProgramError(f"interval {self} does not fit 64-bit integers")

    def hull(self, *others: Interval) -> Interval:
        """Smallest interval that holds this one and ``others``."""
        return Interval(min(self.lo, *(o.lo for o in others)), max(self.hi, *(o.hi for o in others)))

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.lo + other.lo, self.hi + other.hi)

    @staticmethod
    def of(values: Iterable[int]) -> Interval:
        """Hull of some integers."""
        items = [int(v) for v in values]
        return Interval(min(items), max(items))


ZERO = Interval(0, 0)
BIT = Interval(0, 1)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (without the batch axis) and interval of one value. The first axis is the channel axis."""

    shape: tuple[int, ...]
    interval: Interval

    @property
    def size(self) -> int:
        """Number of elements of one sample."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Length of the channel axis; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def bits(self) -> int:
        """Bit width of one element."""
        return self.interval.bits

    def __str__(self) -> str:
        kind = "i" if self.interval.signed else "u"
        dims = "x".join(str(d) for d in self.shape) or "scalar"
        return f"{kind}{self.bits}[{dims}] in {self.interval}"


def check_type(type_: TensorType) -> None:
    """Raise ProgramError unless shape and interval are within the limits of the IR."""
    if len(type_.shape) > RANK_LIMIT or any(d < 1 for d in type_.shape):
        raise ProgramError(
            f"shape must have at most {RANK_LIMIT} positive dimensions, not {list(type_.shape)}"
        )
    if type_.size > ELEMENT_LIMIT:
        raise ProgramError(f"a value may have at most {ELEMENT_LIMIT} elements, not {type_.size}")
    if type_.interval.magnitude > INT64_LIMIT:
        raise ProgramError(f"interval {type_.interval} exceeds 62 bits")
