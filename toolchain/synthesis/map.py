"""A circuit through Yosys: mapped to gates, to look-up tables of 4 and of 6 inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.netlist.circuit import Circuit
from exporters.netlist.lut import Luts
from exporters.verilog.module import module_text
from toolchain.synthesis.blif import LUT, Mapped, read_blif
from toolchain.synthesis.library import LIBRARY, liberty
from toolchain.synthesis.yosys import TIMEOUT, Yosys

CELLS_V = Path(__file__).parents[2] / "exporters" / "verilog" / "gatefold_cells.v"

TARGETS = {
    "ge": "abc -liberty gates.lib",
    "ge_area": 'abc -liberty gates.lib -script "+strash;&get,-n;&nf,-p,-R,1000,-F,10;&put;topo;'
    'mfs3,-a,-e,-C,100,-N,1000"',
    "lut4": "abc -lut 4",
    "lut6": "abc -lut 6",
    "lut4_area": 'abc -lut 4 -script "+strash;ifraig;scorr;if,-K,4,-a,-C,32,-F,4,-A,4;mfs2"',
    "lut6_area": 'abc -lut 6 -script "+strash;ifraig;scorr;if,-K,6,-a,-C,32,-F,4,-A,4;mfs2"',
    "lut4_tables": "opt_lut",
    "lut6_tables": "opt_lut",
}
"""What a circuit is mapped to, and the command that does it. Yosys's own scripts look for short paths
first; ``_area``: for the smallest circuit, the gates as they stand. ``mfs3`` without bounds takes minutes
for a divider. ``_tables``: the exported tables, of which Yosys drops and merges what it can."""

OF_GATES = tuple(name for name in TARGETS if not name.endswith("_tables"))
"""Ways to map what is not exported as tables."""

GATES, TABLES = " -D GATEFOLD_GATES", " -icells -D GATEFOLD_LUT"
READ = {"ge_area": GATES, "lut4_tables": TABLES, "lut6_tables": TABLES}
"""How the Verilog is read: macros of cells whose best form depends on what they are mapped to."""

TOP = "top"


@dataclass(frozen=True, slots=True)
class Area:
    """A mapped circuit. ``size``: gate equivalents without registers, or look-up tables."""

    size: float
    depth: int
    registers: int
    memories: int


def area(mapped: Mapped) -> Area:
    """What ``mapped`` takes: gates if it has any, else look-up tables."""
    gates = sum(LIBRARY[kind][0] * n for kind, n in mapped.counts.items() if kind in LIBRARY)
    size = gates or mapped.counts[LUT]
    return Area(size, mapped.depth, mapped.registers, mapped.memories)


def smallest(mapped: Mapping[str, Mapped]) -> dict[str, Area]:
    """Of gates and of each size of tables the smallest one of what rows of ``TARGETS`` gave."""
    found: dict[str, Area] = {}
    for name, one in mapped.items():
        kind, this = name.partition("_")[0], area(one)
        found[kind] = min(found.get(kind, this), this, key=lambda one: one.size)
    return found


def verilog(circuit: Circuit, registered: bool, luts: Luts | None = None) -> str:
    """``circuit`` as module ``top`` in one text with the cells; ``registered``: its outputs in
    flip-flops; ``luts``: its logic as look-up tables."""
    text = CELLS_V.read_text(encoding="utf-8")
    text += module_text(circuit, "logic" if registered else TOP, luts)
    return text + _registers(circuit) if registered else text


def _registers(circuit: Circuit) -> str:
    """A module around ``logic`` that keeps its outputs: nothing is moved across, so sizes stay its own."""
    inputs = [f"input wire [{len(p.literals) - 1}:0] {p.name}" for p in circuit.inputs]
    outputs = [f"output reg [{len(p.literals) - 1}:0] {p.name}" for p in circuit.outputs]
    wires = [f"    wire [{len(p.literals) - 1}:0] {p.name}_d;" for p in circuit.outputs]
    ports = [f".{p.name}({p.name})" for p in circuit.inputs]
    ports += [f".{p.name}({p.name}_d)" for p in circuit.outputs]
    kept = [f"    always @(posedge clk) {p.name} <= {p.name}_d;" for p in circuit.outputs]
    lines = [
        f"module {TOP} ({', '.join(['input wire clk', *inputs, *outputs])});",
        *wires,
        f"    logic u ({', '.join(ports)});",
        *kept,
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def synthesize(
    yosys: Yosys, text: str, targets: tuple[str, ...], folder: Path, what: str, timeout: float = TIMEOUT
) -> dict[str, Mapped]:
    """Module ``top`` of the Verilog ``text`` mapped to each of ``targets``, rows of ``TARGETS``.

    ``folder``: for Yosys's files. Raises GatefoldError where it fails or takes too long.
    """
    (folder / "top.v").write_text(text, encoding="utf-8")
    (folder / "gates.lib").write_text(liberty(), encoding="utf-8")
    yosys.run(script(targets), folder, what, timeout)
    return {name: read_blif(yosys.made(folder / f"{name}.blif", what)) for name in targets}


def script(targets: tuple[str, ...]) -> str:
    """Yosys commands that map ``top.v`` to each of ``targets`` and write ``TARGET.blif``."""
    lines = []
    for name in sorted(targets, key=lambda name: READ.get(name, "")):
        options = READ.get(name, "")
        read = f"read_verilog{options} top.v"
        if read not in lines:
            lines += ["design -reset", read, *_prepared(options == TABLES), "delete t:$scopeinfo"]
            lines += ["design -save s"]
        lines += ["design -load s", TARGETS[name], "clean", f"write_blif {name}.blif"]
    return "\n".join([*lines, ""])


def _prepared(mapped: bool) -> list[str]:
    """Commands up to the mapping; ``mapped``: the logic is tables, of which the rest would make gates."""
    command = f"synth -flatten -noabc -top {TOP}"
    return [f"{command} -run begin:fine", "opt", "simplemap t:$dff"] if mapped else [command]
