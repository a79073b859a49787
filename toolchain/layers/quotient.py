"""Quotient connections (arXiv 2506.00992): the stream is multiplied by a bounded gate of the branch.

``q(z) = alpha * sigmoid(z - ln(alpha - 1))`` passes through (0, 1) and lies within (0, alpha). A stream is
a product of gates: strictly positive, of unit size, clipped at both ends of ``QuotientScale``. Two integer
forms:

- ``log``: the stream is ``L = 2**phi * log2(x)``; a gate is one lookup and one addition, and a lookup of
  ``2**L`` feeds each convolution. No multiplier, and rounding is relative: at most
  ``2**(2**-(phi + 1)) - 1`` a gate.
- ``linear``: the stream is ``x`` itself, from code 1 up, as a code 0 could never be left again; a gate is a
  lookup, a product and a rounding shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Add, Clip, Mul, Requantize
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.precision import PhasedModule
from toolchain.layers.table import Table
from toolchain.quantizers import clipped_straight_through, top_code

DOMAINS = ("log", "linear")
GATES = ("q", "relu")
MIN_BITS = 3


def quotient_gate(z: Tensor, alpha: float) -> Tensor:
    """``q(z) = alpha * sigmoid(z - ln(alpha - 1))``: ``q(0) = 1``, range (0, alpha), ``alpha`` above 1.

    Source: arXiv 2506.00992.
    """
    return alpha * torch.sigmoid(z - math.log(alpha - 1))


@dataclass(frozen=True, slots=True)
class QuotientScale:
    """How a stream and its gates are coded.

    ``alpha``: bound of a gate, above 1. ``bits``: of the stream, 3..8. ``step``: the real value of one gate
    code. ``domain``: a row of ``DOMAINS``. ``gate``: ``q``; or ``relu``, the form the paper warns of, which
    exists in full precision only. Raises InputError for anything else.
    """

    alpha: float
    bits: int
    step: float
    domain: str = "log"
    gate: str = "q"

    def __post_init__(self) -> None:
        if not 1 < self.alpha <= 16:
            raise InputError(f"alpha of a quotient gate must be above 1 and at most 16, not {self.alpha}")
        top_code(self.bits)
        if self.bits < MIN_BITS:
            raise InputError(f"a quotient stream needs {MIN_BITS} to 8 bits, not {self.bits}")
        if self.domain not in DOMAINS:
            raise InputError(
                f"the domain of a quotient must be one of {', '.join(DOMAINS)}, not {self.domain!r}"
            )
        if self.gate not in GATES:
            raise InputError(f"a quotient gate must be one of {', '.join(GATES)}, not {self.gate!r}")

    @property
    def phi(self) -> int:
        """Bits behind the point of a logarithm."""
        return max(2, self.bits - 3)

    @property
    def log_top(self) -> int:
        """Largest code of a logarithm; the smallest is ``-log_top - 1``."""
        return (1 << (self.bits - 1)) - 1

    @property
    def octaves(self) -> int:
        """The stream reaches from ``2**-octaves`` to about ``2**octaves``."""
        return (self.log_top + 1) >> self.phi

    @property
    def unit(self) -> float:
        """Linear codes of a stream of 1: ``2**octaves``, so that code 1 is the smallest stream."""
        return float(1 << self.octaves)

    @property
    def top(self) -> int:
        """Largest linear code."""
        return top_code(self.bits)

    def real_gate(self, codes: Tensor) -> Tensor:
        """The gate of gate codes, or of real numbers in their unit."""
        z = codes * self.step
        return torch.relu(z) if self.gate == "relu" else quotient_gate(z, self.alpha)

    def log_gate(self, codes: Tensor) -> Tensor:
        """``2**phi * log2 q``, without rounding; finite however small ``q`` is."""
        z = codes * self.step - math.log(self.alpha - 1)
        return (math.log2(self.alpha) + nn.functional.logsigmoid(z) / math.log(2)) * (1 << self.phi)


class QuotientModule(PhasedModule):
    """What the modules of a quotient stream share: its scale, and that ``relu`` has no integer form."""

    def __init__(self, scale: QuotientScale) -> None:
        super().__init__()
        self.scale = scale

    @property
    def logarithmic(self) -> bool:
        """Whether the stream holds logarithms."""
        return self.quantized and self.scale.domain == "log"

    def check(self) -> None:
        """Raise InputError where a gate without integer form is quantized."""
        if self.quantized and self.scale.gate != "q":
            raise InputError(
                f"the quotient gate {self.scale.gate!r} has no integer codes; train it in float precision"
            )

    def limits(self) -> tuple[int, int]:
        """Smallest and largest code of the stream."""
        if self.scale.domain == "log":
            return -self.scale.log_top - 1, self.scale.log_top
        return 1, self.scale.top

    def extra_repr(self) -> str:
        scale = self.scale
        return f"alpha={scale.alpha:g}, bits={scale.bits}, domain={scale.domain!r}"


class QuotientEntry(QuotientModule):
    """The beginning of a stream: ``q`` of gate codes, in the units of the stream.

    ``gate_top``: gate codes are ``-gate_top..gate_top``. Full precision: ``q(t * step) * unit``.
    """

    def __init__(self, scale: QuotientScale, gate_top: int) -> None:
        super().__init__(scale)
        function = scale.log_gate if scale.domain == "log" else self._start
        self.table = Table(function, -gate_top, gate_top, self.limits())

    def _start(self, gate: Tensor) -> Tensor:
        return self.scale.real_gate(gate) * self.scale.unit

    def forward(self, gate: Tensor) -> Tensor:
        self.check()
        return self.table(gate) if self.quantized else self._start(gate)


class QuotientConnection(QuotientModule):
    """``x * q(t * step)``, called as ``connection(gate codes t, stream x)``.

    Integer forms: ``clip(L + LG[t])`` with ``LG = round(2**phi * log2 q)``, or
    ``clip((x * G[t] + 2**(f - 1)) >> f)`` with ``G = round(2**f * q)`` and ``f = bits``. ``t = 0`` is the
    identity, bit for bit. Training computes these integers with the gradients of the real formula where
    the result is within its range.
    """

    def __init__(self, scale: QuotientScale, gate_top: int) -> None:
        super().__init__(scale)
        self.table = Table(
            scale.log_gate if scale.domain == "log" else self._fixed_point, -gate_top, gate_top
        )

    def _fixed_point(self, gate: Tensor) -> Tensor:
        return self.scale.real_gate(gate) * (1 << self.scale.bits)

    def forward(self, gate: Tensor, stream: Tensor) -> Tensor:
        self.check()
        if not self.quantized:
            return stream * self.scale.real_gate(gate)
        low, high = self.limits()
        if self.logarithmic:
            total = stream + self.table(gate)
            return clipped_straight_through(total.detach().clamp(low, high), total, low, high)
        unit = 1 << self.scale.bits
        product = stream * self.table(gate)
        hard = torch.floor((product.detach() + unit // 2) / unit).clamp_(low, high)
        return clipped_straight_through(hard, product / unit, low, high)


class QuotientRead(QuotientModule):
    """What a convolution reads of a stream: linear codes ``1..2**bits - 1``, ``unit`` for a stream of 1."""

    def __init__(self, scale: QuotientScale) -> None:
        super().__init__(scale)
        low, high = -scale.log_top - 1, scale.log_top
        self.table = Table(self._power, low, high, (1, scale.top))

    def _power(self, codes: Tensor) -> Tensor:
        return torch.exp2(codes / (1 << self.scale.phi)) * self.scale.unit

    def forward(self, stream: Tensor) -> Tensor:
        return self.table(stream) if self.logarithmic else stream


def lower_entry(site: Site, module: QuotientEntry, gate: Lowered) -> Lowered:
    """``Lookup``."""
    module.check()
    return Lowered(site.emit(module.table.lookup(), site.integers(gate)))


def lower_connection(site: Site, module: QuotientConnection, gate: Lowered, stream: Lowered) -> Lowered:
    """``Lookup`` and ``Add`` of logarithms, or ``Lookup``, ``Mul`` and ``Requantize``."""
    module.check()
    x = site.integers(stream)
    table = site.emit(module.table.lookup(), site.integers(gate))
    low, high = module.limits()
    if module.logarithmic:
        return Lowered(site.emit(Clip(low, high), site.emit(Add(), x, table)))
    ones = np.ones(site.type_of(stream).channels, np.int64)
    bits = module.scale.bits
    rounded = Requantize(ones, ones << (bits - 1), ones * bits, low, high)
    return Lowered(site.emit(rounded, site.emit(Mul(), x, table)))


def lower_read(site: Site, module: QuotientRead, stream: Lowered) -> Lowered:
    """``Lookup`` of powers of two; nothing for a linear stream."""
    value = site.integers(stream)
    return Lowered(site.emit(module.table.lookup(), value)) if module.logarithmic else stream


LAYERS: dict[type[nn.Module], LowerRule] = {
    QuotientEntry: lower_entry,
    QuotientConnection: lower_connection,
    QuotientRead: lower_read,
}
