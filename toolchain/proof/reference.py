"""Ops as behavioural Verilog, for those that are compared with their circuits by ABC.

Written from the definitions of the ops, with Verilog's own comparisons, shifts and divisions: no rule
of the circuits is used. Inputs outside their intervals are not compared: a mask makes all outputs 0 for
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import numpy as np

from exporters.netlist.stages import Stage
from runtime.ops import ArgMax, Clip, FloorSqrt, MaxPool, Op, Requantize, RoundDiv, Select, ShiftRight
from runtime.types import TensorType

SPARE_BITS = 2
"""Bits of every word beyond the widest value that appears."""

Names = list[list[str]]
"""Per operand the names of its elements, broadcast to the result where that has as many."""


def has_reference(op: Op) -> bool:
    """Whether ``op`` can be written here."""
    return type(op) in _RULES


def reference_module(stage: Stage, name: str) -> str:
    """Module ``name`` with the ports of the stage's circuit."""
    types, result = stage.local.types, stage.local.result
    bits = _widest(stage) + SPARE_BITS
    lines = [*_header(name, types, result)]
    for number, type_ in enumerate(types):
        for element in range(type_.size):
            word = f"in{number}[{(element + 1) * type_.bits - 1}:{element * type_.bits}]"
            sign = f"in{number}[{(element + 1) * type_.bits - 1}]" if type_.interval.signed else "1'b0"
            extended = f"{{{{{bits - type_.bits}{{{sign}}}}}, {word}}}"
            lines.append(f"    wire signed [{bits - 1}:0] x{number}_{element} = {extended};")
    words = _Words(bits)
    results = list(_RULES[type(stage.local.op)](stage.local.op, stage, words))
    lines += words.lines
    for element, expression in enumerate(results):
        lines.append(f"    wire signed [{bits - 1}:0] y{element} = {expression};")
        place = f"out[{(element + 1) * result.bits - 1}:{element * result.bits}]"
        lines.append(f"    assign {place} = valid ? y{element}[{result.bits - 1}:0] : {result.bits}'d0;")
    return "\n".join([*lines, f"    wire valid = {_validity(types, _Words(bits))};", "endmodule", ""])


def masked_module(stage: Stage, circuit: str, name: str) -> str:
    """Module ``name``: the module ``circuit`` of the stage with all outputs 0 for invalid inputs."""
    types, result = stage.local.types, stage.local.result
    bits = max(type_.bits for type_ in types) + SPARE_BITS
    lines = [*_header(name, types, result)]
    for number, type_ in enumerate(types):
        for element in range(type_.size):
            low, high = element * type_.bits, (element + 1) * type_.bits - 1
            sign = f"in{number}[{high}]" if type_.interval.signed else "1'b0"
            extended = f"{{{{{bits - type_.bits}{{{sign}}}}}, in{number}[{high}:{low}]}}"
            lines.append(f"    wire signed [{bits - 1}:0] x{number}_{element} = {extended};")
    size = result.size * result.bits
    ports = [f".in{i}(in{i})" for i in range(len(types))]
    lines += [
        f"    wire valid = {_validity(types, _Words(bits))};",
        f"    wire [{size - 1}:0] found;",
        f"    {circuit} u ({', '.join(ports)}, .out(found));",
        f"    assign out = valid ? found : {size}'d0;",
    ]
    return "\n".join([*lines, "endmodule", ""])


def _header(name: str, types: Sequence[TensorType], result: TensorType) -> Iterator[str]:
    ports = [f"input wire [{t.size * t.bits - 1}:0] in{i}" for i, t in enumerate(types)]
    yield f"module {name} ({', '.join(ports)}, output wire [{result.size * result.bits - 1}:0] out);"


class _Words:
    """Signed constants of one width, and wires of it for what is used more than once."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.lines: list[str] = []

    def wire(self, expression: str) -> str:
        """A new wire's name."""
        name = f"w{len(self.lines)}"
        self.lines.append(f"    wire signed [{self.bits - 1}:0] {name} = {expression};")
        return name

    def __call__(self, value: int) -> str:
        return f"{'-' if value < 0 else ''}{self.bits}'sd{abs(value)}"


def _validity(types: Sequence[TensorType], constant: _Words) -> str:
    tests = []
    for number, type_ in enumerate(types):
        interval = type_.interval
        if interval.hi - interval.lo + 1 == 1 << type_.bits:
            continue
        for element in range(type_.size):
            x = f"x{number}_{element}"
            tests.append(f"({x} >= {constant(interval.lo)} && {x} <= {constant(interval.hi)})")
    return " && ".join(tests) or "1'b1"


