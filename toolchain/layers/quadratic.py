"""The quadratic enhancer (QuadEnhancer, arXiv 2510.03276): codes that also hold products of channels.

``z_i = y_i * (1 + sum_r lambda_ri * y_{i-r}) + b_i``, where the channels are a ring. The paper puts it
between a linear layer and its norm; here it stands behind the norm, where ``y`` is bounded and of unit
size, so that it has few codes: linear layer -> norm -> enhancer -> codes.

Two integer forms, rows of ``FORMS``: one multiplication of activations an element, or one table a channel
over pairs of codes and no multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Add, Lookup, Mul, Requantize, Roll
from runtime.types import IntArray, Interval
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.norm import BatchNorm
from toolchain.layers.norm_codes import NormCodes, lower_norm_codes
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import straight_through

GAIN = 16
"""Bound of ``abs(1 + sum_r lambda_ri * y_{i-r})``. It keeps the integers of a product within 32 bits."""

INNER_LIMITS = {2: 1.2, 3: 2.0, 4: 2.5, 5: 2.9, 6: 3.3, 7: 3.6, 8: 4.0}
"""From bits of a signed code to its limit: a Gaussian of unit variance is coded with the least mean squared
error, to within 1 %. Narrow codes must clip early, or their steps are too wide."""

PAIR_BITS = 4
"""Widest codes whose pairs index a table: 256 entries a channel."""

INT32 = Interval(-(2**31), 2**31 - 1)


def check_shifts(shifts: Sequence[int], channels: int) -> tuple[int, ...]:
    """``shifts`` if they are distinct, at least one, and within 1..channels - 1. Raises InputError."""
    shifts = tuple(shifts)
    valid = all(type(shift) is int and 1 <= shift < channels for shift in shifts)
    if not shifts or not valid or len(set(shifts)) != len(shifts):
        raise InputError(
            f"shifts must be one or more distinct integers, at least 1 and below the {channels} channels, "
            f"not {list(shifts)}; the paper's are (1,)"
        )
    return shifts


def quadratic_transform(y: Tensor, coefficients: Tensor, bias: Tensor, shifts: Sequence[int]) -> Tensor:
    """``z = (L y) o y + y + b`` with ``L y = sum_r lambda_r o roll(y, r)`` along axis 1.

    ``y``: (N, C, ..). ``coefficients``: ``lambda``, (len(shifts), C). ``bias``: (C,). ``shifts``: distinct,
    within 1..C - 1, else InputError. Source: arXiv 2510.03276.
    """
    shifts = check_shifts(shifts, y.shape[1])
    shape = (-1,) + (1,) * (y.dim() - 2)
    rows = [row.view(shape) for row in coefficients]
    return _transform(y, [y.roll(shift, 1) for shift in shifts], rows, bias.view(shape))


def _transform(y: Tensor, neighbours: Sequence[Tensor], rows: Sequence[Tensor], bias: Tensor) -> Tensor:
    """Separately rounded elementwise steps: one well-defined function, the same for every shape."""
    mixed = rows[0] * neighbours[0]
    for row, neighbour in zip(rows[1:], neighbours[1:], strict=True):
        mixed = mixed + row * neighbour
    return mixed * y + y + bias


class QuadraticCodes(PhasedModule):
    """Codes of ``z = quadratic_transform(y)`` for ``y = norm(x)``; stands wherever ``NormCodes`` can.

    ``x``: accumulators, (N, C, ..). ``bits``, ``signed``, ``limit``: of the resulting codes, as in
    ``NormCodes``. ``shifts``: which neighbours each channel is multiplied by. ``inner_bits``: of the signed
    codes of ``y``, 2..8, by default ``max(bits, 4)``; ``inner_limit``: their limit, by default that of
    ``INNER_LIMITS``. ``norm``: by default a batch norm. ``form``: a row of ``FORMS``, or ``auto``: pairs
    where they fit (one shift and at most ``PAIR_BITS`` inner bits), else product.

    ``coefficients`` (len(shifts), C) and ``bias`` (C,) start at zero, the identity. They act clipped to
    ``coefficient_limit``, which keeps the gain within ``GAIN``, and to ``bias_limit``, beyond which every
    code would be the lowest or the top; gradients pass the clip.

    Quantized: the integers of the program, with the straight-through gradient of the real transform where
    ``z`` is within the range of codes. Full precision: ``z / step``, rectified if unsigned. Raises
    InputError for options that do not fit, and for a ``limit`` so small that a product needs over 32 bits.
    """

    def __init__(
        self,
        channels: int,
        bits: int,
        signed: bool,
        limit: float,
        shifts: Sequence[int] = (1,),
        inner_bits: int | None = None,
        norm: nn.Module | None = None,
        form: str = "auto",
        inner_limit: float | None = None,
    ) -> None:
        super().__init__()
        norm = BatchNorm(channels) if norm is None else norm
        if norm.channels != channels:
            raise InputError(f"the norm of {channels} channels must have as many, not {norm.channels}")
        self.outer = NormCodes(nn.Identity(), bits, signed, limit)
        self.bits, self.signed, self.limit = bits, signed, limit
        self.lowest, self.top, self.step = self.outer.lowest, self.outer.top, self.outer.step
        inner_bits = max(bits, PAIR_BITS) if inner_bits is None else inner_bits
        if inner_bits not in INNER_LIMITS:
            raise InputError(f"inner_bits must be within 2..8, not {inner_bits}")
        inner_limit = INNER_LIMITS[inner_bits] if inner_limit is None else inner_limit
        self.inner = NormCodes(norm, inner_bits, True, inner_limit)
        self.shifts = check_shifts(shifts, channels)
        self.form = _settled_form(form, inner_bits, self.shifts)
        self.coefficient_limit = (GAIN - 1) / (len(self.shifts) * inner_limit)
        self.bias_limit = GAIN * inner_limit + limit
        self.coefficients = nn.Parameter(torch.zeros(len(self.shifts), channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if self.form == "product":
            self._check_int32()

    @property
    def channels(self) -> int:
        """Length of the channel axis."""
        return len(self.bias)

    @property
    def fraction_bits(self) -> int:
        """``k``: bits behind the point in the product form."""
        return 2 * self.inner.bits - 1

    def _check_int32(self) -> None:
        scale, unit = self.inner.step / self.step, 1 << self.fraction_bits
        factor = round(self.coefficient_limit * scale * self.inner.step * unit)
        gain = round(scale * unit) + len(self.shifts) * factor * self.inner.top
        if gain * self.inner.top + round(self.bias_limit / self.step * unit) + unit > INT32.hi:
            raise InputError(
                f"the sums of form 'product' must fit 32 bits, but limit {self.limit:g} is too small for "
                f"inner_limit {self.inner.limit:g} and {self.inner.bits} inner_bits; use a larger limit"
            )

    def bounded(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Coefficients and bias as they act: within their limits, with gradients as if unclipped."""
        return (
            _bounded(self.coefficients.to(dtype), self.coefficient_limit),
            _bounded(self.bias.to(dtype), self.bias_limit),
        )

    def forward(self, x: Tensor) -> Tensor:
        codes = self.inner(x)
        if self.quantized and not self.training:
            return FORMS[self.form].evaluate(self, codes).to(codes.dtype)
        y = codes * self.inner.step
        if not self.quantized:
            return self.outer(quadratic_transform(y, self.coefficients, self.bias, self.shifts))
        surrogate = self.outer.rounding(quadratic_transform(y, *self.bounded(y.dtype), self.shifts))
        return straight_through(FORMS[self.form].evaluate(self, codes).to(surrogate.dtype), surrogate)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, bits={self.bits}, signed={self.signed}, limit={self.limit:g}, "
            f"shifts={self.shifts}, inner_bits={self.inner.bits}, form={self.form!r}"
        )


