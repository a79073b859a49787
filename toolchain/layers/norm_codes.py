"""Normalization and integer codes in one module: how an accumulator becomes codes of a stated scale.

Up to ``THRESHOLD_BITS`` bits the program compares the accumulator with thresholds, found by evaluating the
real function, so nothing is emulated. Above, thresholds would be too many; the program multiplies, adds and
shifts (``Requantize``), and evaluation mode computes with the same integers. Training normalizes with the
statistics of its batch and rounds; its codes differ from those of evaluation as batch norms do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Requantize
from runtime.types import Interval
from toolchain.layers.base import EXACT_LIMIT, Lowered, LowerRule, Site
from toolchain.layers.norm import BatchNorm
from toolchain.layers.precision import PhasedModule
from toolchain.layers.thresholds import search_thresholds
from toolchain.quantizers import clipped_straight_through, top_code

THRESHOLD_BITS = 4
"""Widest codes that are found by comparison: 15 thresholds a channel."""

MULTIPLIER_BITS = 12
"""Significant bits of an integer multiplier: its rounding moves an 8-bit code by at most 1/16."""

MAX_SHIFT = 30


class Affine(nn.Module):
    """``y = x * weight * scale + bias`` per channel of (N, C, ..): a normalization without statistics.

    ``scale``: fixed, so that the weights start at 1, the size that optimizers expect. Raises InputError for
    a number of channels below 1.
    """

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        if channels < 1:
            raise InputError(f"Affine channels must be at least 1, not {channels}")
        self.channels = channels
        self.scale = float(scale)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def slope(self) -> Tensor:
        """Weight times scale, shape (C,)."""
        return self.weight * self.scale

    def intercept(self) -> Tensor:
        """The bias, shape (C,)."""
        return self.bias

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.slope().view(shape) + self.bias.view(shape)


class Rounding(nn.Module):
    """Codes ``round(z / step)`` clipped to ``lowest..top``, with straight-through gradients.

    One unsigned bit is the Heaviside step. Gradient: ``1 / step`` within the range, else 0; that of the
    Heaviside step is 1 where ``|z| <= 1``.
    """

    def __init__(self, lowest: int, top: int, step: float) -> None:
        super().__init__()
        self.lowest, self.top, self.step = lowest, top, step

    def forward(self, z: Tensor) -> Tensor:
        if (self.lowest, self.top) == (0, 1):
            return clipped_straight_through(z.detach().sign().clamp_(min=0), z, -1, 1)
        hard = (z.detach() / self.step).round_().clamp_(self.lowest, self.top)
        slope = 1 / self.step
        return clipped_straight_through(hard, z, self.lowest * self.step, self.top * self.step, slope)


class NormCodes(PhasedModule):
    """Codes of ``z = norm(x)``: ``clip(round(z * top / limit))``, signed or unsigned.

    ``x``: accumulators, (N, C, ..). ``norm``: a ``BatchNorm`` or ``Affine`` of C channels. ``bits``: 1..8;
    signed codes are ``-top..top`` with ``top = 2**(bits - 1) - 1``, unsigned ones ``0..2**bits - 1``, which
    is a rectified linear unit. ``limit``: the real value of ``top``; one code is worth ``step``.

    In full precision: ``z / step``, rectified if unsigned, neither rounded nor clipped, so units agree
    between the phases. Raises InputError for bits outside 1..8 (2..8 if signed) and limits not above 0.
    """

    def __init__(self, norm: nn.Module, bits: int, signed: bool, limit: float) -> None:
        super().__init__()
        top = top_code(bits)
        if signed and bits < 2:
            raise InputError(f"signed codes need 2 to 8 bits, not {bits}")
        if not limit > 0:
            raise InputError(f"the limit of codes must be above 0, not {limit}")
        self.top = top >> 1 if signed else top
        self.lowest = -self.top if signed else 0
        self.bits, self.signed, self.limit = bits, signed, limit
        self.step = limit / self.top
        self.norm = norm
        self.rounding = Rounding(self.lowest, self.top, self.step)

    @property
    def compares(self) -> bool:
        """Whether the program finds the codes by comparison with thresholds."""
        return self.bits <= THRESHOLD_BITS

    def forward(self, x: Tensor) -> Tensor:
        if self.quantized and not (self.training or self.compares):
            return self._requantized(x)
        z = self.norm(x)
        if self.quantized:
            return self.rounding(z)
        return (z if self.signed else torch.relu(z)) / self.step

    @torch.no_grad()
    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """``multiplier``, ``offset`` and ``shift`` of the integer form: float64 integers, shape (C,).

        Code = ``(x * multiplier + offset) >> shift``; the multiplier has ``MULTIPLIER_BITS`` bits where
        the shift can be chosen so, and the offset holds the half that rounds.
        """
        slope = self.norm.slope().double() / self.step
        intercept = self.norm.intercept().double() / self.step
        exponent = torch.frexp(slope).exponent
        shift = (MULTIPLIER_BITS - exponent).clamp(1, MAX_SHIFT).double()
        unit = torch.exp2(shift)
        return (slope * unit).round(), (intercept * unit).round() + unit / 2, shift

    @torch.no_grad()
    def _requantized(self, x: Tensor) -> Tensor:
        """The codes by the integers of the program. float64 holds every product."""
        shape = (1, -1) + (1,) * (x.dim() - 2)
        multiplier, offset, shift = (value.view(shape) for value in self.constants())
        scaled = torch.floor((x.double() * multiplier + offset) * torch.exp2(-shift))
        return scaled.clamp_(self.lowest, self.top).to(x.dtype)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, limit={self.limit:g}"


def batch_norm_codes(channels: int, bits: int, signed: bool, limit: float) -> NormCodes:
    """``NormCodes`` with a batch norm."""
    return NormCodes(BatchNorm(channels), bits, signed, limit)


def lower_norm_codes(site: Site, module: NormCodes, x: Lowered) -> Lowered:
    """``Threshold``, and for signed codes a subtraction; or ``Requantize``."""
    channels = site.type_of(site.unscaled(x)).channels
    if channels != module.norm.channels:
        raise site.error(f"NormCodes has {module.norm.channels} channels, its operand has {channels}")
    if not all(bool(torch.isfinite(value).all()) for value in module.constants()):
        raise site.error("a normalization must have finite statistics and weights; retrain the model")
    return Lowered((_by_comparison if module.compares else _by_product)(site, module, x))


def _by_comparison(site: Site, module: NormCodes, x: Lowered) -> str:
    operand = site.type_of(site.unscaled(x))
    chain = (*x.pending, module.norm, module.rounding)
    op = search_thresholds(chain, operand.interval, operand.channels, module.top, module.lowest)
    counts = site.emit(op, x.value)
    return offset_codes(site, counts, module.lowest)


def offset_codes(site: Site, counts: str, lowest: int) -> str:
    """Codes from ``lowest`` up of counts from 0 up."""
    if lowest == 0:
        return counts
    type_ = site.type_of(Lowered(counts))
    ones = torch.ones(type_.channels, dtype=torch.int64).numpy()
    hi = type_.interval.hi + lowest
    return site.emit(Requantize(ones, lowest * ones, 0 * ones, lowest, hi), counts)


def _by_product(site: Site, module: NormCodes, x: Lowered) -> str:
    value = site.integers(x)
    multiplier, offset, shift = (c.long().numpy() for c in module.constants())
    ends = site.type_of(x).interval
    rows = list(zip(multiplier.tolist(), offset.tolist(), strict=True))
    products = Interval.of(end * m + o for m, o in rows for end in (ends.lo, ends.hi))
    if products.magnitude > EXACT_LIMIT:
        raise site.error(f"products of a requantization must stay within 2**53, not {products}")
    return site.emit(Requantize(multiplier, offset, shift, module.lowest, module.top), value)


LAYERS: dict[type[nn.Module], LowerRule] = {NormCodes: lower_norm_codes}
