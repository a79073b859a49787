"""A linear stage as one would write it by hand: Verilog's own operators, neuron by neuron.

What the exported netlist is measured against: synthesis makes its own adders and comparators of this.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporters.netlist.circuit import Circuit
from exporters.netlist.stages import Stage
from toolchain.proof.forms import linear_matrix


def naive_module(stage: Stage, circuit: Circuit, name: str) -> str:
    """Module ``name`` of a linear ``stage``, with the ports of its ``circuit``.

    Every neuron is ``x[3] + x[7] - x[9] + ..``, and with a Threshold the sum of its comparisons.
    """
    return "\n".join(_lines(stage, circuit, name)) + "\n"


def _lines(stage: Stage, circuit: Circuit, name: str) -> Iterator[str]:
    matrix, constants = linear_matrix(stage.local.op, stage.local.types)
    accumulator, (out,) = stage.local.result.bits + 1, circuit.outputs
    ports = [f"input wire [{len(p.literals) - 1}:0] {p.name}" for p in circuit.inputs]
    yield f"module {name} ({', '.join(ports)}, output wire [{len(out.literals) - 1}:0] out);"
    elements = 0
    for port in circuit.inputs:
        bits, signed = port.type.bits, port.type.interval.signed
        for element in range(port.type.size):
            part = f"{port.name}[{(element + 1) * bits - 1}:{element * bits}]"
            word = f"$signed({part})" if signed else f"$signed({{1'b0, {part}}})"
            yield f"    wire signed [{bits - signed}:0] x{elements} = {word};"
            elements += 1
    for neuron, (column, constant) in enumerate(zip(matrix.T, constants.tolist(), strict=True)):
        terms = [_term(i, int(column[i])) for i in np.flatnonzero(column)]
        terms += [_signed(constant)] if constant or not terms else []
        yield f"    wire signed [{accumulator - 1}:0] s{neuron} = {' '.join(terms).removeprefix('+ ')};"
        place = f"out[{(neuron + 1) * out.type.bits - 1}:{neuron * out.type.bits}]"
        yield f"    assign {place} = {_result(stage, neuron)};"
    yield "endmodule"


def _term(element: int, weight: int) -> str:
    sign, size = "-" if weight < 0 else "+", abs(weight)
    return f"{sign} x{element}" if size == 1 else f"{sign} x{element} * {size}"


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value)}"


def _result(stage: Stage, neuron: int) -> str:
    if stage.threshold is None:
        return f"s{neuron}"
    falling = int(stage.threshold.direction[neuron]) < 0
    tests = [
        f"(s{neuron} {'<=' if falling else '>='} {_signed(int(t))})"
        for t in stage.threshold.thresholds[neuron]
    ]
    return " + ".join(tests)
