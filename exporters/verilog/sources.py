"""The Verilog of a design, file by file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from exporters.c99.names import comment
from exporters.verilog.design import Design, Module
from exporters.verilog.module import module_text
from exporters.verilog.top import Top

CELLS = "gatefold_cells.v"
"""Hand-written cells that every design instantiates."""


@cache
def cells_text() -> str:
    """The file of cells."""
    return files("exporters.verilog").joinpath(CELLS).read_text()


def sources(design: Design) -> dict[str, str]:
    """Text of the files that make the design, the top module first."""
    stages = f"{design.name}_stages.v"
    return {f"{design.name}.v": Top(design).text(), stages: _stages(design), CELLS: cells_text()}


def _stages(design: Design) -> str:
    parts = [
        "// A module for every layer: the circuit of one position of it. One file for all of them:",
        "// verilator lint_off DECLFILENAME",
        "",
    ]
    for module in design.modules:
        parts += [_head(module), module_text(module.circuit, module.block.module, module.luts)]
    return "\n".join([*parts, "// verilator lint_on DECLFILENAME", ""])


def _head(module: Module) -> str:
    stage = module.block.stage
    what = comment(stage.value) + (f" of layer {comment(stage.layer)}" if stage.layer else "")
    cells = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(module.counts.items()))
    when = clocks(module.latency) if module.latency else "combinational"
    return f"// {what}: {when}; {cells or 'wires alone'}"


def clocks(count: int) -> str:
    """So many clocks, in words."""
    return f"{count} clock" if count == 1 else f"{count} clocks"
