"""The linear ops as the convolutions they are, with the shape of their operand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.ops import Conv2d, Dense, Op, SumPool
from runtime.types import TensorType
from runtime.weights import Weights


def _dense_as_conv(op: Dense, x: TensorType) -> tuple[Conv2d, TensorType]:
    weights = Weights(op.weights.codes[:, :, None, None], op.weights.levels, "base")
    return Conv2d(weights, op.bias), TensorType((x.channels, 1, 1), x.interval)


def _sum_as_conv(op: SumPool, x: TensorType) -> tuple[Conv2d, TensorType]:
    ones = Weights(np.ones((x.channels, 1, *op.kernel), np.int8), 3)
    return Conv2d(ones, None, op.stride, op.padding, groups=x.channels), x


LINEAR: dict[type[Op], Callable[..., tuple[Conv2d, TensorType]]] = {
    Conv2d: lambda op, x: (op, x),
    Dense: _dense_as_conv,
    SumPool: _sum_as_conv,
}
"""The linear ops, each as the convolution it is: ``(convolution, operand type)``."""
