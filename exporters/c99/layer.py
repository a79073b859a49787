"""A layer with weights as its kernels see it: windows over an image, thresholds behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporters.c99.epilogue import Levels
from exporters.c99.forms import has_planes
from runtime.ir import Node
from runtime.ops import Conv2d, Dense
from runtime.types import IntArray, Interval, TensorType
from runtime.value_sets import max_code, planes_of


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer.

    ``codes``: int8 (outputs, inputs of a group, rows, columns). ``image``: type (inputs, rows, columns) of
    the operand. ``result``: type (outputs, rows, columns) of the sums, bias included. ``levels``:
    thresholds that read the sums, or None. ``pooled``: whether only the largest code of each 2x2 window
    is kept.
    """

    node: Node
    codes: np.ndarray
    value_set: int
    bias: IntArray
    image: TensorType
    result: TensorType
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    levels: Levels | None
    pooled: bool = False

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of a window."""
        return self.codes.shape[2], self.codes.shape[3]

    @property
    def taps(self) -> int:
        """Positions of a window."""
        return int(self.codes.shape[2] * self.codes.shape[3])

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.codes.shape[0])

    @property
    def positions(self) -> int:
        """Output positions."""
        return self.result.shape[1] * self.result.shape[2]

    @property
    def magnitudes(self) -> int:
        """Bits of a weight's magnitude."""
        return max_code(self.value_set).bit_length()

    @property
    def level_count(self) -> int:
        """Thresholds of an output."""
        return 0 if self.levels is None else int(self.levels.limits.shape[1])

    @property
    def takes_planes(self) -> bool:
        """Whether the operand can be planes of bits."""
        return has_planes(self.image)

    @property
    def sums(self) -> Interval:
        """Interval of the sums, bias included."""
        return self.result.interval

    @property
    def raw(self) -> Interval:
        """Hull of the sums without bias and 0: what counters hold."""
        bound = self.result.interval
        lo, hi = bound.lo - int(self.bias.max()), bound.hi - int(self.bias.min())
        return Interval(min(lo, 0), max(hi, 0))

    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """Sign bits (outputs, inputs, rows, columns) and magnitude bits, the same with magnitudes first."""
        planes = planes_of(self.codes, self.value_set)
        return planes[0], planes[1:]

    def signed_planes(self) -> np.ndarray:
        """(magnitudes, 2, outputs, inputs, rows, columns): weights above 0, and below."""
        negative, magnitudes = self.planes()
        return np.stack([magnitudes & ~negative, magnitudes & negative], axis=1)


def conv_layer(node: Node, op: Conv2d, image: TensorType, levels: Levels | None) -> Layer:
    """The layer of a convolution."""
    bias = np.zeros(op.weights.shape[0], np.int64) if op.bias is None else op.bias
    return Layer(
        node,
        op.weights.codes,
        op.weights.levels,
        bias,
        image,
        node.type,
        op.stride,
        op.padding,
        op.dilation,
        op.groups,
        levels,
    )


def dense_layer(node: Node, op: Dense, image: TensorType, levels: Levels | None) -> Layer:
    """The layer of a matrix product on an image (inputs, rows, columns) in row-major order.

    It is a convolution with one window, as large as the image.
    """
    outputs = op.weights.shape[0]
    bias = np.zeros(outputs, np.int64) if op.bias is None else op.bias
    return Layer(
        node,
        op.weights.codes.reshape(outputs, *image.shape),
        op.weights.levels,
        bias,
        image,
        TensorType((outputs, 1, 1), node.type.interval),
        (1, 1),
        (0, 0),
        (1, 1),
        1,
        levels,
    )
