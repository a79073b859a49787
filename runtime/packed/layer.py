"""A layer with weights, alone or with the Threshold behind it, as every kernel for it sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from runtime.ops import Conv2d, Dense, Threshold
from runtime.packed.layout import (
    BATCH_FIRST,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Block,
    Call,
    Dtype,
    Layout,
    narrow,
)
from runtime.packed.planes import Integers
from runtime.packed.windows import Window
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, INT64_LIMIT, ZERO, IntArray, Interval, TensorType

BYTE = np.dtype(np.uint8)
BIT = np.dtype(np.bool_)

EXACT = {np.dtype(np.float32): FLOAT32_EXACT, np.dtype(np.float64): FLOAT64_EXACT}
"""Below these magnitudes floats hold every integer."""

FEW_CHANNELS = 64
"""So many channels, or more, make loops long enough."""

MAX_COUNT = 255
"""Most thresholds a channel that a byte counts."""


@dataclass(frozen=True, eq=False)
class Layer:
    """``op`` on operands of type ``x`` gives ``sums``; with ``threshold`` the result is its ``codes``.

    A channel that falls is turned round: its weights, bias and thresholds change their sign, so that every
    channel counts the thresholds it reaches.
    """

    op: Conv2d | Dense
    x: TensorType
    sums: TensorType
    threshold: Threshold | None = None
    codes: TensorType | None = None

    @property
    def result(self) -> TensorType:
        """Type of the result."""
        return self.codes or self.sums

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return self.op.groups if isinstance(self.op, Conv2d) else 1

    @property
    def fan_in(self) -> int:
        """Inputs of one output."""
        return int(self.op.weights.codes[0].size)

    @cached_property
    def window(self) -> Window:
        """The windows of its operand."""
        return Window.of(self.op, self.x, self.sums)

    @cached_property
    def seen(self) -> Interval:
        """What a weight may meet: the operand or padding."""
        return self.x.interval.hull(ZERO) if any(self.window.padding) else self.x.interval

    @cached_property
    def weights(self) -> NDArray[np.int8]:
        """Codes (outputs, channels of a group, taps), turned where the channel falls."""
        codes = self.op.weights.codes.reshape(*self.op.weights.shape[:2], -1)
        if self.threshold is None:
            return codes
        return codes * self.threshold.direction.astype(np.int8)[:, None, None]

    @cached_property
    def bias(self) -> IntArray:
        """(outputs,), 0 where there is none."""
        outputs = self.op.weights.shape[0]
        bias = np.zeros(outputs, np.int64) if self.op.bias is None else self.op.bias
        return bias if self.threshold is None else bias * self.threshold.direction

    @cached_property
    def limits(self) -> IntArray | None:
        """(outputs, thresholds): sums without bias that reach them."""
        if self.threshold is None:
            return None
        limits = self.threshold.thresholds * self.threshold.direction[:, None]
        if int(np.abs(self.bias).max()) < INT64_LIMIT:
            shifted: IntArray = limits - self.bias[:, None]
            return shifted
        exact = limits.astype(object) - self.bias[:, None].astype(object)  # may pass 63 bits
        clipped: IntArray = np.clip(exact, -INT64_LIMIT, INT64_LIMIT).astype(np.int64)
        return clipped

    @cached_property
    def reach(self) -> tuple[IntArray, IntArray]:
        """Least and greatest sum of each output without bias and, where they pass 0, of a part of it."""
        flat = self.weights.reshape(len(self.weights), -1)
        positive = np.maximum(flat, 0).sum(axis=1, dtype=np.int64)
        negative = np.minimum(flat, 0).sum(axis=1, dtype=np.int64)
        low = np.minimum(positive * self.seen.lo, 0) + np.minimum(negative * self.seen.hi, 0)
        high = np.maximum(positive * self.seen.hi, 0) + np.maximum(negative * self.seen.lo, 0)
        return low, high

    def layout(self, batch: int) -> Layout:
        """Layout of a result that is no planes, the same for all layers of one shape.

        Few channels lie outermost in memory: NumPy's loops over them would be too short.
        """
        dtype, sums = narrow(self.result.interval), self.sums
        if sums.channels < min(FEW_CHANNELS, batch * sums.size // sums.channels):
            return Layout(CHANNELS_FIRST, dtype)
        return Layout(CHANNELS_LAST if len(sums.shape) > 1 else BATCH_FIRST, dtype)


@dataclass(frozen=True, slots=True)
class Finish:
    """From accumulators to the result: codes by comparison, or sums with their bias.

    Accumulators of output ``o`` are the sum plus ``offset[o]``.
    """

    layer: Layer

    def scratch(self, positions: int, outputs: int, planes: bool) -> tuple[Block, ...]:
        """Blocks ``calls`` need: one comparison, and the codes of a tile that become planes."""
        limits = self.layer.limits
        several = limits is not None and limits.shape[1] > 1
        compared = Block((positions, outputs if several else 0), BIT)
        codes = Block((positions, self.layer.result.channels if planes else 0), BYTE)
        return compared, codes

    def calls(
        self,
        accumulators: Integers,
        offset: IntArray,
        outputs: slice,
        target: Integers,
        compared: Integers,
    ) -> Sequence[Call]:
        """Calls that write ``outputs`` of ``target`` (..., all outputs) from their accumulators."""
        part = target[..., outputs]
        if self.layer.limits is None:
            return (self._sums(accumulators, self.layer.bias[outputs] - offset, part),)
        low, high = self.layer.reach
        limits = np.clip(
            self.layer.limits[outputs], low[outputs, None] - 1, high[outputs, None] + 1
        )  # what no sum reaches, or every one, stays so
        return _count(accumulators, (limits + offset[:, None]).T.astype(accumulators.dtype), part, compared)

    def _sums(self, accumulators: Integers, bias: IntArray, part: Integers) -> Call:
        if not bias.any():
            return lambda: np.copyto(part, accumulators, casting="unsafe")
        loop = self._loop(accumulators.dtype, int(np.abs(bias).max()))
        added = bias.astype(loop)
        return lambda: np.add(accumulators, added, out=part, dtype=loop, casting="unsafe")

    def _loop(self, dtype: Dtype, bias: int) -> Dtype:
        """Dtype that adds the bias exactly; what wraps on the way is right in the dtype of the result."""
        low, high = self.layer.reach
        largest = bias + max(-int(low.min()), int(high.max()))
        if dtype in EXACT:
            return dtype if largest < EXACT[dtype] else np.dtype(np.int64)
        return dtype if largest <= np.iinfo(dtype).max else np.dtype(np.int64)


def _count(accumulators: Integers, limits: Integers, part: Integers, compared: Integers) -> Sequence[Call]:
    """Calls that count in ``part`` the rows of ``limits`` (thresholds, outputs) that are reached."""
    first, rest = limits[0], limits[1:]
    bits = part.view(BIT)
    calls: list[Call] = [lambda: np.greater_equal(accumulators, first, out=bits)]
    if len(rest):
        reached = in_order_of(accumulators, compared)
        ones = reached.view(BYTE)

        def count() -> None:
            for limit in rest:
                np.greater_equal(accumulators, limit, out=reached)
                np.add(part, ones, out=part)

        calls.append(count)
    return calls


def in_order_of(array: Integers, flat: Integers) -> Integers:
    """The first elements of ``flat`` in the shape of ``array``, and in memory in the same order."""
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    memory = flat.reshape(-1)[: array.size].reshape([array.shape[axis] for axis in axes])
    return memory.transpose(np.argsort(axes))
