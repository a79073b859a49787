"""A circuit as one Verilog-2001 module: gates and adders, or look-up tables, and registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from textwrap import wrap

from exporters.netlist.cells import Cell
from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.lut import Lut, Luts
from exporters.netlist.mapping import register_nodes

_ASSIGN = {
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~{0}",
    "mux": "{0} ? {2} : {1}",
}

WIDTH = 108
"""Longest line."""


@dataclass(frozen=True, slots=True)
class _Logic:
    """What computes a circuit. ``wires``: names to declare. ``registers``: name and what it takes.
    ``outputs``: a name per result. ``read``: nets that something reads."""

    wires: list[str]
    statements: list[str]
    registers: list[tuple[str, str]]
    outputs: list[str]
    read: set[int]


def module_text(circuit: Circuit, name: str, luts: Luts | None = None) -> str:
    """Module ``name`` with a port per value, all its bits in one vector: element by element, lowest bit
    first.

    A circuit with registers has the inputs ``clk`` and ``ce`` too; its registers have no reset. ``name``
    and the names of ports have to be identifiers. ``luts``: the logic as ``cover_circuit`` has it, in
    instances of ``gf_lut4`` or ``gf_lut6``; None: in adders and gates.
    """
    names = {0: "1'b0", 1: "1'b1"}
    for port in circuit.inputs:
        names |= {literal: f"{port.name}[{i}]" for i, literal in enumerate(port.literals)}
    logic = _of_gates(circuit, names) if luts is None else _of_tables(circuit, names, luts)
    return "\n".join(_lines(circuit, name, logic)) + "\n"


def _of_gates(circuit: Circuit, names: dict[int, str]) -> _Logic:
    registers = [cell for cell in circuit.cells if cell.kind == "register"]
    gates = [cell for cell in circuit.cells if cell.kind != "register"]
    for cell in circuit.cells:
        names |= {literal: f"n{literal >> 1}" + "i" * (literal & 1) for literal in cell.outputs}
    read = {literal >> 1 for cell in circuit.cells for literal in cell.inputs}
    return _Logic(
        [names[literal] for cell in gates for literal in cell.outputs],
        [_statement(cell, names, number) for number, cell in enumerate(gates)],
        [(names[cell.outputs[0]], names[cell.inputs[0]]) for cell in registers],
        [names[literal] for literal in circuit.results],
        read | {literal >> 1 for literal in circuit.results},
    )


def _of_tables(circuit: Circuit, names: dict[int, str], luts: Luts) -> _Logic:
    registers = [2 * node for node in register_nodes(circuit)]
    wires = [2 * lut.output for lut in luts.luts]
    names |= {literal: f"n{literal >> 1}" for literal in (*registers, *wires)}
    ends = [names[literal] for literal in luts.outputs]
    outputs, sources = ends[: len(circuit.results)], ends[len(circuit.results) :]
    read = {net for lut in luts.luts for net in lut.inputs}
    return _Logic(
        [names[literal] for literal in wires],
        [_instance(lut, names, number, luts.size) for number, lut in enumerate(luts.luts)],
        [(names[literal], source) for literal, source in zip(registers, sources, strict=True)],
        outputs,
        read | {literal >> 1 for literal in luts.outputs},
    )


def _lines(circuit: Circuit, name: str, logic: _Logic) -> Iterator[str]:
    yield f"module {name} ("
    yield from port_lines(_ports(circuit, logic))
    yield ");"
    yield from declarations("wire", logic.wires)
    yield from declarations("reg", [name for name, _ in logic.registers])
    yield from logic.statements
    if logic.registers:
        yield from ("    always @(posedge clk)", "        if (ce) begin")
        yield from (f"            {name} <= {source};" for name, source in logic.registers)
        yield "        end"
    outputs = iter(logic.outputs)
    for port in circuit.outputs:
        bits = ", ".join(reversed([next(outputs) for _ in port.literals]))
        yield from broken(f"    assign {port.name} = {{{bits}}};")
    yield "endmodule"


def _ports(circuit: Circuit, logic: _Logic) -> Iterator[tuple[str, bool]]:
    """Declarations of ports, and whether all their bits are used."""
    if logic.registers:
        yield from (("input wire clk", True), ("input wire ce", True))
    for port in circuit.inputs:
        used = all(literal >> 1 in logic.read for literal in port.literals)
        yield f"input wire {_range(port)} {port.name}", used
    for port in circuit.outputs:
        yield f"output wire {_range(port)} {port.name}", True


def _range(port: Port) -> str:
    return f"[{len(port.literals) - 1}:0]"


def port_lines(ports: Iterable[tuple[str, bool]]) -> Iterator[str]:
    """A list of ports. Where some bits of one are not used, which is right, a linter is told so."""
    declared = list(ports)
    for number, (text, used) in enumerate(declared):
        comma = "," if number + 1 < len(declared) else ""
        yield from unless_used(f"    {text}{comma}", used)


def unless_used(line: str, used: bool) -> Iterator[str]:
    """``line``, with the linter's warning of unused bits off where not all are used."""
    if used:
        yield line
        return
    yield "    // bits with weights of zero, or that decide nothing, are read by no gate"
    yield from ("    // verilator lint_off UNUSEDSIGNAL", line, "    // verilator lint_on UNUSEDSIGNAL")


def declarations(kind: str, names: list[str]) -> Iterator[str]:
    """``names`` declared, many in a line."""
    if names:
        yield from broken(f"    {kind} {', '.join(names)};")


def broken(line: str) -> Iterator[str]:
    """``line`` in lines that are not too long."""
    yield from wrap(
        line.strip(), WIDTH, initial_indent="    ", subsequent_indent="        ", break_long_words=False
    )


def _statement(cell: Cell, names: dict[int, str], number: int) -> str:
    inputs = [names[literal] for literal in cell.inputs]
    outputs = [names[literal] for literal in cell.outputs]
    if cell.kind == "full_adder":
        a, b, c = inputs
        ports = f".a({a}), .b({b}), .ci({c}), .s({outputs[0]}), .c({outputs[1]})"
        return f"    gf_full_adder u{number} ({ports});"
    if cell.kind == "half_adder":
        a, b = inputs
        return f"    gf_half_adder u{number} (.a({a}), .b({b}), .s({outputs[0]}), .c({outputs[1]}));"
    return f"    assign {outputs[0]} = {_ASSIGN[cell.kind].format(*inputs)};"


def _instance(lut: Lut, names: dict[int, str], number: int, size: int) -> str:
    table = lut.table
    for inputs in range(len(lut.inputs), size):  # whatever the inputs are that it has not
        table |= table << (1 << inputs)
    nets = ["1'b0"] * (size - len(lut.inputs)) + [names[2 * net] for net in reversed(lut.inputs)]
    bits = 1 << size
    ports = f".a({{{', '.join(nets)}}}), .y({names[2 * lut.output]})"
    return f"    gf_lut{size} #(.TABLE({bits}'h{table:0{bits // 4}x})) u{number} ({ports});"
