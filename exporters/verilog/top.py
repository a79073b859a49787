"""The top module: an instance of a module for every position, and the registers between modules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from exporters.netlist.rules.words import Nets
from exporters.verilog.design import Design, Module, Tap
from exporters.verilog.module import broken, port_lines, unless_used
from exporters.verilog.names import Names
from exporters.verilog.wiring import PORTS


class Top:
    """Writes the top module of a design."""

    def __init__(self, design: Design) -> None:
        self._design = design
        vectors = design.wiring.vectors
        signals = (*design.inputs, *design.outputs)
        self._scope = Names(design.name, *PORTS, *(v.name for v in vectors), *(s.name for s in signals))
        self._names: dict[tuple[int, int], str] = {}
        for vector, taps in zip(vectors, design.taps, strict=True):
            self._names[taps[0].vector, taps[0].clocks] = vector.name
            for tap in taps[1:]:
                name = self._scope.exact(f"{vector.name}_d{tap.clocks - taps[0].clocks}")
                self._names[tap.vector, tap.clocks] = name

    def text(self) -> str:
        """The module."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        design = self._design
        yield f"module {design.name} ("
        yield from port_lines(self._ports())
        yield ");"
        if design.latency:
            yield "    // one bit for every sample on its way; the only registers that need a reset"
            yield f"    gf_valid #(.DEPTH({design.latency})) {self._scope.exact('valid')} ("
            yield "        .clk(clk), .rst(rst), .ce(ce), .d(in_valid), .q(out_valid)"
            yield "    );"
        for taps in design.taps[: len(design.inputs)]:
            yield from self._delays(taps)
        for module in design.modules:
            yield ""
            for position, number in enumerate(module.block.writes):
                yield from self._instance(module, position)
                yield from self._delays(design.taps[number])
        for signal in design.outputs:
            yield from broken(f"    assign {signal.name} = {self.expression(signal.bits, design.latency)};")
        yield "endmodule"

    def _ports(self) -> Iterator[tuple[str, bool]]:
        design = self._design
        if design.latency:
            yield from ((f"input wire {name}", True) for name in PORTS[:3])
            yield "input wire in_valid", True
        for signal, taps in zip(design.inputs, design.taps, strict=False):
            yield f"input wire [{signal.width - 1}:0] {signal.name}", bool(taps[0].used.all())
        if design.latency:
            yield "output wire out_valid", True
        for signal in design.outputs:
            yield f"output wire [{signal.width - 1}:0] {signal.name}", True

    def _declaration(self, tap: Tap) -> Iterator[str]:
        name = self._names[tap.vector, tap.clocks]
        yield from unless_used(f"    wire [{tap.used.size - 1}:0] {name};", bool(tap.used.all()))

    def _delays(self, taps: tuple[Tap, ...]) -> Iterator[str]:
        for before, tap in pairwise(taps):
            name, source = (self._names[t.vector, t.clocks] for t in (tap, before))
            parameters = f".WIDTH({tap.used.size}), .DEPTH({tap.clocks - before.clocks})"
            yield from self._declaration(tap)
            instance = self._scope.exact(f"{name}_r")
            yield f"    gf_delay #({parameters}) {instance} (.clk(clk), .ce(ce), .d({source}), .q({name}));"

    def _instance(self, module: Module, position: int) -> Iterator[str]:
        number = module.block.writes[position]
        name = self._design.wiring.vectors[number].name
        yield from self._declaration(self._design.taps[number][0])
        ports = [".clk(clk)", ".ce(ce)"] if module.clocked else []
        for port, reads in zip(module.circuit.inputs, module.block.reads, strict=True):
            ports.append(f".{port.name}({self.expression(reads[position], module.start)})")
        ports.append(f".out({name})")
        instance = self._scope.exact(f"{name}_u")
        yield from broken(f"    {module.block.module} {instance} ({', '.join(ports)});")

    def expression(self, bits: Nets, clocks: int) -> str:
        """``bits``, the lowest first, as they are after ``clocks`` registers."""
        flat = bits.reshape(-1)
        owners = self._design.wiring.owners(flat)
        starts = np.flatnonzero(
            np.concatenate([[True], (np.diff(flat) != 1) | (np.diff(owners) != 0) | (flat[1:] < 2)])
        )
        ends = [*starts[1:].tolist(), flat.size]
        runs = [
            self._run(int(flat[start]), end - start, int(owners[start]), clocks)
            for start, end in zip(starts.tolist(), ends, strict=True)
        ]
        return _joined(runs)

    def _run(self, first: int, width: int, owner: int, clocks: int) -> str:
        if first < 2:
            return str(first)
        vector = self._design.wiring.vectors[owner]
        name, low = self._names[owner, clocks], first - vector.first
        if width == vector.width:
            return name
        return f"{name}[{low}]" if width == 1 else f"{name}[{low + width - 1}:{low}]"


def _joined(runs: list[str]) -> str:
    """Runs, the lowest first, as one concatenation; ``0`` and ``1`` are constant bits."""
    parts: list[str] = []
    bits = ""
    for run in [*runs, ""]:
        if run in ("0", "1"):
            bits = run + bits
            continue
        if bits:
            same = len(bits) > 8 and len(set(bits)) == 1
            parts.append(f"{{{len(bits)}{{1'b{bits[0]}}}}}" if same else f"{len(bits)}'b{bits}")
            bits = ""
        if run:
            parts.append(run)
    return parts[0] if len(parts) == 1 else "{" + ", ".join(reversed(parts)) + "}"
