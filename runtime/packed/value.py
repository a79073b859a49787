"""One value of a running batch, in the representation at hand."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.packed.counters import Counters
from runtime.packed.planes import Integers, Words, pack_codes, unpack_codes
from runtime.types import TensorType

MAX_PLANES = 8
"""Widest activation kept as planes; wider values stay integers."""


@dataclass(slots=True)
class Value:
    """One value as integers, as bit planes, or as vertical counters; converted when asked.

    ``array``: (batch, *type.shape), any integer dtype and memory order.
    ``words``: (planes, words, batch, *type.shape[1:]).
    ``counters``: the sums of a layer with sparse weights, which a Threshold compares as they are; counted
    for each reader that does not ask for integers.
    """

    type: TensorType
    batch: int
    array: Integers | None = None
    words: Words | None = None
    counters: Counters | None = None

    def as_array(self) -> Integers:
        """The value as integers."""
        if self.array is None:
            channels_first = (
                unpack_codes(self.as_words(), self.type.channels)
                if self.counters is None
                else self.counters.integers().reshape(self.type.channels, self.batch, *self.type.shape[1:])
            )
            self.array = channels_first.swapaxes(0, 1)
        return self.array

    def as_words(self) -> Words:
        """The value as planes; only for types that ``fits_planes``."""
        if self.words is None:
            self.words = pack_codes(self.as_array().swapaxes(0, 1), self.type.bits)
        return self.words


def fits_planes(type_: TensorType) -> bool:
    """Whether values of this type can be bit planes: not negative, at most 8 bits, with channels."""
    return bool(type_.shape) and not type_.interval.signed and type_.bits <= MAX_PLANES
