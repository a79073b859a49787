"""From a program to a folder of C99."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from exporters.c99.constants import Constants, literal
from exporters.c99.emit import emit_step, scratch_type
from exporters.c99.folder import folder_files
from exporters.c99.forms import Form, c_type
from exporters.c99.names import comment, parameters, program_prefix
from exporters.c99.plan import KERNELS, Plan, Step, plan_program
from exporters.c99.targets import DEFAULT, Target, find_target
from exporters.emitter import Emitter
from runtime.errors import InputError, ProgramError
from runtime.ir import Program
from runtime.types import TensorType
from runtime.version import VERSION

HEADER = "gatefold_kernels.h"

MAX_CODES = 4
"""Planes of the codes that thresholds of a layer make: at most 15 levels."""

OK, ERROR_NULL, ERROR_ARENA, ERROR_ALIGN, ERROR_RANGE = range(5)
ERRORS = {
    "OK": "the outputs are written",
    "ERROR_NULL": "a pointer is NULL",
    "ERROR_ARENA": "the arena is too small",
    "ERROR_ALIGN": "the arena or an array is not aligned",
    "ERROR_RANGE": "an input is outside its interval",
}
"""What ``NAME_run`` returns, in order from 0."""


@dataclass(frozen=True, slots=True)
class Port:
    """An array of the caller: one sample of an input or output, C order."""

    name: str
    c_name: str
    type: TensorType

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """NumPy dtype of an element."""
        return self.type.interval.dtype

    @property
    def c_type(self) -> str:
        """C type of an element."""
        return c_type(self.type.interval)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A program as C99. ``files``: contents by path within the folder. ``steps``: labels by number.

    ``constant_bytes``: all constant arrays. ``kernels``: functions of the header by use.
    """

    name: str
    target: Target
    files: Mapping[str, bytes]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int
    arena_align: int
    constant_bytes: int
    steps: tuple[str, ...]
    kernels: tuple[str, ...]
    plan: Plan


def generate(
    program: Program,
    target: str | Target = DEFAULT,
    name: str | None = None,
    vectors: int = 8,
    layout: str = "plain",
    kernel: str = "auto",
) -> Source:
    """``program`` as C99 for ``target``.

    ``name``: prefix of every symbol, by default made from the program's name. ``vectors``: samples of the
    self-test, 0 for none. ``layout``: ``plain``, ``arduino`` or ``zephyr``. ``kernel``: a row of
    ``KERNELS`` to prefer. Raises InputError for an unknown target, layout or kernel, and ProgramError
    for an op that has no rule or sizes that the target cannot address.
    """
    chosen = find_target(target) if isinstance(target, str) else target
    if kernel != "auto" and kernel not in KERNELS:
        raise InputError(f"kernel must be one of auto, {', '.join(KERNELS)}, not {kernel!r:.80}")
    prefix = program_prefix(name if name is not None else program.name)
    plan = plan_program(program, chosen, kernel)
    chosen = plan.target
    inputs, outputs = _ports(plan.program, prefix)
    held = plan.arena_bytes + sum(p.type.size * p.dtype.itemsize for p in (*inputs, *outputs))
    if held > chosen.object_bytes:
        raise ProgramError(
            f"the arena and the arrays of one call take {held:,} bytes, more than {chosen.name} "
            "has room for; choose another target or a smaller network"
        )
    constants, body = Constants(prefix), Emitter()
    calls = [
        _call(plan, number, step, emit_step(number, step, plan, constants, body, prefix), inputs, outputs)
        for number, step in enumerate(plan.steps)
    ]
    sizes = _sizes(constants, chosen)
    _check_constants(constants, sizes, chosen)
    text = body.text()
    sources = {
        f"{prefix}.h": _header(prefix, program, plan, inputs, outputs),
        f"{prefix}.c": _source(prefix, program, plan, text, calls, inputs, outputs),
        f"{prefix}_weights.h": _weights_header(prefix, chosen, sizes, constants),
        f"{prefix}_weights.c": _weights(prefix, constants),
        HEADER: files("exporters.c99").joinpath(HEADER).read_text(encoding="utf-8"),
    }
    source = Source(
        prefix,
        chosen,
        {path: content.encode() for path, content in sources.items()},
        inputs,
        outputs,
        plan.arena_bytes,
        chosen.align,
        constants.bytes(sizes),
        tuple(step.label for step in plan.steps),
        _kernels_used(text),
        plan,
    )
    return folder_files(source, program, vectors, layout)


