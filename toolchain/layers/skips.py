"""Skip connections made of gates (arXiv 2501.04517), and the plain ones they are compared with.

Every skip is called as ``skip(branch, identity)`` on integer codes ``0 .. 2**bits - 1`` of one shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Add, Or, Select, Threshold
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.pool import global_sum, sum_dtype
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import clipped_straight_through, top_code

POLARITIES = ("dense-direct", "dense-or")


class OrSkip(PhasedModule):
    """``y = a | b``.

    Forward: for one bit ``H(a + b)``, the paper's OR; for more bits the bitwise OR of the codes (our
    choice: it costs one gate per bit and stays within ``0 .. 2**bits - 1``). Gradient: that of
    ``clip(a + b, 0, 2**bits - 1)``: 1 to both inputs where ``a + b <= 2**bits - 1``, else 0; for one bit
    that is the straight-through gradient of ``H``. In full precision: that clipped sum itself.
    """

    def __init__(self, bits: int = 1) -> None:
        super().__init__()
        self.top = top_code(bits)

    def forward(self, branch: Tensor, identity: Tensor) -> Tensor:
        total = branch + identity
        if not self.quantized:
            return total.clamp(0, self.top)
        return clipped_straight_through(_bitwise_or(branch, identity, self.top), total, 0, self.top)


def _bitwise_or(a: Tensor, b: Tensor, top: int) -> Tensor:
    """``a | b`` of codes ``0..top`` held as floats. For bits it is the maximum, with no conversion."""
    if top == 1:
        return torch.maximum(a, b)
    return (a.to(torch.uint8) | b.to(torch.uint8)).to(a.dtype)


class MuxSkip(PhasedModule):
    """A multiplexer per channel, driven by thresholded global average pooling (TGPA).

    Forward, with ``c`` the branch and ``x`` the identity: ``t = 1[mean(x) / (2**bits - 1) >= threshold]``
    per sample and channel; ``y = t ? c : c | x``. A dense channel of ``x`` would saturate under OR, so it
    goes direct. ``polarity="dense-or"`` swaps the two. The comparison is made on integers,
    ``sum(x) >= ceil(threshold * H * W * (2**bits - 1))`` in exact fractions, so no mean is rounded.

    Gradient: that of the chosen path; none through ``t``. In full precision: OR is the clipped sum.
    Raises InputError for a threshold outside [0, 1] or another polarity.
    """

    def __init__(
        self, bits: int = 1, threshold: Fraction | float | str = "1/2", polarity: str = "dense-direct"
    ) -> None:
        super().__init__()
        self.threshold = _fraction(threshold)
        if polarity not in POLARITIES:
            raise InputError(f"mux polarity must be one of {', '.join(POLARITIES)}, not {polarity!r}")
        self.polarity = polarity
        self.either = OrSkip(bits)

    def bound(self, positions: int) -> int:
        """Smallest sum of a channel of ``positions`` codes that counts as dense."""
        return math.ceil(self.threshold * positions * self.either.top)

    def forward(self, branch: Tensor, identity: Tensor) -> Tensor:
        positions = identity.shape[2] * identity.shape[3]
        total = identity.detach().sum((2, 3), keepdim=True, dtype=sum_dtype(identity))
        dense = total >= self.bound(positions) if self.quantized else total >= self._real_bound(positions)
        direct = dense if self.polarity == "dense-direct" else ~dense
        return torch.where(direct, branch, self.either(branch, identity))

    def _real_bound(self, positions: int) -> float:
        return float(self.threshold * positions * self.either.top)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, polarity={self.polarity!r}"


class AddSkip(nn.Module):
    """``y = a + b``: the integer form of a residual connection. The result needs one bit more."""

    def forward(self, branch: Tensor, identity: Tensor) -> Tensor:
        return branch + identity


class NoSkip(nn.Module):
    """``y`` is the branch: the plain network, with the same modules."""

    def forward(self, branch: Tensor, identity: Tensor) -> Tensor:
        return branch


SKIPS: dict[str, Callable[[int], nn.Module]] = {
    "or": OrSkip,
    "mux": MuxSkip,
    "add": lambda bits: AddSkip(),
    "none": lambda bits: NoSkip(),
}
"""From a skip's name to its constructor, which takes the bits of the codes."""


def make_skip(skip: str, bits: int = 1) -> nn.Module:
    """The skip of that name for ``bits``-bit codes. Raises InputError listing the known ones."""
    if skip not in SKIPS:
        raise InputError(f"skip must be one of {', '.join(SKIPS)}, not {skip!r}")
    return SKIPS[skip](bits)


def _fraction(threshold: Fraction | float | str) -> Fraction:
    """The threshold exactly as written: 0.1 is one tenth, not the nearest binary fraction."""
    try:
        value = Fraction(str(threshold))
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 1:
        raise InputError(f"mux threshold must be a fraction within 0..1, not {threshold!r}")
    return value


def lower_or(site: Site, _module: OrSkip, branch: Lowered, identity: Lowered) -> Lowered:
    """``Or``."""
    return Lowered(site.emit(Or(), site.integers(branch), site.integers(identity)))


def lower_mux(site: Site, module: MuxSkip, branch: Lowered, identity: Lowered) -> Lowered:
    """Global ``SumPool``, ``Threshold``, ``Or`` and ``Select``."""
    c, x = site.integers(branch), site.integers(identity)
    pool = global_sum(site, identity)
    total = site.emit(pool, x)
    channels = site.type_of(identity).channels
    bound = module.bound(pool.kernel[0] * pool.kernel[1])
    dense = site.emit(Threshold(np.full((channels, 1), bound), np.ones(channels, np.int64)), total)
    either = site.emit(Or(), c, x)
    paths = (c, either) if module.polarity == "dense-direct" else (either, c)
    return Lowered(site.emit(Select(), dense, *paths))


def lower_add(site: Site, _module: AddSkip, branch: Lowered, identity: Lowered) -> Lowered:
    """``Add``."""
    return Lowered(site.emit(Add(), site.integers(branch), site.integers(identity)))


def lower_none(site: Site, _module: NoSkip, branch: Lowered, identity: Lowered) -> Lowered:
    """The branch; what only the identity needed is removed by a pass."""
    site.tensor(identity)
    return site.tensor(branch)


LAYERS: dict[type[nn.Module], LowerRule] = {
    OrSkip: lower_or,
    MuxSkip: lower_mux,
    AddSkip: lower_add,
    NoSkip: lower_none,
}
