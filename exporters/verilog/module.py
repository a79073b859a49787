"""A circuit as one Verilog-2001 module: assignments of gates, instances of adders, registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from exporters.netlist.cells import Cell
from exporters.netlist.circuit import Circuit, Port

_ASSIGN = {
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~{0}",
    "mux": "{0} ? {2} : {1}",
}

WIDTH = 108
"""Longest line."""


def module_text(circuit: Circuit, name: str) -> str:
    """Module ``name`` with a port per value, all its bits in one vector: element by element, lowest bit
    first.

    A circuit with registers has the inputs ``clk`` and ``ce`` too; its registers have no reset. ``name``
    and the names of ports have to be identifiers.
    """
    return "\n".join(_lines(circuit, name)) + "\n"


def _lines(circuit: Circuit, name: str) -> Iterator[str]:
    names = {0: "1'b0", 1: "1'b1"}
    for port in circuit.inputs:
        names |= {literal: f"{port.name}[{i}]" for i, literal in enumerate(port.literals)}
    registers = [cell for cell in circuit.cells if cell.kind == "register"]
    gates = [cell for cell in circuit.cells if cell.kind != "register"]
    for cell in circuit.cells:
        names |= {literal: f"n{literal >> 1}" + "i" * (literal & 1) for literal in cell.outputs}
    yield f"module {name} ("
    yield from port_lines(_ports(circuit, bool(registers)))
    yield ");"
    yield from declarations("wire", [names[literal] for cell in gates for literal in cell.outputs])
    yield from declarations("reg", [names[literal] for cell in registers for literal in cell.outputs])
    yield from (_statement(cell, names, number) for number, cell in enumerate(gates))
    if registers:
        yield from ("    always @(posedge clk)", "        if (ce) begin")
        yield from (f"            {names[c.outputs[0]]} <= {names[c.inputs[0]]};" for c in registers)
        yield "        end"
    for port in circuit.outputs:
        bits = ", ".join(names[literal] for literal in reversed(port.literals))
        yield from broken(f"    assign {port.name} = {{{bits}}};")
    yield "endmodule"


def _ports(circuit: Circuit, clocked: bool) -> Iterator[tuple[str, bool]]:
    """Declarations of ports, and whether all their bits are used."""
    if clocked:
        yield from (("input wire clk", True), ("input wire ce", True))
    read = {literal >> 1 for cell in circuit.cells for literal in cell.inputs}
    read |= {literal >> 1 for literal in circuit.results}
    for port in circuit.inputs:
        used = all(literal >> 1 in read for literal in port.literals)
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
