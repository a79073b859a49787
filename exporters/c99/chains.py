"""Elementwise ops as C statements on one variable: what follows a layer or a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exporters.c99.constants import Constants, literal
from exporters.c99.forms import c_sum_type, c_type
from exporters.emitter import Emitter
from runtime.ir import Node
from runtime.ops import Clip, FloorSqrt, Lookup, Not, Op, Requantize, ShiftRight, Square, Threshold
from runtime.types import IntArray, Interval, TensorType


@dataclass(frozen=True, slots=True)
class Element:
    """One element on its way: statements assign to ``v``, of C type ``wide``; its channel is ``c``."""

    constants: Constants
    wide: str
    operand: Interval
    result: Interval

    def per_channel(self, hint: str, values: IntArray) -> str:
        """The expression of this channel's value."""
        flat = values.reshape(-1)
        if (flat == flat[0]).all():
            return literal(int(flat[0]))
        return f"{self.constants.add_integers(hint, flat)}[c]"

    @property
    def shift(self) -> str:
        """The function that shifts right and rounds down."""
        return "gf_shift_right" if self.wide == "int32_t" else "gf_shift_right_wide"


def _threshold(op: Threshold, at: Element) -> list[str]:
    levels = op.thresholds.shape[1]
    limits = op.thresholds.clip(at.operand.lo - 1, at.operand.hi + 1)
    name = at.constants.add_integers("thresholds", limits)
    falling = at.per_channel("falling", (op.direction < 0).astype("int64"))
    return [
        "{",
        f"    {at.wide} count = 0;",
        f"    for (unsigned k = 0; k < {levels}; k++) {{",
        f"        const {at.wide} limit = {name}[c * {levels}u + k];",
        f"        count += {falling} ? v <= limit : v >= limit;",
        "    }",
        "    v = count;",
        "}",
    ]


def _clip(lo: int, hi: int, at: Interval) -> list[str]:
    lines = []
    if at.lo < lo:
        lines.append(f"v = v < {literal(lo)} ? {literal(lo)} : v;")
    if at.hi > hi:
        lines.append(f"v = v > {literal(hi)} ? {literal(hi)} : v;")
    return lines


def _requantize(op: Requantize, at: Element) -> list[str]:
    multiplier, offset = at.per_channel("multiplier", op.multiplier), at.per_channel("offset", op.offset)
    shift = at.per_channel("shift", op.shift)
    scaled = f"v * ({at.wide}){multiplier} + ({at.wide}){offset}"
    return [f"v = {at.shift}({scaled}, {shift});", *_clip(op.lo, op.hi, Interval(op.lo - 1, op.hi + 1))]


def _shift_right(op: ShiftRight, at: Element) -> list[str]:
    return [f"v = {at.shift}(v + {literal(op.offset)}, {op.shift});"]


def _lookup(op: Lookup, at: Element) -> list[str]:
    rows = op.table.shape[0]
    start = at.operand.lo - op.first
    used = op.table[:, start : start + at.operand.hi - at.operand.lo + 1]
    name = at.constants.add_integers("table", used)
    row = f"c * {used.shape[1]}u + " if rows > 1 else ""
    return [f"v = {name}[{row}(size_t)(v - ({literal(at.operand.lo)}))];"]


def _not(op: Not, at: Element) -> list[str]:
    return [f"v = {literal((1 << op.bits) - 1)} - v;"]


STATEMENTS: dict[type[Op], Callable[[Any, Element], list[str]]] = {
    Threshold: _threshold,
    Requantize: _requantize,
    ShiftRight: _shift_right,
    Clip: lambda op, at: _clip(op.lo, op.hi, at.operand),
    Lookup: _lookup,
    Not: _not,
    Square: lambda op, at: ["v = v * v;"],
    FloorSqrt: lambda op, at: [f"v = ({at.wide})gf_floor_sqrt((uint64_t)v);"],
}
"""Statements of each op."""


def _between(op: Op, x: Interval) -> Interval:
    """Hull of what the statements of ``op`` compute on the way."""
    match op:
        case Requantize():
            rows = zip(op.multiplier.tolist(), op.offset.tolist(), strict=True)
            products = [value for m, o in rows for end in (x.lo, x.hi) for value in (end * m, end * m + o)]
            factors = [*op.multiplier.tolist(), *op.offset.tolist(), op.lo, op.hi]
            return Interval.of([*products, *factors, _shifted_out(int(op.shift.max()))])
        case ShiftRight():
            return Interval.of([x.lo, x.hi + op.offset, _shifted_out(op.shift)])
        case Threshold():
            return Interval(x.lo - 1, x.hi + 1)
        case Not():
            return Interval(0, (1 << op.bits) - 1)
    return x


def _shifted_out(shift: int) -> int:
    """What a type has to hold to be shifted by so many bits."""
    return (1 << shift) - 1


def widest(chain: tuple[Node, ...], operand: Interval) -> Interval:
    """Hull of all that the statements of a chain compute."""
    found = operand
    for node in chain:
        found = found.hull(node.type.interval, _between(node.op, operand))
        operand = node.type.interval
    return found


def uses_channel(chain: tuple[Node, ...]) -> bool:
    """Whether some op of the chain has constants of each channel."""
    return any(isinstance(n.op, (Threshold | Requantize, Lookup)) for n in chain)


def emit_chain(
    out: Emitter,
    constants: Constants,
    name: str,
    chain: tuple[Node, ...],
    operand: TensorType,
    bias: IntArray | None,
) -> None:
    """A function ``name(sum, channel)`` that gives one element behind ``chain``.

    ``operand``: type of the sums, to which ``bias`` is added first.
    """
    reach = operand.interval
    if bias is not None:
        reach = reach.hull(Interval(reach.lo - int(bias.max()), reach.hi - int(bias.min())))
        reach = reach.hull(Interval.of(bias.tolist()))
    wide = c_sum_type(widest(chain, reach))
    result = chain[-1].type if chain else operand
    text = c_type(result.interval)
    with out.block(f"static inline {text} {name}({wide} v, size_t c)"):
        if bias is not None and bias.any():
            out.line(f"v += {Element(constants, wide, reach, reach).per_channel('bias', bias)};")
        at = operand.interval
        for node in chain:
            out.lines(*STATEMENTS[type(node.op)](node.op, Element(constants, wide, at, node.type.interval)))
            at = node.type.interval
        out.line("(void)c;")
        out.line(f"return ({text})v;")
    out.line()