def _bounded(parameter: Tensor, limit: float) -> Tensor:
    return straight_through(parameter.clamp(-limit, limit), parameter)


def _settled_form(form: str, inner_bits: int, shifts: tuple[int, ...]) -> str:
    if form not in ("auto", *FORMS):
        raise InputError(f"form must be one of auto, {', '.join(FORMS)}, not {form!r}")
    fits = inner_bits <= PAIR_BITS and len(shifts) == 1
    if form == "pairs" and not fits:
        raise InputError(
            f"form 'pairs' needs one shift and at most {PAIR_BITS} inner_bits, not {len(shifts)} and "
            f"{inner_bits}; use 'product'"
        )
    if form == "auto":
        return "pairs" if fits else "product"
    return form


@torch.no_grad()
def product_constants(module: QuadraticCodes) -> tuple[int, Tensor, Tensor]:
    """Integers of the product form, with ``k = 2 * inner_bits - 1`` bits behind the point, in float64.

    ``c``: ``round(c * 2**k)``, where ``c`` is output codes per inner code. ``Lam``: rounded likewise,
    (len(shifts), C). ``B``: the bias and what rounds, (C,): a half; all but one unit for one unsigned bit,
    whose code is 1 above zero. Code = ``((c + sum_r Lam_ri * Y_{i-r}) * Y_i + B_i) >> k``, clipped.
    """
    unit = 1 << module.fraction_bits
    scale = module.inner.step / module.step * unit
    coefficients, bias = module.bounded(torch.float64)
    rounding = unit - 1 if module.top - module.lowest == 1 else unit // 2
    factors = (coefficients * (scale * module.inner.step)).round()
    return round(scale), factors, (bias * (unit / module.step)).round() + rounding