def _ports(program: Program, prefix: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    types = program.types
    names = [spec.name for spec in program.inputs]
    wanted = [*names, *(f"{n}_out" if n in names else n for n in program.outputs)]
    c_names = parameters(wanted, prefix)
    ports = [
        Port(name, c_name, types[name])
        for name, c_name in zip([*names, *program.outputs], c_names, strict=True)
    ]
    return tuple(ports[: len(names)]), tuple(ports[len(names) :])


def _kernels_used(text: str) -> tuple[str, ...]:
    """Functions of the header that the code calls, in order."""
    return tuple(dict.fromkeys(re.findall(r"gf_[a-z0-9_]+(?=\()", text)))


def _sizes(constants: Constants, target: Target) -> dict[str, int]:
    """Bytes of the header's own types: limits of 16 bits where those of all layers fit."""
    limit, total = constants.reach("gf_limit"), constants.reach("gf_sum")
    return {
        "gf_unit": target.unit // 8,
        "gf_word": target.word // 8,
        "gf_limit": 2 if limit.hi < 2**16 else 4,
        "gf_sum": 2 if total.lo >= -(2**15) and total.hi < 2**15 else 4,
    }


def _check_constants(constants: Constants, sizes: dict[str, int], target: Target) -> None:
    """Raises ProgramError where the target cannot hold them."""
    total = constants.bytes(sizes)
    name, largest = constants.largest(sizes)
    another = "choose another target or a smaller network"
    if total >= 1 << min(target.address, 48):
        raise ProgramError(
            f"the constants take {total:,} bytes, more than {target.name} can address; {another}"
        )
    if largest > target.object_bytes:
        raise ProgramError(
            f"the constant {name} takes {largest:,} bytes, more than an array may have on {target.name}; "
            f"{another}"
        )


# --- the call of a step ------------------------------------------------------------------------------


def _call(
    plan: Plan, number: int, step: Step, name: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]
) -> str:
    """``NAME_stepN(operands, result, scratch);``"""
    arguments = [_pointer(plan, key, inputs, outputs, const=True) for key in step.reads]
    arguments.append(_pointer(plan, step.result, inputs, outputs))
    for scratch, size in step.scratch.items():
        if size:
            place = plan.offsets[f"{number}.{scratch}"]
            arguments.append(f"({scratch_type(step, scratch, plan.target)} *)(void *)(memory + {place})")
    return f"{name}({', '.join(arguments)});"


def _pointer(
    plan: Plan, key: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...], const: bool = False
) -> str:
    """The C expression of where a value lies: an array of the caller or a place in the arena."""
    stored = plan.stored[key]
    if stored.form is Form.INTEGERS:
        for port in inputs:
            if port.name == stored.name:
                return port.c_name
    if key in plan.offsets:
        return f"({'const ' if const else ''}{stored.c_type} *)(void *)(memory + {plan.offsets[key]})"
    return next(port.c_name for port in outputs if plan.outputs[port.name] == key)


# --- files -------------------------------------------------------------------------------------------


def _banner(program: Program, what: str) -> Iterator[str]:
    yield f"/* {what} of the program {comment(program.name)}, generated by Gatefold {VERSION}."
    yield "   Generated code: change the program, not this file. */"


