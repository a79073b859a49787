"""The input encoder: raw pixels to normalized integer codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Lookup
from toolchain.layers.base import Lowered, LowerRule, Site

TOP_PIXEL = 255
TOP_CODE = 127


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


LAYERS: dict[type[nn.Module], LowerRule] = {PixelNorm: lower_pixel_norm}
