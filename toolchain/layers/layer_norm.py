"""Layer normalization in integers: one root and one reciprocal a token.

A token is the C channels at one position of (N, C, T, 1). With ``S = sum x`` and ``U = C x - S``, its
standard form is

    z = (x - mean) / sqrt(var + eps) = U / sqrt(V),    V = C sum x**2 - S**2 + E,    eps = E / C**2

in units of codes, with ``E = C**2 // 16`` (at least 1): a deviation of a quarter of a code, about that of
rounding to codes. All but one root and one division is an integer already. As ``V`` is at least ``E``, the
root of every token has ``SIGNIFICANT_BITS`` bits; the quotient is a product with its rounded reciprocal:

    R = floor(sqrt(V << 2 j)),    P = round(2**m / R),    Z = (U P + 2**(s - 1)) >> s

``Z`` is ``z`` in units of ``2**-FRACTION_BITS``. It errs by at most ``abs(z) / 2**10 + 2**-11``: half of
the first part comes from the root, a quarter from the reciprocal. One division a token and a product an
element take fewer gates than a division an element (``docs/vit.md``).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Clip, FloorSqrt, Mul, ReduceSum, Requantize, RoundDiv, Square, Sub
from runtime.types import INT64_LIMIT
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.norm_codes import Affine, NormCodes
from toolchain.layers.pool import sum_dtype
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import straight_through, top_code

SIGNIFICANT_BITS = 11
"""Of the smallest root."""

FRACTION_BITS = 10
"""Bits behind the point of the standard form."""

MAX_CHANNELS = 1024
"""Sums of so many squares of 8-bit codes stay below 2**24, where float32 is exact."""


class Standardize(PhasedModule):
    """Every token with mean 0 and variance 1, in units of ``2**-FRACTION_BITS``.

    Input: (N, C, T, 1) signed codes of ``bits`` bits; their step cancels. Output: integers of the same
    shape, at most ``sqrt(C)`` real units from 0. Training and evaluation compute the integers of the
    program; gradients are those of the real formula, which full precision computes. Raises InputError for
    channels outside 2..``MAX_CHANNELS`` and bits outside 2..8.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        if not 2 <= channels <= MAX_CHANNELS:
            raise InputError(f"channels of a layer norm must be within 2..{MAX_CHANNELS}, not {channels}")
        if top_code(bits) == 1:
            raise InputError(f"a layer norm needs signed codes of 2 to 8 bits, not {bits}")
        self.channels = channels
        self.top = top_code(bits) >> 1
        self.epsilon = max(1, channels**2 // 16)

    @property
    def root_shift(self) -> int:
        """``j``: ``2**j * sqrt(E)`` is at least ``2**SIGNIFICANT_BITS``."""
        return max(0, SIGNIFICANT_BITS + 1 - math.isqrt(self.epsilon).bit_length())

    @property
    def reciprocal_bits(self) -> int:
        """``m``: the largest root has ``m - SIGNIFICANT_BITS`` bits."""
        return self.root_shift + (self.channels * self.top).bit_length() + SIGNIFICANT_BITS

    @property
    def product_shift(self) -> int:
        """``s``: bits of ``U P`` below the last of the result."""
        return self.reciprocal_bits - self.root_shift - FRACTION_BITS

    def forward(self, x: Tensor) -> Tensor:
        z = F.layer_norm(x.movedim(1, -1), (self.channels,), eps=self.epsilon / self.channels**2).movedim(
            -1, 1
        )
        real = z * (1 << FRACTION_BITS)
        return straight_through(self.integers(x), real) if self.quantized else real

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """``Z`` of codes ``x``. float32 holds the sums, float64 the root and the products."""
        exact = x.to(sum_dtype(x))
        total, squares = exact.sum(1, keepdim=True), exact.square().sum(1, keepdim=True)
        variance = self.channels * squares.double() - total.double().square() + self.epsilon
        root = variance.mul_(4.0**self.root_shift).sqrt_().floor_()
        reciprocal = ((2.0**self.reciprocal_bits + (root / 2).floor_()) / root).floor_()
        centred = (exact * self.channels).sub_(total)
        return (centred * (reciprocal * 2.0**-self.product_shift)).add_(0.5).floor_().to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, top={self.top}"


class IntegerLayerNorm(nn.Sequential):
    """Codes of ``gain * z + bias``, ``z`` the standard form of each token.

    Input: (N, C, T, 1) signed codes of ``bits`` bits, of any step. Output: signed codes of ``bits`` bits,
    the largest worth ``limit``; they are within 2/3 of a code of the real formula at gain 1 and bias 0
    (limits of 4 and above), clipped. Source of the formula: Ba, Kiros and Hinton, arXiv 1607.06450.
    """

    def __init__(self, channels: int, bits: int, limit: float) -> None:
        super().__init__()
        self.standard = Standardize(channels, bits)
        self.codes = NormCodes(Affine(channels, 2.0**-FRACTION_BITS), bits, signed=True, limit=limit)


def scaled(site: Site, value: str, multiplier: int, offset: int = 0, shift: int = 0) -> str:
    """``(value * multiplier + offset) >> shift``, unclipped."""
    ones = np.ones(site.type_of(Lowered(value)).channels, np.int64)
    op = Requantize(multiplier * ones, offset * ones, shift * ones, -INT64_LIMIT, INT64_LIMIT)
    return site.emit(op, value)


def lower_standardize(site: Site, module: Standardize, x: Lowered) -> Lowered:
    """Two sums, a root, a reciprocal of 2**m and a product; see the top of this file."""
    value, type_ = site.integers(x), site.type_of(x)
    if type_.channels != module.channels or type_.interval.magnitude > module.top:
        raise site.error(
            f"a layer norm of {module.channels} channels takes codes within -{module.top}..{module.top}, "
            f"its operand is {type_}"
        )
    total = site.emit(ReduceSum((0,)), value)
    centred = site.emit(Sub(), scaled(site, value, module.channels), total)
    squares = site.emit(ReduceSum((0,)), site.emit(Square(), value))
    raised = scaled(site, squares, module.channels, offset=module.epsilon)
    variance = site.emit(Sub(), raised, site.emit(Square(), total))
    # Never below epsilon (Cauchy and Schwarz), which intervals do not know.
    positive = site.emit(Clip(module.epsilon, site.type_of(Lowered(variance)).interval.hi), variance)
    root = site.emit(FloorSqrt(), scaled(site, positive, 4**module.root_shift))
    one = scaled(site, root, 0, offset=1 << module.reciprocal_bits)
    product = site.emit(Mul(), centred, site.emit(RoundDiv(), one, root))
    limit = (math.isqrt(module.channels) + 2) << FRACTION_BITS  # beyond what any token reaches
    shift, ones = module.product_shift, np.ones(module.channels, np.int64)
    narrow = Requantize(ones, ones << (shift - 1), ones * shift, -limit, limit)
    return Lowered(site.emit(narrow, product))


LAYERS: dict[type[nn.Module], LowerRule] = {Standardize: lower_standardize}
