"""Comparison ops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import Op, int_array, per_channel, require_channels
from runtime.types import INT64_LIMIT, IntArray, Interval, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Threshold(Op):
    """How many of a channel's thresholds the operand has reached.

    ``y[c] = #{k : x[c] >= thresholds[c, k]}`` where ``direction[c]`` is +1, and
    ``y[c] = #{k : x[c] <= thresholds[c, k]}`` where it is -1, so that a negative batch-norm slope
    needs no special case. Result: 0 .. thresholds per channel.

    ``thresholds``: (channels, K), each row ordered as it is reached: non-decreasing for +1,
    non-increasing for -1. ``direction``: (channels,) of +1 or -1. Operand: any shape, channels first.
    """

    thresholds: IntArray
    direction: IntArray

    def __post_init__(self) -> None:
        thresholds = int_array(self.thresholds, 2, "thresholds")
        direction = int_array(self.direction, 1, "threshold direction")
        if direction.size != thresholds.shape[0]:
            raise ProgramError(
                f"threshold direction has {direction.size} entries for {thresholds.shape[0]} channels"
            )
        if not np.isin(direction, (-1, 1)).all():
            raise ProgramError("threshold direction must be +1 or -1")
        if max(abs(int(thresholds.min())), abs(int(thresholds.max()))) > INT64_LIMIT:
            raise ProgramError("thresholds must be within 62 bits")
        if (np.diff(thresholds * direction[:, None], axis=1) < 0).any():
            raise ProgramError("thresholds of a channel must be ordered as they are reached")
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "direction", direction)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if not x.shape:
            raise ProgramError("Threshold needs a channel axis, its operand is a scalar")
        require_channels(self.direction.size, x, "Threshold")
        ends = np.array([[x.interval.lo, x.interval.hi]], np.int64)
        counts = self.evaluate(np.broadcast_to(ends.T, (2, self.direction.size)))
        return TensorType(x.shape, Interval(int(counts.min()), int(counts.max())))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        direction = per_channel(self.direction, x)
        directed = x * direction
        result = np.zeros(x.shape, np.int64)
        for k in range(self.thresholds.shape[1]):
            result += directed >= per_channel(self.thresholds[:, k], x) * direction
        return result


OPS: tuple[type[Op], ...] = (Threshold,)
