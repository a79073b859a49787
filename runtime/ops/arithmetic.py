"""Elementwise integer arithmetic and table lookups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import (
    Op,
    broadcast_shape,
    int_array,
    per_channel,
    require_channels,
    tighten,
)
from runtime.ops.shape import Concat, Slice
from runtime.types import INT64_LIMIT, IntArray, Interval, TensorType

if TYPE_CHECKING:
    from runtime.ir import Builder

WALSH_HADAMARD: IntArray = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
"""The Walsh-Hadamard matrix of order 4 in Sylvester's order; symmetric, and 4 times its own inverse."""
WALSH_HADAMARD.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class Add(Op):
    """``y = a + b``. Operands: axes equal, or 1 in one of them."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        interval = a.interval + b.interval
        return TensorType(broadcast_shape(a, b, "Add"), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] + operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class Sub(Op):
    """``y = a - b``. Operands: axes equal, or 1 in one of them."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        interval = Interval(a.interval.lo - b.interval.hi, a.interval.hi - b.interval.lo)
        return TensorType(broadcast_shape(a, b, "Sub"), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] - operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class Hadamard(Op):
    """Walsh-Hadamard transform of four blocks of channels: ``y_m = sum_n H[m, n] x_n``.

    ``x_0 .. x_3``: the quarters of the channel axis, in order; ``y`` has the same layout. ``H``:
    ``WALSH_HADAMARD``. Operand: any shape, channels first, their number divisible by 4.
    """

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.channels % 4:
            raise ProgramError(f"Hadamard needs channels in four equal blocks, not {x.channels} channels")
        lo, hi = x.interval.lo, x.interval.hi
        swing = 2 * (hi - lo)  # the rows with two minus signs; the first row has none
        return TensorType(x.shape, Interval(min(4 * lo, -swing), max(4 * hi, swing)))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        result: IntArray = WALSH_HADAMARD @ x.reshape(len(x), 4, -1)
        return result.reshape(x.shape)

    def decompose(self, builder: Builder, *operands: str) -> str:
        """The butterfly: two rounds of two sums and two differences."""
        (x,) = operands
        block = builder.type_of(x).channels // 4
        x0, x1, x2, x3 = (builder.add(Slice(i * block, (i + 1) * block), x) for i in range(4))
        a, b = builder.add(Add(), x0, x1), builder.add(Sub(), x0, x1)
        c, d = builder.add(Add(), x2, x3), builder.add(Sub(), x2, x3)
        sums = builder.add(Add(), a, c), builder.add(Add(), b, d)
        differences = builder.add(Sub(), a, c), builder.add(Sub(), b, d)
        return builder.add(Concat(), *sums, *differences)


