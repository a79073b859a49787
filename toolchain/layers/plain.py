"""Plain float32 layers, real and quaternion: what is trained and pruned before it is quantized.

They have no integer codes and cannot be lowered; their HEQ twins can. Source: arXiv 2308.06780.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers.algebra import QUATERNION
from toolchain.layers.prunable import Prunable
from toolchain.layers.sizes import Pair, check_shape, pair_of


class PlainLayer(Prunable):
    """Weights of an algebra, a real bias of zeros, and the real matrix that ``forward`` uses.

    Raises InputError for widths that do not fit the algebra, a dimension below 1, or too many weights.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        check_shape(shape, type(self).__name__)
        self.weight = nn.Parameter(torch.empty(self.algebra.stored_shape(shape, type(self).__name__)))
        self.algebra.initialize(self.weight)
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def effective_weight(self) -> Tensor:
        """The real matrix: (out, in, ...)."""
        return self.algebra.expand(self.masked(self.weight))

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}"


class RealConv2d(PlainLayer):
    """Two-dimensional convolution with bias: (N, in, H, W) to (N, out, H', W')."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0
    ) -> None:
        super().__init__((out_channels, in_channels, *pair_of(kernel_size)))
        self.stride = pair_of(stride)
        self.padding = pair_of(padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective_weight(), self.bias, self.stride, self.padding)


class RealLinear(PlainLayer):
    """Dense layer with bias: (N, in) to (N, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__((out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)


class QuaternionConv2d(RealConv2d):
    """Convolution of quaternions: weights multiply from the left, channels are blocked r, i, j, k.

    ``in_channels`` and ``out_channels`` count real channels; a quarter of the weights of ``RealConv2d``.
    """

    algebra = QUATERNION


class QuaternionLinear(RealLinear):
    """Dense layer of quaternions; see ``QuaternionConv2d``."""

    algebra = QUATERNION


PLAIN: dict[str, tuple[type[RealConv2d], type[RealLinear]]] = {
    "real": (RealConv2d, RealLinear),
    "quaternion": (QuaternionConv2d, QuaternionLinear),
}
"""Convolution and dense layer of each algebra."""


def plain_layers(algebra: str) -> tuple[type[RealConv2d], type[RealLinear]]:
    """The row of ``PLAIN``. Raises InputError."""
    if algebra not in PLAIN:
        raise InputError(f"algebra must be one of {', '.join(PLAIN)}, not {algebra!r}")
    return PLAIN[algebra]
