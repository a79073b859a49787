"""Residual connections on integer codes: linear, and orthogonal (arXiv 2505.11881).

A connection is called as ``connection(branch, stream)``. Both hold codes worth one step, that of the stage,
and so does the result; whether the stream is signed says where it is clipped. Quotient connections, whose
streams have another meaning, are in ``toolchain.layers.quotient``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Add, Clip, Mul, ReduceSum, Requantize, RoundDiv, ShiftRight, Square, Sub
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.integers import rounded_quotient
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import clipped_straight_through, top_code

EPSILON = 1e-6
"""Added to the squared norm of the stream in full precision (the paper's)."""

AXES: dict[str, tuple[int, ...]] = {"linear": (), "orthogonal": (1,), "orthogonal-global": (1, 2, 3)}
"""From a kind of connection to the batched axes that its inner products sum over."""

GUARD_BITS = 4
"""Bits of the quotient below a code's last: with them the projection errs by at most 0.516 codes in a
signed stream, and 0.532 in an unsigned one."""


def orthogonal_update(x: Tensor, f: Tensor, axes: tuple[int, ...], share: float = 1.0) -> Tensor:
    """``x + f - share * s * x`` with ``s = <x, f> / (<x, x> + eps)``: ``f`` without its part along ``x``.

    ``x``, ``f``: (N, C, H, W). ``axes``: (1,) for feature-wise inner products, (1, 2, 3) for global ones.
    Source: arXiv 2505.11881, equations 2 to 4; ``share`` is ours.
    """
    s = (x * f).sum(axes, keepdim=True) / ((x * x).sum(axes, keepdim=True) + EPSILON)
    return x + f - share * s * x


class ResidualConnection(PhasedModule):
    """``clip(x + f)``, or the same with ``f`` made orthogonal to ``x`` first.

    ``kind``: a row of ``AXES``; ``kind`` may change between phases of training (``set_connection``), as no
    parameter depends on it. ``bits``: of the stream, signed codes or not, as in ``NormCodes``; an unsigned
    stream is rectified. ``probability``: that a forward pass in training projects at all, drawn anew each
    time; evaluation subtracts that share of the projection.

    Integer form of the projection, with ``k = bits + 4``: one rounded division a position,
    ``R = round(D * A / max(N, 1))``, ``D = <x, f>``, ``N = <x, x>``, ``A = round(probability * 2**k)``;
    then ``P = (R * x + 2**(k - 1)) >> k``. Training computes these integers; gradients are those of the
    real formula where the result is within its range.
    Raises InputError for an unknown kind, or a probability outside 0..1.
    """

    def __init__(
        self, bits: int, signed: bool, kind: str = "linear", probability: float = 1.0, pinned: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise InputError(f"the probability of a connection must be within 0..1, not {probability}")
        top = top_code(bits)
        self.top = top >> 1 if signed else top
        self.lowest = -self.top if signed else 0
        self.bits, self.signed = bits, signed
        self.kind = self.built_kind = _known(kind)
        self.probability = probability
        self.pinned = pinned

    @property
    def fraction_bits(self) -> int:
        """``k``: bits behind the point of ``R``."""
        return self.bits + GUARD_BITS

    @property
    def factor(self) -> int:
        """``A``: the share of the projection that evaluation subtracts, as an integer."""
        return round(self.probability * (1 << self.fraction_bits))

    def forward(self, branch: Tensor, stream: Tensor) -> Tensor:
        axes, share = AXES[self.kind], self.probability
        if axes and self.training:
            share = float(self.probability == 1 or bool(torch.rand(()) < self.probability))
        if axes and share:
            total = orthogonal_update(stream, branch, axes, share)
        else:
            axes, total = (), stream + branch
        if not self.quantized:
            return total if self.signed else torch.relu(total)
        hard = self.integers(stream, branch, share) if axes else total.detach()
        return clipped_straight_through(hard.clamp(self.lowest, self.top), total, self.lowest, self.top)

    @torch.no_grad()
    def integers(self, x: Tensor, f: Tensor, share: float = 1.0) -> Tensor:
        """``x + f - P`` of codes, unclipped. float64 holds every integer in between."""
        axes, unit = AXES[self.kind], 1 << self.fraction_bits
        wide = x.double()
        dot = (wide * f).sum(axes, keepdim=True) * round(share * unit)
        norm = (wide * wide).sum(axes, keepdim=True).clamp_(min=1)
        projection = torch.floor((rounded_quotient(dot, norm) * wide + unit // 2) / unit)
        return x + f - projection.to(x.dtype)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, kind={self.kind!r}"


def _known(kind: str) -> str:
    if kind not in AXES:
        raise InputError(f"a residual connection must be one of {', '.join(AXES)}, not {kind!r}")
    return kind


def switchable(model: nn.Module) -> list[ResidualConnection]:
    """The residual connections of ``model`` that are not pinned, whose kind a phase can change."""
    return [m for m in model.modules() if isinstance(m, ResidualConnection) and not m.pinned]


def set_connection(model: nn.Module, kind: str | None) -> None:
    """Give every residual connection of ``model`` that is not pinned another kind; None: as it was built.

    Raises InputError for an unknown kind, and when there is none to change.
    """
    found = switchable(model)
    if kind is not None and not found:
        raise InputError(f"connection {kind!r} needs a model with linear or orthogonal connections")
    for module in found:
        module.kind = module.built_kind if kind is None else _known(kind)


def lower_connection(site: Site, module: ResidualConnection, branch: Lowered, stream: Lowered) -> Lowered:
    """``Add`` and ``Clip``; with a projection, one ``RoundDiv`` a position in front."""
    f, x = site.integers(branch), site.integers(stream)
    total = site.emit(Add(), x, f)
    axes = tuple(axis - 1 for axis in AXES[module.kind])
    if axes and module.factor:
        total = site.emit(Sub(), total, _projection(site, module, axes, x, f))
    return Lowered(site.emit(Clip(module.lowest, module.top), total))


def _projection(site: Site, module: ResidualConnection, axes: tuple[int, ...], x: str, f: str) -> str:
    """``P``."""
    dot = site.emit(ReduceSum(axes), site.emit(Mul(), x, f))
    norm = site.emit(ReduceSum(axes), site.emit(Square(), x))
    divisor = site.emit(Clip(1, max(site.type_of(Lowered(norm)).interval.hi, 1)), norm)
    ends = site.type_of(Lowered(dot)).interval
    one, zero, factor = np.array([1]), np.array([0]), module.factor
    dividend = site.emit(Requantize(factor * one, zero, zero, factor * ends.lo, factor * ends.hi), dot)
    # |x| <= x * x for integers, so |D| <= N max|f|: the quotient is narrower than intervals can tell.
    limit = factor * site.type_of(Lowered(f)).interval.magnitude
    ratio = site.emit(Clip(-limit, limit), site.emit(RoundDiv(), dividend, divisor))
    return site.emit(ShiftRight(module.fraction_bits, "half-up"), site.emit(Mul(), ratio, x))


LAYERS: dict[type[nn.Module], LowerRule] = {ResidualConnection: lower_connection}
