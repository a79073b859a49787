"""Pooling. Sums are not divided: the next batch norm, or the classifier's scale, absorbs the count."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.ops import MaxPool, Requantize, Reshape, SumPool
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.sizes import Pair, pair_of
from toolchain.layers.thresholds import ChannelSign, falling


class SumPool2d(nn.Module):
    """Sum of each window, zero padded: (N, C, H, W) to (N, C, H', W'). Default stride: the kernel."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        self.kernel_size = pair_of(kernel_size)
        self.stride = self.kernel_size if stride is None else pair_of(stride)
        self.padding = pair_of(padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class GlobalSumPool(nn.Module):
    """Sum of each channel: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3), dtype=sum_dtype(x))


def sum_dtype(x: Tensor) -> torch.dtype:
    """What sums of codes are held in: at least float32, because bfloat16 rounds integers above 256."""
    return torch.promote_types(x.dtype, torch.float32)


def lower_max_pool(site: Site, module: nn.MaxPool2d, x: Lowered) -> Lowered:
    """``MaxPool`` of the integers.

    A pending function commutes with the maximum where it increases. Where it decreases (a negative batch
    norm slope), the largest result belongs to the smallest integer, so those channels are negated first.
    """
    if pair_of(module.dilation) != (1, 1) or module.ceil_mode or module.return_indices:
        raise site.error("MaxPool2d is supported without dilation, ceil_mode and return_indices")
    operand = site.type_of(site.unscaled(x))
    value, pending = x.value, x.pending
    negated = falling(pending, operand.interval, operand.channels)
    if bool(negated.any()):
        sign = torch.where(negated, -1, 1)
        value = site.emit(_signed(sign.numpy(), operand.interval.magnitude), value)
        pending = (ChannelSign(sign.double()), *pending)
    kernel, stride, padding = map(pair_of, (module.kernel_size, module.stride, module.padding))
    return Lowered(site.emit(MaxPool(kernel, stride, padding), value), pending)


def _signed(sign: np.ndarray, magnitude: int) -> Requantize:
    """Multiplication of each channel by +1 or -1."""
    zeros = np.zeros_like(sign)
    return Requantize(sign, zeros, zeros, -magnitude, magnitude)


def lower_sum_pool(site: Site, module: SumPool2d, x: Lowered) -> Lowered:
    """``SumPool``."""
    op = SumPool(module.kernel_size, module.stride, module.padding)
    return Lowered(site.emit(op, site.integers(x)))


def lower_global_sum_pool(site: Site, _module: GlobalSumPool, x: Lowered) -> Lowered:
    """``SumPool`` over the whole image, then ``Reshape`` to one value per channel."""
    value = site.integers(x)
    total = site.emit(global_sum(site, x), value)
    return Lowered(site.emit(Reshape((site.type_of(x).channels,)), total))


def global_sum(site: Site, x: Lowered) -> SumPool:
    """``SumPool`` over all positions of ``x``, which must be (C, H, W)."""
    shape = site.type_of(x).shape
    if len(shape) != 3:
        raise site.error(f"global pooling needs an operand of rank 3, not shape {list(shape)}")
    return SumPool((shape[1], shape[2]), (1, 1))


LAYERS: dict[type[nn.Module], LowerRule] = {
    nn.MaxPool2d: lower_max_pool,
    SumPool2d: lower_sum_pool,
    GlobalSumPool: lower_global_sum_pool,
}
