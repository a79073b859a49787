"""``gatefold export --to verilog``: a program, or one layer of it, as a folder of Verilog-2001."""

from __future__ import annotations

from collections.abc import Mapping

from exporters.netlist.limits import check_stage
from exporters.netlist.stages import Stage, stages
from exporters.verilog.design import Design, design
from exporters.verilog.folder import folder_files
from exporters.verilog.limits import check_exported
from exporters.verilog.names import program_name
from exporters.verilog.timing import Pipelining, fewest_levels
from exporters.verilog.vectors import Samples, part_samples, program_samples
from exporters.verilog.wiring import Wiring, part_plan, whole_plan, wire
from runtime.errors import InputError
from runtime.ir import Program

TABLES = {"none": None, "4": 4, "6": 6}
"""Inputs of look-up tables, by the option."""

MAX_NUMBER = 1_000_000
"""Largest number of levels or clocks that an option takes."""


def render(
    program: Program,
    pipeline: str,
    levels: str,
    depth: str,
    part: str,
    style: str,
    tables: str,
    name: str,
) -> Mapping[str, bytes]:
    """Files of ``program`` by name. Raises InputError for an option that is wrong or does not fit another,
    and TooLargeError for a network beyond the limits."""
    numbers = checked_numbers(pipeline, levels, depth)
    inputs = TABLES[tables]
    parts = stages(program)
    stage = parts.part(part) if part else None
    if stage is None:
        check_exported(parts)
    else:
        check_stage(stage)
    plan = whole_plan(parts) if stage is None else part_plan(stage)
    style = style_of(inputs) if style == "auto" else style
    wiring = wire(plan, program_name(name or _default_name(program, stage)), style)
    built = design(wiring, pipelining(wiring, pipeline, **numbers), inputs)
    return folder_files(built, program, stage, _samples(program, stage, built))


def style_of(tables: int | None) -> str:
    """The style of netlists that takes fewest tables of so many inputs, or None: gates."""
    return "lut6" if tables == 6 else "gates"


def _default_name(program: Program, stage: Stage | None) -> str:
    return program.name if stage is None else f"{program.name}_{stage.value}"


def _samples(program: Program, stage: Stage | None, built: Design) -> Samples:
    if stage is None:
        return program_samples(program, built)
    return part_samples(stage, built)


def checked_numbers(pipeline: str, levels: str, depth: str) -> dict[str, int]:
    """The numbers that ``pipeline`` needs, by name. Raises InputError."""
    found = {}
    for name, text in (("levels", levels), ("depth", depth)):
        if text and pipeline != name:
            raise InputError(f"{name} goes with pipeline {name}, not with {pipeline}")
        if pipeline != name:
            continue
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_NUMBER:
            if not text:
                raise InputError(f"pipeline {name} needs a number: give --{name} N")
            raise InputError(
                f"{name} must be a whole number from 1 to {MAX_NUMBER:,} with pipeline {name}, "
                f"not {text!r:.80}"
            )
        found[name] = int(text)
    return found


def pipelining(wiring: Wiring, pipeline: str, levels: int = 0, depth: int = 0) -> Pipelining:
    """Where registers stand, for these options."""
    if pipeline == "depth":
        return fewest_levels(wiring, depth)
    return Pipelining(pipeline != "combinational", pipeline == "layers", levels or None)
