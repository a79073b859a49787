"""The self-test of generated C: embedded samples, and what the interpreter makes of them."""

from __future__ import annotations

from dataclasses import dataclass
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
    out, name, places = Emitter(), source.name, _FLASH if source.target.harvard else _PLAIN
    out.line(f"/* Self-test: {vectors} samples and what the program makes of them.")
    out.line(f"   Compile with {name}.c and {name}_weights.c; define {name}_NO_MAIN for no main(). */")
    out.lines(f'#include "{name}.h"', *places.preamble, "")
    for number, port in enumerate(source.inputs):
        out.line(f"/* {port.c_name} */")
        rows = inputs[port.name].reshape(vectors, -1)
        _array(out, f"{port.c_type} input{number}", places.mark, rows)
        if places.fetch:
            out.line(f"static {port.c_type} given{number}[{port.type.size}];")
    for number, port in enumerate(source.outputs):
        out.line(f"/* {port.c_name} */")
        rows = outputs[port.name].reshape(vectors, -1)
        _array(out, f"{port.c_type} wanted{number}", places.mark, rows)
        out.line(f"static {port.c_type} found{number}[{port.type.size}];")
    with out.block("static union", "} memory;"):
        out.lines("uint64_t align;", f"uint8_t bytes[{name}_ARENA_BYTES];")
    out.line()
    out.lines(f"int {name}_selftest(void);", "")
    out.line("/* 0, or 1 more than the number of the first sample that fails. */")
    with out.block(f"int {name}_selftest(void)"):
        with out.block(f"for (int sample = 0; sample < {vectors}; sample++)"):
            _one_sample(out, source, places)
        out.line("return 0;")
    out.lines("", f"#ifndef {name}_NO_MAIN")
    with out.block("int main(void)"):
        out.line(f"return {name}_selftest();")
    out.line("#endif")
    return out.text()


@dataclass(frozen=True, slots=True)
class _Places:
    """Where samples lie. ``mark``: of their arrays. ``fetch``: whether they are read by way of RAM."""

    preamble: tuple[str, ...] = ()
    mark: str = ""
    fetch: bool = False


_PLAIN = _Places()

_FLASH = _Places(
    (
        "",
        "/* Samples lie in flash memory, which the pointers of an AVR do not reach. */",
        "#ifdef __AVR__",
        "#define GF_SAMPLES __attribute__((progmem))",
        "#else",
        "#define GF_SAMPLES",
        "#endif",
        "",
        "static void gf_fetch(void *to, const void *from, unsigned bytes)",
        "{",
        "    for (unsigned i = 0; i < bytes; i++) {",
        "        const uint8_t *const at = (const uint8_t *)from + i;",
        "        uint8_t byte;",
        "#ifdef __AVR__",
        '        __asm__ volatile("lpm %0, Z" : "=r"(byte) : "z"(at));',
        "#else",
        "        byte = *at;",
        "#endif",
        "        ((uint8_t *)to)[i] = byte;",
        "    }",
        "}",
    ),
    " GF_SAMPLES",
    fetch=True,
)


def _one_sample(out: Emitter, source: Source, places: _Places) -> None:
    """Run the sample of that number and compare."""
    name = source.name
    if places.fetch:
        out.lines(*(_fetch(f"given{n}", f"input{n}[sample]") for n in range(len(source.inputs))))
    given = "given{}" if places.fetch else "input{}[sample]"
    arguments = [given.format(n) for n in range(len(source.inputs))]
    arguments += [f"found{n}" for n in range(len(source.outputs))]
    call = f"{name}_run({', '.join(arguments)}, memory.bytes, sizeof memory.bytes)"
    out.lines(f"if ({call} != {name}_OK)", "    return 1 + sample;")
    for number, port in enumerate(source.outputs):
        with out.block(f"for (unsigned i = 0; i < {port.type.size}; i++)"):
            wanted = f"wanted{number}[sample][i]"
            if places.fetch:
                out.lines(f"{port.c_type} wanted;", _fetch("&wanted", f"&{wanted}"))
                wanted = "wanted"
            out.lines(f"if (found{number}[i] != {wanted})", "    return 1 + sample;")


def _fetch(to: str, at: str) -> str:
    return f"gf_fetch({to}, {at}, sizeof {at.lstrip('&')});"


def _array(out: Emitter, named: str, mark: str, rows: np.ndarray) -> None:
    with out.block(f"static const {named}[{rows.shape[0]}][{rows.shape[1]}]{mark} =", "};"):
        for row in rows:
            with out.block("", "},"):
                out.lines(*(line.strip() for line in number_lines(row)))
