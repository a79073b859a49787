"""Pooling and reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import Op, pad_image, pair, require_rank, window_grid, window_taps
from runtime.types import ZERO, IntArray, Interval, TensorType


def _windows(x: IntArray, op: MaxPool | SumPool, fill: int) -> list[IntArray]:
    """One strided view per kernel tap, each of shape (batch, channels, rows, columns)."""
    padded = pad_image(x, op.padding, fill)
    taps = window_taps(x.shape[2:], op.kernel, op.stride, op.padding)
    return [padded[:, :, *tap] for tap in taps]


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool(Op):
    """Largest value of each window; padded positions never win.

    ``kernel``, ``stride``, ``padding`` (both sides, at most half the kernel): (rows, columns).
    Operand: (channels, H, W).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", pair(self.kernel, 1, "MaxPool kernel"))
        object.__setattr__(self, "stride", pair(self.stride, 1, "MaxPool stride"))
        object.__setattr__(self, "padding", pair(self.padding, 0, "MaxPool padding"))
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise ProgramError("MaxPool padding must be at most half the kernel")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_rank(x, 3, "MaxPool")
        rows, columns = window_grid(x, self.kernel, self.stride, self.padding)
        return TensorType((x.shape[0], rows, columns), x.interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        lowest = int(np.iinfo(np.int64).min)
        views = _windows(x, self, lowest)
        result: IntArray = np.maximum.reduce(views)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class SumPool(Op):
    """Sum of each window, zero padded. A kernel as large as the image makes it global.

    ``kernel``, ``stride``, ``padding`` (both sides): (rows, columns). Operand: (channels, H, W).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", pair(self.kernel, 1, "SumPool kernel"))
        object.__setattr__(self, "stride", pair(self.stride, 1, "SumPool stride"))
        object.__setattr__(self, "padding", pair(self.padding, 0, "SumPool padding"))

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_rank(x, 3, "SumPool")
        rows, columns = window_grid(x, self.kernel, self.stride, self.padding)
        count = self.kernel[0] * self.kernel[1]
        seen = x.interval.hull(ZERO) if any(self.padding) else x.interval
        interval = Interval(count * seen.lo, count * seen.hi)
        return TensorType((x.shape[0], rows, columns), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        views = _windows(x, self, 0)
        result: IntArray = np.add.reduce(views)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class ReduceSum(Op):
    """Sum over whole ``axes``, which stay with length 1.

    ``axes``: rising, counted without the batch. Operand: any shape that has them.
    """

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = tuple(self.axes)
        if not axes or any(type(a) is not int or a < 0 for a in axes) or list(axes) != sorted(set(axes)):
            raise ProgramError(f"ReduceSum axes must be rising numbers from 0, not {list(axes)}")
        object.__setattr__(self, "axes", axes)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if self.axes[-1] >= len(x.shape):
            raise ProgramError(f"ReduceSum over axis {self.axes[-1]} does not fit shape {list(x.shape)}")
        count = math.prod(x.shape[axis] for axis in self.axes)
        shape = tuple(1 if axis in self.axes else size for axis, size in enumerate(x.shape))
        return TensorType(shape, Interval(count * x.interval.lo, count * x.interval.hi))

    def evaluate(self, *operands: IntArray) -> IntArray:
        result: IntArray = operands[0].sum(tuple(1 + axis for axis in self.axes), keepdims=True)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class ArgMax(Op):
    """Index of the largest element, the first one of equals. Operand: (n,). Result: a scalar."""

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_rank(x, 1, "ArgMax")
        return TensorType((), Interval(0, x.shape[0] - 1))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        result: IntArray = np.argmax(x, axis=1).astype(np.int64)
        return result


OPS: tuple[type[Op], ...] = (MaxPool, SumPool, ReduceSum, ArgMax)
