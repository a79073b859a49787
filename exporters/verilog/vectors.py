"""Samples for a testbench, and what the interpreter makes of them."""

from __future__ import annotations

from dataclasses import dataclass

from exporters.c99.selftest import sample_inputs
from exporters.netlist.stages import Stage
from exporters.verilog.design import Design
from exporters.verilog.records import to_hex
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program

FEWEST, MOST = 16, 256
"""Samples of a testbench."""

FILE_BITS = 1 << 22
"""Bits of all samples, unless there would be too few."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Lines of the files of a testbench."""

    count: int
    inputs: str
    outputs: str


def sample_count(design: Design) -> int:
    """As many as keep files and simulation small."""
    bits = sum(signal.width for signal in (*design.inputs, *design.outputs))
    return max(FEWEST, min(MOST, FILE_BITS // bits))


def program_samples(program: Program, design: Design) -> Samples:
    """Random inputs, also all lowest and all highest, of a program with the ports of ``design``."""
    count = sample_count(design)
    inputs = sample_inputs(program, count)
    outputs = Interpreter(program).run(inputs)
    made = {s.value: outputs[name] for s, name in zip(design.outputs, program.outputs, strict=True)}
    return Samples(count, to_hex(design.inputs, inputs), to_hex(design.outputs, made))


def part_samples(stage: Stage, design: Design) -> Samples:
    """The same for one position of a stage: a program of one or two ops."""
    builder = Builder("part")
    operands = [
        builder.input(signal.value, signal.type.shape, signal.type.interval) for signal in design.inputs
    ]
    value = builder.add(stage.local.op, *operands)
    if stage.threshold is not None:
        value = builder.add(stage.threshold, value)
    return program_samples(builder.build(outputs=(value,)), design)
