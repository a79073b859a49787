"""The two blocks that logic-gated networks are made of."""

from __future__ import annotations

from torch import Tensor, nn

from toolchain.layers.activation import Activation
from toolchain.layers.linear import HEQConv2d
from toolchain.layers.norm import BatchNorm
from toolchain.layers.skips import make_skip


class ConvBlock(nn.Sequential):
    """``HEQConv2d -> [MaxPool2d] -> BatchNorm -> Activation``; 3x3, stride 1, same size by default.

    ``pool`` is the window of the max pooling, 0 for none. ``fan_in``: how many weights of each channel are
    not zero, at most; None to equalize. Input: (N, in, H, W) integer codes. Output: (N, out, H', W') codes
    ``0 .. 2**bits - 1``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        pool: int = 0,
        levels: int = 3,
        rule: str = "quantile-span",
        bits: int = 1,
        kind: str = "codes",
        fan_in: int | None = None,
    ) -> None:
        padding = kernel_size // 2
        inputs = in_channels * kernel_size**2
        super().__init__()
        self.conv = HEQConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            levels=levels,
            rule=rule,
            steps="layer" if fan_in is None else "channel",
            density=None if fan_in is None else min(1, fan_in / inputs),
        )
        if pool:
            self.pool = nn.MaxPool2d(pool)
        self.norm = BatchNorm(out_channels)
        self.act = Activation(bits, kind)


class SkipBlock(nn.Module):
    """``skip(branch(x), x)``: a shape-preserving branch and a row of ``SKIPS`` around it."""

    def __init__(self, branch: nn.Module, skip: str = "or", bits: int = 1) -> None:
        super().__init__()
        self.branch = branch
        self.skip = make_skip(skip, bits)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(self.branch(x), x)