@dataclass(frozen=True, slots=True, eq=False)
class Requantize(Op):
    """Scale by a per-channel rational and clip.

    ``y[c] = clip((x[c] * multiplier[c] + offset[c]) >> shift[c], lo, hi)`` with an arithmetic shift,
    which rounds toward minus infinity; ``offset = 2**(shift - 1)`` makes it round half up.

    ``multiplier``, ``offset``, ``shift``: (channels,), shift 0..62. Operand: any shape, channels first.
    """

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    lo: int
    hi: int

    def __post_init__(self) -> None:
        for name in ("multiplier", "offset", "shift"):
            array = int_array(getattr(self, name), 1, f"Requantize {name}")
            object.__setattr__(self, name, array)
        if not self.multiplier.size == self.offset.size == self.shift.size:
            raise ProgramError("Requantize multiplier, offset and shift must have one length")
        if int(self.shift.min()) < 0 or int(self.shift.max()) > 62:
            raise ProgramError("Requantize shift must be within 0..62")
        if Interval(self.lo, self.hi).magnitude > INT64_LIMIT:
            raise ProgramError("Requantize limits must be within 62 bits")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_channels(self.multiplier.size, x, "Requantize")
        rows = zip(self.multiplier.tolist(), self.offset.tolist(), self.shift.tolist(), strict=True)
        products = [(end * m + o, s) for m, o, s in rows for end in (x.interval.lo, x.interval.hi)]
        if max(abs(p) for p, _ in products) + x.interval.magnitude > INT64_LIMIT:
            raise ProgramError("a Requantize product would exceed 62 bits")
        exact = Interval.of(p >> s for p, s in products)
        return TensorType(x.shape, tighten(exact, self.lo, self.hi))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        scaled = x * per_channel(self.multiplier, x) + per_channel(self.offset, x)
        result: IntArray = np.clip(scaled >> per_channel(self.shift, x), self.lo, self.hi)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Lookup(Op):
    """``y = table[x - first]``, or ``y[c] = table[c, x[c] - first]`` with one row per channel.

    ``table``: (1 or channels, entries). ``first``: the operand value of entry 0. Every value of the
    operand's interval must have an entry. Operand: any shape, channels first.
    """

    table: IntArray
    first: int = 0

    def __post_init__(self) -> None:
        table = int_array(self.table, 2, "Lookup table")
        if int(table.min()) < -INT64_LIMIT or int(table.max()) > INT64_LIMIT:
            raise ProgramError("Lookup entries must be within 62 bits")
        object.__setattr__(self, "table", table)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if self.table.shape[0] != 1:
            require_channels(self.table.shape[0], x, "Lookup")
        covered = Interval(self.first, self.first + self.table.shape[1] - 1)
        if x.interval.lo not in covered or x.interval.hi not in covered:
            raise ProgramError(f"Lookup covers {covered}, its operand is in {x.interval}")
        start = x.interval.lo - self.first
        used = self.table[:, start : start + x.interval.hi - x.interval.lo + 1]
        return TensorType(x.shape, Interval(int(used.min()), int(used.max())))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        shared = self.table.shape[0] == 1
        rows = np.zeros(1, np.int64) if shared else np.arange(self.table.shape[0])
        result: IntArray = self.table[per_channel(rows, x), x - self.first]
        return result


ROUNDINGS = ("floor", "half-up")


@dataclass(frozen=True, slots=True, eq=False)
class ShiftRight(Op):
    """``y = x >> shift``, or ``(x + 2**(shift - 1)) >> shift`` with ``rounding="half-up"``.

    The shift is arithmetic: ``floor`` rounds toward minus infinity. ``shift``: 1..62. Operand: any shape.
    """

    shift: int
    rounding: str = "floor"

    def __post_init__(self) -> None:
        if not 1 <= self.shift <= 62:
            raise ProgramError(f"ShiftRight shift must be within 1..62, not {self.shift}")
        if self.rounding not in ROUNDINGS:
            raise ProgramError(
                f"ShiftRight rounding must be one of {', '.join(ROUNDINGS)}, not {self.rounding!r:.80}"
            )

    @property
    def offset(self) -> int:
        """What is added before the shift."""
        return 1 << (self.shift - 1) if self.rounding == "half-up" else 0

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        lo, hi = ((end + self.offset) >> self.shift for end in (x.interval.lo, x.interval.hi))
        return TensorType(x.shape, Interval(lo, hi))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return (operands[0] + self.offset) >> self.shift


@dataclass(frozen=True, slots=True, eq=False)
class Clip(Op):
    """``y = min(max(x, lo), hi)``. Operand: any shape."""

    lo: int
    hi: int

    def __post_init__(self) -> None:
        if Interval(self.lo, self.hi).magnitude > INT64_LIMIT:
            raise ProgramError("Clip limits must be within 62 bits")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        return TensorType(x.shape, tighten(x.interval, self.lo, self.hi))

    def evaluate(self, *operands: IntArray) -> IntArray:
        result: IntArray = np.clip(operands[0], self.lo, self.hi)
        return result


OPS: tuple[type[Op], ...] = (Add, Sub, Hadamard, ShiftRight, Clip, Requantize, Lookup)