def _widest(stage: Stage) -> int:
    """Bits of the largest value that an expression may have, with its sign."""
    ends = [t.interval.magnitude for t in (*stage.local.types, stage.local.result)]
    op = stage.local.op
    if isinstance(op, Requantize):
        largest = int(np.abs(op.multiplier).max()) * ends[0] + int(np.abs(op.offset).max())
        ends += [largest, abs(op.lo), abs(op.hi)]
    if isinstance(op, Clip):
        ends += [abs(op.lo), abs(op.hi)]
    if isinstance(op, ShiftRight):
        ends.append(ends[0] + op.offset)
    if isinstance(op, RoundDiv):
        ends.append(ends[0] + ends[1])
    if isinstance(op, FloorSqrt):
        ends.append(4 * ends[0] + 4)
    return max(end.bit_length() for end in ends) + 1


def _elements(stage: Stage) -> Iterator[list[str]]:
    """The names of the operands of every element of an elementwise result."""
    shape = stage.local.result.shape
    places = [
        np.broadcast_to(np.arange(t.size).reshape(t.shape), shape).reshape(-1).tolist()
        for t in stage.local.types
    ]
    for row in zip(*places, strict=True):
        yield [f"x{number}_{element}" for number, element in enumerate(row)]


def _clipped(value: str, lo: int, hi: int, constant: _Words) -> str:
    low, high = constant(lo), constant(hi)
    return f"(({value}) < {low}) ? {low} : (({value}) > {high}) ? {high} : ({value})"


def _clip(op: Clip, stage: Stage, constant: _Words) -> Iterator[str]:
    for (x,) in _elements(stage):
        yield _clipped(x, op.lo, op.hi, constant)


def _requantize(op: Requantize, stage: Stage, constant: _Words) -> Iterator[str]:
    rows = stage.local.result.size // stage.local.result.channels
    for element, (x,) in enumerate(_elements(stage)):
        c = element // rows
        product = f"({x} * {constant(int(op.multiplier[c]))} + {constant(int(op.offset[c]))})"
        yield _clipped(f"{product} >>> {int(op.shift[c])}", op.lo, op.hi, constant)


def _shift_right(op: ShiftRight, stage: Stage, constant: _Words) -> Iterator[str]:
    for (x,) in _elements(stage):
        yield f"({x} + {constant(op.offset)}) >>> {op.shift}"


def _select(op: Select, stage: Stage, constant: _Words) -> Iterator[str]:
    for condition, a, b in _elements(stage):
        yield f"({condition} == {constant(1)}) ? {a} : {b}"


def _round_div(op: RoundDiv, stage: Stage, constant: _Words) -> Iterator[str]:
    for a, b in _elements(stage):
        magnitude = f"(({a} < {constant(0)}) ? -{a} : {a})"
        quotient = f"(({magnitude} + ({b} >>> 1)) / {b})"
        yield f"({a} < {constant(0)}) ? -{quotient} : {quotient}"


def _max_pool(op: MaxPool, stage: Stage, constant: _Words) -> Iterator[str]:
    (x,) = stage.local.types
    taps = x.size // x.channels

    def larger(a: str, b: str) -> str:
        return constant.wire(f"({a} >= {b}) ? {a} : {b}")

    for channel in range(x.channels):
        yield reduce(larger, (f"x0_{channel * taps + tap}" for tap in range(taps)))


def _arg_max(op: ArgMax, stage: Stage, constant: _Words) -> Iterator[str]:
    """A tournament of neighbours; of equals the first goes on. ABC takes far longer for other orders."""
    players = [(f"x0_{i}", constant(i)) for i in range(stage.local.types[0].size)]
    while len(players) > 1:
        winners = []
        for (a, i), (b, j) in zip(players[0::2], players[1::2], strict=False):
            value = constant.wire(f"({a} >= {b}) ? {a} : {b}")
            winners.append((value, constant.wire(f"({a} >= {b}) ? {i} : {j}")))
        players = [*winners, *players[2 * len(winners) :]]
    yield players[0][1]


_RULES: dict[type[Op], Callable[..., Iterator[str]]] = {
    Clip: _clip,
    Requantize: _requantize,
    ShiftRight: _shift_right,
    Select: _select,
    RoundDiv: _round_div,
    MaxPool: _max_pool,
    ArgMax: _arg_max,
}