@torch.no_grad()
def product_codes(module: QuadraticCodes, codes: Tensor) -> Tensor:
    """The codes of the product form, float64, which holds every integer in between."""
    scale, factors, offsets = product_constants(module)
    shape = (-1,) + (1,) * (codes.dim() - 2)
    wide = codes.double()
    gain = torch.full_like(wide, scale)
    for row, shift in zip(factors, module.shifts, strict=True):
        gain += row.view(shape) * wide.roll(shift, 1)
    sums = gain.mul_(wide).add_(offsets.view(shape))
    return sums.mul_(2.0**-module.fraction_bits).floor_().clamp_(module.lowest, module.top)


def lower_product(site: Site, module: QuadraticCodes, y: str) -> str:
    """``Roll``, ``Requantize`` and ``Add`` for the gain, ``Mul``, and ``Requantize`` to codes."""
    scale, *tensors = product_constants(module)
    factors, offsets = (tensor.long().cpu().numpy() for tensor in tensors)
    ones = np.ones(module.channels, np.int64)
    gain = ""
    for row, shift in zip(factors, module.shifts, strict=True):
        start = 0 * ones if gain else scale * ones
        term = site.emit(Requantize(row, start, 0 * ones, INT32.lo, INT32.hi), site.emit(Roll(shift), y))
        gain = site.emit(Add(), gain, term) if gain else term
    shifts = module.fraction_bits * ones
    last = Requantize(ones, offsets, shifts, module.lowest, module.top)
    return site.emit(last, site.emit(Mul(), gain, y))


@torch.no_grad()
def pair_codes(module: QuadraticCodes, codes: Tensor) -> Tensor:
    """The entries of the pairs' tables at ``codes``, float64: what ``pair_tables`` evaluates."""
    y = codes.double() * module.inner.step
    return module.outer.rounding(quadratic_transform(y, *module.bounded(torch.float64), module.shifts))


@torch.no_grad()
def pair_tables(module: QuadraticCodes) -> IntArray:
    """Codes of every pair: (C, 4**bits); entry ``(Y_{i-r} + top) * 2**bits + Y_i + top`` of row ``i``."""
    codes = torch.arange(1 << module.inner.bits).double() - module.inner.top
    neighbour, y = torch.cartesian_prod(codes, codes).mul_(module.inner.step).T[..., None]
    coefficients, bias = module.bounded(torch.float64)
    entries = module.outer.rounding(_transform(y, [neighbour], [*coefficients], bias))
    tables: IntArray = entries.T.long().cpu().numpy()
    return tables


def lower_pairs(site: Site, module: QuadraticCodes, y: str) -> str:
    """``Roll``, ``Requantize`` and ``Add`` for the index of a pair, and ``Lookup``."""
    ones, span = np.ones(module.channels, np.int64), 1 << module.inner.bits
    offset = (span + 1) * module.inner.top
    rows = Requantize(span * ones, offset * ones, 0 * ones, 0, span * span)
    index = site.emit(Add(), site.emit(rows, site.emit(Roll(module.shifts[0]), y)), y)
    return site.emit(Lookup(pair_tables(module)), index)


@dataclass(frozen=True, slots=True)
class Form:
    """An integer form: what evaluation computes of inner codes, and the ops that compute the same."""

    evaluate: Callable[[QuadraticCodes, Tensor], Tensor]
    lower: Callable[[Site, QuadraticCodes, str], str]


FORMS = {"product": Form(product_codes, lower_product), "pairs": Form(pair_codes, lower_pairs)}


def lower_quadratic_codes(site: Site, module: QuadraticCodes, x: Lowered) -> Lowered:
    """The inner codes, then the ops of the module's form."""
    channels = site.type_of(site.unscaled(x)).channels
    if channels != module.channels:
        raise site.error(f"QuadraticCodes has {module.channels} channels, its operand has {channels}")
    if not all(bool(torch.isfinite(p).all()) for p in (module.coefficients, module.bias)):
        raise site.error("coefficients and bias of QuadraticCodes must be finite; retrain the model")
    inner = lower_norm_codes(site, module.inner, x)
    return Lowered(FORMS[module.form].lower(site, module, inner.value))


LAYERS: dict[type[nn.Module], LowerRule] = {QuadraticCodes: lower_quadratic_codes}
