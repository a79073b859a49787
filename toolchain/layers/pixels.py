"""The input encoder: raw pixels to normalized integer codes or to bits, colours to quaternions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Concat, Conv2d, Lookup, Requantize, Threshold
from runtime.weights import MAX_LEVELS, Weights
from toolchain.layers.base import Lowered, LowerRule, Site

TOP_PIXEL = 255
TOP_CODE = 127

GRAY = (19, 38, 7)
"""Luma of red, green and blue, in 64ths: 0.299, 0.587 and 0.114 rounded so that they sum to 1."""


class PixelNorm(nn.Module):
    """Normalization of 8-bit pixels, per channel, to signed 8-bit codes.

    ``code = clip(round(unit * (pixel - mean) / std), -127, 127)``, half to even, computed once in float64
    for the 256 values of a pixel. The code of a mean pixel is about 0, so zero padding means padding with
    it. ``mean``, ``std``: one number per channel, in units of pixels. ``unit``: codes per standard
    deviation. Input: (N, C, H, W) integers 0..255. Raises InputError for other lengths and for a ``std``
    that is not positive.
    """

    table: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], unit: int = 32) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean) or min(std) <= 0 or unit < 1:
            raise InputError(
                "PixelNorm needs one mean and one positive std per channel and a unit of at least 1, "
                f"not {list(mean)}, {list(std)} and {unit}"
            )
        pixel = torch.arange(TOP_PIXEL + 1, dtype=torch.float64)
        centred = pixel - torch.tensor(mean, dtype=torch.float64)[:, None]
        codes = unit * centred / torch.tensor(std, dtype=torch.float64)[:, None]
        # Integers need no state: a checkpoint holds what training changes.
        self.register_buffer("table", codes.round().clamp(-TOP_CODE, TOP_CODE), persistent=False)
        self.register_buffer("row", torch.arange(len(mean))[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.table[self.row, x.long()].to(x.dtype)

    def extra_repr(self) -> str:
        return f"channels={len(self.table)}"


def lower_pixel_norm(site: Site, module: PixelNorm, x: Lowered) -> Lowered:
    """``Lookup`` with a table of 256 entries per channel."""
    operand = site.type_of(site.unscaled(x))
    if operand.interval.lo < 0 or operand.interval.hi > TOP_PIXEL:
        raise site.error(
            f"PixelNorm takes integers within 0..{TOP_PIXEL}, its operand is in {operand.interval}"
        )
    table = module.table.cpu().numpy().astype(np.int64)
    return Lowered(site.emit(Lookup(table), site.integers(x)))


def memory_format(x: Tensor) -> torch.memory_format:
    """``channels_last`` if ``x`` (N, C, H, W) is so in memory: what is made from it stays as fast."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class AppendGray(nn.Module):
    """Colour codes as quaternions (R, G, B, gray): (N, 3, H, W) to (N, 4, H, W).

    ``gray = floor((19 R + 38 G + 7 B + 32) / 64)``: ITU-R 601 luma to the nearest 64th, rounded. Input:
    integer codes within -127..127 in a float tensor.
    """

    def forward(self, x: Tensor) -> Tensor:
        red, green, blue = x.unbind(1)
        colours = torch.empty_like(x[:, :1].expand(-1, 4, -1, -1), memory_format=memory_format(x))
        colours[:, :3] = x
        colours[:, 3] = torch.floor((GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue + 32) / 64)
        return colours


class PixelBits(nn.Module):
    """Pixels as bits: (N, C, H, W) to (N, C * K, H, W), ``x >= t`` for each of ``K`` thresholds in turn.

    A threshold of 128 costs nothing in gates, as it is the highest bit of a pixel. Raises InputError unless
    ``thresholds`` rise within 1..255.
    """

    def __init__(self, thresholds: Sequence[int] = (128,)) -> None:
        super().__init__()
        found = list(thresholds)
        if not found or found != sorted(set(found)) or found[0] < 1 or found[-1] > TOP_PIXEL:
            raise InputError(f"thresholds of pixels must rise within 1..{TOP_PIXEL}, not {found}")
        self.thresholds = tuple(found)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([(x >= threshold).to(x.dtype) for threshold in self.thresholds], dim=1)

    def extra_repr(self) -> str:
        return f"thresholds={self.thresholds}"


def lower_pixel_bits(site: Site, module: PixelBits, x: Lowered) -> Lowered:
    """A ``Threshold`` each, and a ``Concat`` of several."""
    value, channels = site.integers(x), site.type_of(x).channels
    up = np.ones(channels, np.int64)
    bits = [site.emit(Threshold(np.full((channels, 1), t), up), value) for t in module.thresholds]
    return Lowered(bits[0] if len(bits) == 1 else site.emit(Concat(), *bits))


class PixelScale(nn.Module):
    """Codes of ``PixelNorm`` in standard deviations, ``x / unit``: what plain float32 layers are fed."""

    def __init__(self, unit: int = 32) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        return x / self.unit


def lower_append_gray(site: Site, _module: AppendGray, x: Lowered) -> Lowered:
    """A 1x1 ``Conv2d`` and a ``Requantize`` make gray; ``Concat`` appends it."""
    value, type_ = site.integers(x), site.type_of(x)
    if len(type_.shape) != 3 or type_.channels != 3 or type_.interval.magnitude > TOP_CODE:
        raise site.error(
            f"AppendGray takes 3 channels of codes within -{TOP_CODE}..{TOP_CODE}, its operand is {type_}"
        )
    weights = Weights(np.array(GRAY, np.int8).reshape(1, 3, 1, 1), MAX_LEVELS)
    luma = site.emit(Conv2d(weights), value)
    gray = site.emit(Requantize([1], [32], [6], -TOP_CODE, TOP_CODE), luma)
    return Lowered(site.emit(Concat(), value, gray))


def refuse_pixel_scale(site: Site, _module: PixelScale, _x: Lowered) -> Lowered:
    """A plain network starts with it, and has no program."""
    raise site.error(
        "PixelScale feeds plain float32 layers, which have no integer codes; make their HEQ twins with "
        "`gatefold quantize`"
    )


LAYERS: dict[type[nn.Module], LowerRule] = {
    PixelNorm: lower_pixel_norm,
    PixelBits: lower_pixel_bits,
    AppendGray: lower_append_gray,
    PixelScale: refuse_pixel_scale,
}
