"""The self-test of generated C: embedded samples, and what the interpreter makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from exporters.c99.constants import number_lines
from exporters.emitter import Emitter
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.types import IntArray

if TYPE_CHECKING:
    from exporters.c99.build import Source

SEED = 0


def sample_inputs(program: Program, count: int, seed: int = SEED) -> dict[str, IntArray]:
    """``count`` samples of every input: all low, all high, the others uniform within its interval."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for spec in program.inputs:
        lo, hi = spec.type.interval.lo, spec.type.interval.hi
        array = rng.integers(lo, hi, (count, *spec.type.shape), dtype=np.int64, endpoint=True)
        array[:1], array[1:2] = lo, hi
        arrays[spec.name] = array
    return arrays


def selftest(source: Source, program: Program, vectors: int) -> str:
    """``NAME_selftest.c``: 0 when every output of every sample is right."""
    inputs = sample_inputs(program, vectors)
    outputs = Interpreter(program).run(inputs)
    out, name = Emitter(), source.name
    out.line(f"/* Self-test: {vectors} samples and what the program makes of them.")
    out.line(f"   Compile with {name}.c and {name}_weights.c; define {name}_NO_MAIN for no main(). */")
    out.lines(f'#include "{name}.h"', "")
    for number, port in enumerate(source.inputs):
        out.line(f"/* {port.c_name} */")
        _array(out, f"input{number}", port.c_type, inputs[port.name].reshape(vectors, -1))
    for number, port in enumerate(source.outputs):
        out.line(f"/* {port.c_name} */")
        _array(out, f"wanted{number}", port.c_type, outputs[port.name].reshape(vectors, -1))
        out.line(f"static {port.c_type} found{number}[{port.type.size}];")
    with out.block("static union", "} memory;"):
        out.lines("uint64_t align;", f"uint8_t bytes[{name}_ARENA_BYTES];")
    out.line()
    out.lines(f"int {name}_selftest(void);", "")
    out.line("/* 0, or 1 more than the number of the first sample that fails. */")
    with out.block(f"int {name}_selftest(void)"):
        with out.block(f"for (int sample = 0; sample < {vectors}; sample++)"):
            arguments = [f"input{number}[sample]" for number in range(len(source.inputs))]
            arguments += [f"found{number}" for number in range(len(source.outputs))]
            call = f"{name}_run({', '.join(arguments)}, memory.bytes, sizeof memory.bytes)"
            out.lines(f"if ({call} != {name}_OK)", "    return 1 + sample;")
            for number, port in enumerate(source.outputs):
                out.lines(
                    f"for (unsigned i = 0; i < {port.type.size}; i++)",
                    f"    if (found{number}[i] != wanted{number}[sample][i])",
                    "        return 1 + sample;",
                )
        out.line("return 0;")
    out.lines("", f"#ifndef {name}_NO_MAIN")
    with out.block("int main(void)"):
        out.line(f"return {name}_selftest();")
    out.line("#endif")
    return out.text()


def _array(out: Emitter, name: str, c_type: str, rows: np.ndarray) -> None:
    with out.block(f"static const {c_type} {name}[{rows.shape[0]}][{rows.shape[1]}] =", "};"):
        for row in rows:
            with out.block("", "},"):
                out.lines(*(line.strip() for line in number_lines(row)))