def _signature(prefix: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> str:
    arrays = [f"const {p.c_type} *{p.c_name}" for p in inputs] + [
        f"{p.c_type} *{p.c_name}" for p in outputs
    ]
    return f"int {prefix}_run({', '.join(arrays)}, void *arena, size_t arena_bytes)"


def _header(
    prefix: str, program: Program, plan: Plan, inputs: tuple[Port, ...], outputs: tuple[Port, ...]
) -> str:
    out = Emitter()
    out.lines(*_banner(program, "Interface"))
    out.lines(f"#ifndef GATEFOLD_PROGRAM_{prefix}_H", f"#define GATEFOLD_PROGRAM_{prefix}_H", "")
    out.lines("#include <stddef.h>", "#include <stdint.h>", "")
    out.lines("#ifdef __cplusplus", 'extern "C" {', "#endif", "")
    out.line(
        "/* Bytes of working memory, and an alignment of its start that is enough: that of a uint64_t. */"
    )
    out.line(f"#define {prefix}_ARENA_BYTES {plan.arena_bytes}u")
    out.lines(f"#define {prefix}_ARENA_ALIGN {plan.target.align}u", "")
    out.line("/* Elements of one sample. */")
    for port in (*inputs, *outputs):
        out.line(f"#define {prefix}_{port.c_name}_SIZE {port.type.size}u")
    out.line()
    with out.block("enum", "};"):
        for code, (error, meaning) in enumerate(ERRORS.items()):
            comma = "," if code + 1 < len(ERRORS) else ""  # which C++98 minds behind the last
            out.line(f"{prefix}_{error} = {code}{comma} /* {meaning} */")
    out.line()
    out.line(
        "/* Runs one sample. Nothing is written unless the result is OK. No array may overlap another or"
    )
    out.line("   the arena. Several calls may run at once, each with its own arena.")
    out.line()
    for port in (*inputs, *outputs):
        kind = "in " if port in inputs else "out"
        shape = "x".join(map(str, port.type.shape)) or "scalar"
        out.line(f"   {kind} {port.c_name}: {shape}, {port.type.interval.lo} to {port.type.interval.hi}")
    out.line("   arena, arena_bytes: working memory, whose content neither matters nor lasts */")
    out.lines(f"{_signature(prefix, inputs, outputs)};", "")
    out.lines("#ifdef __cplusplus", "}", "#endif", "", "#endif")
    return out.text()


def _weights_header(prefix: str, target: Target, sizes: Mapping[str, int], constants: Constants) -> str:
    out = Emitter()
    out.lines("/* Sizes of the target and constants; not for other code to include. */")
    out.lines(f"#ifndef GATEFOLD_WEIGHTS_{prefix}_H", f"#define GATEFOLD_WEIGHTS_{prefix}_H", "")
    settings = {
        "UNIT_BITS": target.unit,
        "LANE_BITS": target.lane,
        "WORD_BITS": target.word,
        "BLOCK": target.block,
        "POSITIONS": target.positions,
        "INDEX_BITS": target.index,
        "ADDS": int(target.costs.add > 0),
        "LIMIT_BITS": 8 * sizes["gf_limit"],
        "SUM_BITS": 8 * sizes["gf_sum"],
        "MAX_CODES": MAX_CODES,
    }
    out.lines(*(f"#define GF_{name} {value}" for name, value in settings.items()))
    out.lines(f'#include "{HEADER}"', "")
    out.lines(*constants.declarations())
    out.lines("", "#endif")
    return out.text()


def _weights(prefix: str, constants: Constants) -> str:
    lines = ["#define GF_TYPES_ONLY", f'#include "{prefix}_weights.h"', "", *constants.definitions()]
    return "\n".join(lines) + "\n"


def _source(
    prefix: str,
    program: Program,
    plan: Plan,
    body: str,
    calls: list[str],
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
) -> str:
    out = Emitter()
    out.lines(*_banner(program, "Code"))
    out.lines(f'#include "{prefix}.h"', f'#include "{prefix}_weights.h"', "")
    out.lines(*_integer_kernels(body))
    out.lines("", "#if defined(GF_STEP) /* a profiler's own */", "#elif defined(GF_PROFILE)")
    out.lines("volatile uint32_t gf_step;", "#define GF_STEP(number) (gf_step = (number))", "#else")
    out.lines("#define GF_STEP(number) ((void)0)", "#endif", "")
    out.lines(*body.splitlines())
    with out.block(_signature(prefix, inputs, outputs)):
        _emit_checks(out, prefix, plan, inputs, outputs)
        if plan.target.harvard:
            # avr-gcc 5.4, which Debian has, may take a register of an address that it still adds to for
            # another constant; where it reads the address anew each time it does not
            out.line("uint8_t *volatile const memory = (uint8_t *)arena;")
        else:
            out.line("uint8_t *const memory = (uint8_t *)arena;")
        for number, (step, call) in enumerate(zip(plan.steps, calls, strict=True)):
            out.lines(f"GF_STEP({number}); /* {comment(step.label)} */", call)
        _emit_copies(out, plan, inputs, outputs)
        out.line(f"GF_STEP({len(plan.steps)});")
        out.line("(void)memory;")
        out.line(f"return {prefix}_OK;")
    return out.text()


def _integer_kernels(body: str) -> Iterator[str]:
    """Definitions of the kernels on plain integers that the body calls."""
    for name in dict.fromkeys(re.findall(r"gf_rows_[a-z0-9_]*?(?=_taps\()", body)):
        yield f"GF_DEFINE_INTEGER_ROWS({name}, {', '.join(f'{t}_t' for t in name.split('_')[2:])})"
    for name in dict.fromkeys(re.findall(r"gf_paired_[a-z0-9]*(?=_taps\()", body)):
        yield f"GF_DEFINE_PAIRED_ROWS({name}, {name.split('_')[2]}_t)"
    for name in dict.fromkeys(re.findall(r"gf_dot_[a-z0-9_]*(?=\()", body)):
        yield f"GF_DEFINE_INTEGER_DOT({name}, {', '.join(f'{t}_t' for t in name.split('_')[2:])})"
    for name in dict.fromkeys(re.findall(r"gf_listed_[a-z]*int[a-z0-9_]*(?=\()", body)):
        yield f"GF_DEFINE_LISTED({name}, {', '.join(f'{t}_t' for t in name.split('_')[2:])})"


def _emit_checks(
    out: Emitter, prefix: str, plan: Plan, inputs: tuple[Port, ...], outputs: tuple[Port, ...]
) -> None:
    """Everything that may be wrong with a call, before anything is written."""
    pointers = [*(p.c_name for p in (*inputs, *outputs)), "arena"]
    out.lines(f"if ({' || '.join(f'{p} == NULL' for p in pointers)})", f"    return {prefix}_ERROR_NULL;")
    out.lines(f"if (arena_bytes < {prefix}_ARENA_BYTES)", f"    return {prefix}_ERROR_ARENA;")
    aligned = [f"(uintptr_t)arena % GF_ALIGN({plan.target.align})"]
    aligned += [
        f"(uintptr_t){p.c_name} % GF_ALIGN({p.dtype.itemsize})"
        for p in (*inputs, *outputs)
        if p.dtype.itemsize > 1
    ]
    out.lines(f"if ({' || '.join(aligned)})", f"    return {prefix}_ERROR_ALIGN;")
    for port in inputs:
        limits, info = port.type.interval, np.iinfo(port.dtype)  # type: ignore[type-var]
        value = f"{port.c_name}[i]"
        tests = [f"{value} < {literal(limits.lo)}"] if limits.lo > info.min else []
        tests += [f"{value} > {literal(limits.hi)}"] if limits.hi < info.max else []
        if tests:
            # no early way out, so that compilers can treat many elements at once
            with out.block(""):
                out.lines(
                    "unsigned outside = 0;",
                    f"for (size_t i = 0; i < {port.type.size}; i++)",
                    f"    outside |= {' | '.join(f'({test})' for test in tests)};",
                    "if (outside)",
                    f"    return {prefix}_ERROR_RANGE;",
                )


def _emit_copies(out: Emitter, plan: Plan, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
    """Outputs that are another name of an input or of another output."""
    written: set[str] = {step.result for step in plan.steps}
    first: dict[str, str] = {}
    for port in outputs:
        key = plan.outputs[port.name]
        source = _pointer(plan, key, inputs, outputs)
        if key not in written or first.setdefault(key, port.c_name) != port.c_name or source != port.c_name:
            out.line(f"for (size_t i = 0; i < {port.type.size}; i++)")
            out.line(f"    {port.c_name}[i] = {source}[i];")


def render(
    program: Program, target: str = DEFAULT, layout: str = "plain", name: str = "", prefer: str = "auto"
) -> Mapping[str, bytes]:
    """The exporter's entry point: the files of the folder."""
    return generate(program, target, name or None, layout=layout, kernel=prefer).files
