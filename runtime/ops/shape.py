"""Ops that move values without changing them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import Op
from runtime.types import IntArray, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Reshape(Op):
    """The same elements in row-major order under another ``shape`` (batch axis excluded).

    Operand: any shape of the same size.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.shape)
        if any(type(d) is not int or d < 1 for d in shape):
            raise ProgramError(f"Reshape needs positive dimensions, not {list(shape)}")
        object.__setattr__(self, "shape", shape)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if math.prod(self.shape) != x.size:
            raise ProgramError(f"Reshape of {list(x.shape)} to {list(self.shape)} changes the size")
        return TensorType(self.shape, x.interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        return x.reshape((x.shape[0], *self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Concat(Op):
    """Operands side by side along the channel axis. Operands: one or more, all other axes equal."""

    arity = None

    def infer(self, *operands: TensorType) -> TensorType:
        first = operands[0]
        if any(not x.shape or x.shape[1:] != first.shape[1:] for x in operands):
            shapes = ", ".join(str(list(x.shape)) for x in operands)
            raise ProgramError(f"Concat needs equal shapes past the channel axis, not {shapes}")
        channels = sum(x.shape[0] for x in operands)
        interval = first.interval.hull(*(x.interval for x in operands))
        return TensorType((channels, *first.shape[1:]), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return np.concatenate(operands, axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Slice(Op):
    """Channels ``start`` to ``stop - 1``. Operand: any shape, channels first, ``stop`` or more."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ProgramError(f"Slice needs 0 <= start < stop, not {self.start} and {self.stop}")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if not x.shape or self.stop > x.channels:
            raise ProgramError(f"Slice up to channel {self.stop} does not fit shape {list(x.shape)}")
        return TensorType((self.stop - self.start, *x.shape[1:]), x.interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0][:, self.start : self.stop]


@dataclass(frozen=True, slots=True, eq=False)
class Transpose(Op):
    """Axes in another order: axis ``i`` of the result is axis ``axes[i]`` of the operand.

    ``axes``: a permutation, counted without the batch. Operand: as many axes.
    """

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = tuple(self.axes)
        if not axes or any(type(a) is not int for a in axes) or sorted(axes) != list(range(len(axes))):
            raise ProgramError(f"Transpose axes must be a permutation of 0, 1, .., not {list(axes)}")
        object.__setattr__(self, "axes", axes)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if len(self.axes) != len(x.shape):
            raise ProgramError(f"Transpose of {len(self.axes)} axes does not fit shape {list(x.shape)}")
        return TensorType(tuple(x.shape[axis] for axis in self.axes), x.interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0].transpose(0, *(1 + axis for axis in self.axes))


@dataclass(frozen=True, slots=True, eq=False)
class Roll(Op):
    """Channels moved round: ``y[c] = x[(c - shift) mod channels]``.

    ``shift``: at least 1, below the channels. Operand: any shape, channels first.
    """

    shift: int

    def __post_init__(self) -> None:
        if self.shift < 1:
            raise ProgramError(f"Roll shift must be at least 1, not {self.shift}")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if self.shift >= x.channels:
            raise ProgramError(f"Roll by {self.shift} does not fit {x.channels} channels")
        return x

    def evaluate(self, *operands: IntArray) -> IntArray:
        return np.roll(operands[0], self.shift, axis=1)


OPS: tuple[type[Op], ...] = (Reshape, Concat, Slice, Transpose, Roll)
