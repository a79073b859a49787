"""The three forms in which generated C keeps a value, and C's integer types."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from exporters.c99.targets import Target
from runtime.types import Interval, TensorType

MAX_PLANES = 8
"""Widest element kept as planes of bits."""


class Form(Enum):
    """How the elements of a value lie in memory; ``gatefold_kernels.h`` draws each."""

    INTEGERS = "integers"
    LANES = "lanes"
    WORDS = "words"


def c_type(interval: Interval) -> str:
    """The smallest C type of an interval: ``uint8_t``."""
    return f"{interval.dtype.name}_t"


def c_sum_type(interval: Interval) -> str:
    """``int32_t`` where it holds the interval, else ``int64_t``."""
    return "int32_t" if interval.magnitude < 2**31 else "int64_t"


def positions(type_: TensorType) -> int:
    """Elements of one channel."""
    return math.prod(type_.shape[1:])


def has_planes(type_: TensorType) -> bool:
    """Whether a value can be planes of bits: not negative, at most 8 bits, with channels."""
    return bool(type_.shape) and not type_.interval.signed and type_.bits <= MAX_PLANES


def per(bits: int, unit: int) -> int:
    """Integers of ``unit`` bits that hold ``bits``."""
    return -(-bits // unit)


@dataclass(frozen=True, slots=True)
class Stored:
    """A value in one form."""

    name: str
    form: Form
    type: TensorType

    def bytes(self, target: Target) -> int:
        """Bytes on ``target``."""
        if self.form is Form.INTEGERS:
            return self.type.size * self.type.interval.dtype.itemsize
        channels, size, planes = self.type.channels, positions(self.type), self.type.bits
        if self.form is Form.LANES:
            return channels * planes * per(size, target.unit) * target.unit // 8
        return size * planes * per(channels, target.word) * target.word // 8

    @property
    def c_type(self) -> str:
        """C type of what it is made of."""
        names = {Form.LANES: "gf_unit", Form.WORDS: "gf_word"}
        return names.get(self.form) or c_type(self.type.interval)


def bit_rows(bits: np.ndarray, unit: int) -> np.ndarray:
    """Integers of ``unit`` bits along the last axis of 0/1 arrays; bit i of a row is element i."""
    count = bits.shape[-1]
    padded = np.zeros((*bits.shape[:-1], per(count, unit) * unit), np.uint8)
    padded[..., :count] = bits
    octets = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(octets).view(f"<u{unit // 8}").astype(f"u{unit // 8}")
