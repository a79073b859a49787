"""What the generated C promises: freestanding, reentrant, no recursion, no undefined behaviour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from exporters.c99 import build
from exporters.c99.build import Source, generate
from exporters.c99.compilers import C_FLAGS, KINDS, compile_flags
from exporters.c99.plan import Plan, plan_program
from exporters.c99.targets import TARGETS, Target
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.compilers import COMPILERS
from tests.exporters.c99.natives import GCC, STRICT, call, host_flags, write
from tests.exporters.c99.test_plan import replay
from tests.exporters.c99.test_programs import (
    BESIDE,
    LAYOUTS,
    bit_program,
    mixed_programs,
    random_layer,
    roomy,
)
from tests.merging import merged
from tests.programs import random_inputs

SANITIZE = (
    "-O0",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)

# --- sanitizers --------------------------------------------------------------------------------------

DRIVER = """\
#include "{name}.h"
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {{ size_t start, stop; }} gaps[] = {{ {gaps} }};

int main(void)
{{
    FILE *in = fopen("inputs.bin", "rb"), *out = fopen("outputs.bin", "wb");
    uint8_t *arena = malloc({name}_ARENA_BYTES);
{arrays}
    if (!in || !out)
        return 90;
    for (int sample = 0; sample < {samples}; sample++) {{
{reads}
        if ({name}_run({names}, arena, {name}_ARENA_BYTES - 1) != {name}_ERROR_ARENA)
            return 92;
        for (size_t i = 0; gaps[i].stop; i++)
            __asan_poison_memory_region(arena + gaps[i].start, gaps[i].stop - gaps[i].start);
        if ({name}_run({names}, arena, {name}_ARENA_BYTES) != {name}_OK)
            return 93;
{writes}
    }}
    return fclose(out);
}}
"""


def driver(source: Source, gaps: Sequence[tuple[int, int]], samples: int) -> str:
    """A program that runs ``source`` on arrays from the heap, of exactly their sizes; ``gaps`` of the arena
    must not be touched."""
    ports = [*source.inputs, *source.outputs]
    size = {p.c_name: p.type.size * p.dtype.itemsize for p in ports}

    def lines(text: str, some: Sequence[build.Port]) -> str:
        return "\n".join(text.format(p=p, n=size[p.c_name]) for p in some)

    return DRIVER.format(
        name=source.name,
        gaps=", ".join(f"{{{a}, {b}}}" for a, b in [*gaps, (0, 0)]),
        arrays=lines("    {p.c_type} *{p.c_name} = malloc({n});", ports),
        reads=lines("        if (fread({p.c_name}, {n}, 1, in) != 1) return 91;", source.inputs),
        names=", ".join(p.c_name for p in ports),
        writes=lines("        fwrite({p.c_name}, {n}, 1, out);", source.outputs),
        samples=samples,
    )


def run_driver(
    source: Source, program: Program, gaps: Sequence[tuple[int, int]], folder: Path, command: Sequence[str]
) -> None:
    """Compile with ``command``, run two samples and compare their outputs with the interpreter's."""
    write(source, folder)
    (folder / "driver.c").write_text(driver(source, gaps, 2))
    inputs = random_inputs(program, 2, 1)
    wanted = Interpreter(program).run(inputs)
    bytes_of = [
        inputs[p.name][sample].astype(p.dtype).tobytes() for sample in range(2) for p in source.inputs
    ]
    (folder / "inputs.bin").write_bytes(b"".join(bytes_of))
    call([*command, "driver.c", f"{source.name}_weights.c", f"{source.name}.c", "-o", "driver"], folder)
    call(["./driver"], folder, ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1")
    found = (folder / "outputs.bin").read_bytes()
    expected = [
        wanted[p.name][sample].astype(p.dtype).tobytes() for sample in range(2) for p in source.outputs
    ]
    assert found == b"".join(expected)


def spread(plan: Plan) -> tuple[Plan, list[tuple[int, int]]]:
    """``plan`` with every buffer at a place of its own, and the gaps behind each."""
    offsets: dict[str, int] = {}
    gaps: list[tuple[int, int]] = []
    end = 0
    for held in replay(plan):
        step = plan.steps[held.birth]
        shared = [k for k in step.reads if plan.offsets.get(k) == held.start] if step.in_place else []
        if step.result == held.name and shared:
            offsets[held.name] = offsets[shared[0]]
            continue
        offsets[held.name] = end
        size = held.stop - held.start
        stop = -(-(end + size) // 8) * 8 + 64
        gaps.append((end + size, stop))
        end = stop
    return replace(plan, offsets=offsets, arena_bytes=end), gaps


def sanitized_programs(number: int) -> list[Program]:
    """Layers of both kinds and bits; for each number others."""
    layers = [random_layer(seed, seed % 3 == 0) for seed in range(300 * number, 300 * number + 6)]
    return [*layers, mixed_programs(number + 9)[0], bit_program(number % 6), no_weights()]


@pytest.mark.parametrize(
    ("layout", "kernel"),
    [
        ("x86-64-v3", "auto"),
        ("x86-64-v3", "lanes"),
        ("x86-64-v4", "nibbles"),
        ("x86-64-v4", "quads"),
        ("cortex-m4", "auto"),
        ("cortex-m4", "lanes"),
        ("rv32ec", "auto"),
        ("avr", "auto"),
    ],
)
def test_address_and_undefined_behaviour_sanitizers_find_nothing(
    layout: str, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every buffer of the arena has a place of its own between poisoned bytes, so that no kernel reads or
    writes one element beyond what it was planned to have; arrays and constants are guarded anyway."""
    programs = sanitized_programs(list(LAYOUTS).index(layout))
    program = merged("net", [*programs, *BESIDE.get(kernel, [])])
    gaps: list[tuple[int, int]] = []

    def plan(program: Program, target: Target, kernel: str) -> Plan:
        spaced, found = spread(plan_program(program, target, kernel))
        gaps.extend(found)
        return spaced

    monkeypatch.setattr(build, "plan_program", plan)
    source = generate(program, roomy(layout), vectors=0, kernel=kernel)
    flags = [flag for flag in host_flags(source.target) if flag != "-ffreestanding"]
    run_driver(source, program, gaps, tmp_path, [GCC, *SANITIZE, *flags])


@pytest.mark.parametrize(("layout", "number"), [("x86-64-v3", 5), ("rv32imc", 6)])
def test_clangs_undefined_behaviour_sanitizer_finds_nothing(
    layout: str, number: int, tmp_path: Path
) -> None:
    """It knows more of it than GCC's, such as adding 0 to NULL; what it finds ends the program."""
    program = merged("net", sanitized_programs(number))
    source = generate(program, roomy(layout), vectors=0)
    write(source, tmp_path)
    trap = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
    flags = [*STRICT, "-fno-builtin", "-target", "x86_64-linux-gnu", "-mcpu=x86_64_v3", "-O0", *trap]
    for name in ("net", "net_weights"):
        clang(tmp_path, [*flags, "-c", f"{name}.c", "-o", f"{name}.o"])
    for path in ("net.c", "net_weights.c"):
        (tmp_path / path).unlink()
    objects = replace(source, files={"net.h": source.files["net.h"]})
    (tmp_path / "link").write_text(
        f"#!/bin/sh\nset -e\n{GCC} -fsanitize=address -O1 driver.c net.o net_weights.o -o driver\n"
    )
    run_driver(objects, program, [], tmp_path, ["sh", "link"])


def no_weights() -> Program:
    """A layer whose weights are all 0."""
    b = Builder("zeros")
    x = b.input("x", (8, 9, 8), Interval(0, 3))
    return b.build(
        outputs=(b.add(Conv2d(Weights(np.zeros((8, 8, 3, 3), np.int8), 3), None, (1, 1), (1, 1)), x),)
    )


# --- freestanding ------------------------------------------------------------------------------------


def clang(folder: Path, arguments: Sequence[str]) -> str:
    """Run Clang of the package ``ziglang``."""
    caches = {name: str(folder / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    return call([*COMPILERS["zig"].command, *arguments], folder, **caches)


def words_and_layers() -> Program:
    """Layers for every kernel, bits, and loops."""
    layers = [random_layer(seed, seed % 2 == 0) for seed in (2, 3, 5)]
    return merged("net", [*layers, bit_program(0), bit_program(2)])


RELOCATED = frozenset({".data.rel.ro", ".data.rel.ro.local"})
"""Sections of pointers that are constant once a position-independent program is loaded."""


@dataclass(frozen=True)
class Object:
    """What a linker sees of some object files."""

    undefined: frozenset[str]
    defined: frozenset[str]
    writable: frozenset[str]


def look(paths: Sequence[Path]) -> Object:
    """Symbols that are used but not there, those that are there for others, and sections one can write."""
    used: set[str] = set()
    made: set[str] = set()
    writable: set[str] = set()
    for path in paths:
        with path.open("rb") as file:
            elf = ELFFile(file)
            for symbol in elf.get_section_by_name(".symtab").iter_symbols():
                is_global = symbol["st_info"]["bind"] == "STB_GLOBAL"
                if is_global:
                    (used if symbol["st_shndx"] == "SHN_UNDEF" else made).add(symbol.name)
            for section in elf.iter_sections():
                if section["sh_flags"] & 1 and section["sh_size"]:
                    writable.add(section.name)
    return Object(frozenset(used - made), frozenset(made), frozenset(writable))


def check_object(found: Object, source: Source, allowed: str = "(?!)") -> None:
    """Only the program's own names, nothing to write to, and of others at most what the regex allows."""
    assert not [name for name in found.undefined if not re.fullmatch(allowed, name)]
    assert all(name.startswith(f"{source.name}_") for name in found.defined)
    assert f"{source.name}_run" in found.defined
    assert found.writable <= RELOCATED


RUNTIME = (
    r"__aeabi_(unwind_cpp_pr[01]|lmul|u?idiv(mod)?|u?ldivmod|llsl|llsr|lasr)"
    r"|__(u?div|u?mod|mul|ashl|lshr|ashr)[sdt]i3|__(u?divmod|mul)[qhsd]i[34]"
)
"""Arithmetic that processors without the instructions have in the compiler's own library."""


@pytest.mark.parametrize("target", [name for name in TARGETS if not TARGETS[name].harvard])
def test_clang_compiles_for_every_target_and_nothing_is_missing(target: str, tmp_path: Path) -> None:
    source = generate(words_and_layers(), roomy(target), vectors=0)
    write(source, tmp_path)
    flags = compile_flags(COMPILERS["zig"], TARGETS[target])
    assert set(C_FLAGS) <= set(flags)
    for name in ("net", "net_weights"):
        clang(tmp_path, [*flags, "-c", f"{name}.c", "-o", f"{name}.o"])
    check_object(look([tmp_path / "net.o", tmp_path / "net_weights.o"]), source, RUNTIME)


LEVELS = {
    "x86-64-v2": ("-O2", "-Os"),
    "x86-64-v3": ("-O2", "-O3"),
    "x86-64-v4": ("-O3",),
    "cortex-m4": ("-O2", "-O3", "-Os"),
    "avr": ("-Os",),
    "rv32ec": ("-Os",),
}
"""Every level on vectors and without, and every layout at the level of its targets."""


@pytest.mark.parametrize(("layout", "level"), [(name, level) for name in LEVELS for level in LEVELS[name]])
def test_gcc_compiles_at_every_level_and_nothing_is_missing(
    layout: str, level: str, tmp_path: Path
) -> None:
    assert set(LEVELS) == set(LAYOUTS)
    number = list(LAYOUTS).index(layout)
    programs = [random_layer(20 * number, True), bit_program(number)]
    source = generate(merged("net", programs), roomy(layout), vectors=0)
    write(source, tmp_path)
    call(
        [GCC, *host_flags(source.target), level, *KINDS["gcc"], "-Wvla", "-c", "net.c", "net_weights.c"],
        tmp_path,
    )
    check_object(look([tmp_path / "net.o", tmp_path / "net_weights.o"]), source)


def test_nothing_is_included_but_what_a_compiler_brings() -> None:
    for target in TARGETS:
        for path, content in generate(bit_program(0), target, vectors=2).files.items():
            if path.endswith((".c", ".h")):
                found = set(re.findall(r"#\s*include\s*<(.*?)>", content.decode()))
                assert found <= {"stddef.h", "stdint.h", "emmintrin.h", "tmmintrin.h", "immintrin.h"}


def test_a_profiled_build_has_one_variable(tmp_path: Path) -> None:
    source = generate(bit_program(0), "cortex-m4", name="net", vectors=0)
    write(source, tmp_path)
    call([GCC, *STRICT, "-O1", "-DGF_PROFILE", "-c", "net.c", "net_weights.c"], tmp_path)
    found = look([tmp_path / "net.o", tmp_path / "net_weights.o"])
    assert (found.writable - RELOCATED, found.undefined) == ({".bss"}, frozenset())
    assert "gf_step" in found.defined


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_function_calls_itself(layout: str, tmp_path: Path) -> None:
    """Neither directly nor by way of others: the graph of calls, as GCC writes it, has no circle."""
    source = generate(words_and_layers(), roomy(layout), vectors=0)
    write(source, tmp_path)
    call([GCC, *host_flags(source.target), "-O0", "-fcallgraph-info", "-c", "net.c"], tmp_path)
    text = (tmp_path / "net.ci").read_text()
    edges = re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text)
    calls: dict[str, set[str]] = {}
    for source_name, target_name in edges:
        calls.setdefault(source_name.split(":")[-1], set()).add(target_name.split(":")[-1])
    assert "net_run" in calls
    order = TopologicalSorter(calls)
    assert set(order.static_order()) >= set(calls)
    assert not any("__indirect_call" in targets for targets in calls.values())


# --- C++ ---------------------------------------------------------------------------------------------

USE = """\
#include "net.h"
#include <vector>

int main()
{
    std::vector<uint64_t> arena(net_ARENA_BYTES / 8);
    static const uint8_t x[net_x_SIZE] = {1, 2, 3};
    static %s out[net_%s_SIZE];
    return net_run(x, out, arena.data(), net_ARENA_BYTES);
}
"""


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_cpp_includes_links_and_runs(standard: str, tmp_path: Path) -> None:
    source = generate(no_weights(), name="net", vectors=0)
    write(source, tmp_path)
    out = source.outputs[0]
    (tmp_path / "use.cpp").write_text(USE % (out.c_type, out.c_name))
    call([GCC, *host_flags(source.target), "-O1", "-c", "net.c", "net_weights.c"], tmp_path)
    strict = ("-Wall", "-Wextra", "-pedantic", "-Werror", f"-std={standard}")
    call(["g++", *strict, "use.cpp", "net.o", "net_weights.o", "-o", "use"], tmp_path)
    call(["./use"], tmp_path)


def test_the_header_is_cpp98_to_the_letter(tmp_path: Path) -> None:
    write(generate(no_weights(), name="net", vectors=0), tmp_path)
    (tmp_path / "use.cpp").write_text('#include "net.h"\n')
    call(["g++", "-Wall", "-Wextra", "-pedantic", "-Werror", "-std=c++98", "-c", "use.cpp"], tmp_path)


# --- vectors -----------------------------------------------------------------------------------------

HOT = {
    "lanes": "gf_lanes_run",
    "columns": "gf_columns_run",
    "integers": "gf_paired_sums",
    "nibbles": "gf_look_up",
    "quads": "gf_quads_run",
}
"""Where each kernel spends its time."""


REGISTERS = {"x86-64-v2": "xmm", "x86-64-v3": "ymm", "x86-64-v4": "zmm"}
"""Whole vectors of a target."""


@pytest.mark.parametrize(
    ("kernel", "target"),
    [(kernel, target) for kernel in HOT if kernel != "quads" for target in ("x86-64-v2", "x86-64-v3")]
    + [("nibbles", "x86-64-v4"), ("quads", "x86-64-v4")],
)
def test_the_compiler_makes_vectors_of_hot_functions(kernel: str, target: str, tmp_path: Path) -> None:
    """``benchmarks/c99_vectorized.py`` measures what this looks at: instructions on whole vectors."""
    rng = np.random.default_rng(0)
    b = Builder("net")
    x = b.input("x", (4, 20, 24), Interval(0, 1))
    conv = Conv2d(Weights(rng.integers(-1, 2, (256, 4, 3, 3)), 3), None, (1, 1), (1, 1))
    bits = Threshold(rng.integers(-9, 9, (256, 1)), np.ones(256, int))
    source = generate(b.build(outputs=(b.add(bits, b.add(conv, x)),)), target, vectors=0, kernel=kernel)
    counts = {}
    for scalar in (False, True):
        folder = write(source, tmp_path / str(scalar))
        flags = ["-DGF_NATIVE_BITS=0", "-fno-tree-vectorize"] if scalar else []
        call([GCC, *STRICT, *source.target.gcc, "-O3", *KINDS["gcc"], *flags, "-c", "net.c"], folder)
        counts[scalar] = vector_instructions(folder, HOT[kernel], REGISTERS[target])
    assert counts[True] == 0
    assert counts[False] >= 4


def vector_instructions(folder: Path, function: str, register: str) -> int:
    """Logic or arithmetic on whole vectors in one function of ``net.o``."""
    listing = call(["objdump", "-d", "--no-show-raw-insn", "net.o"], folder)
    bodies = re.findall(rf"<{function}[^>]*>:\n(.*?)(?:\n\n|\Z)", listing, re.DOTALL)
    assert bodies, f"{function} is not there"
    return sum(
        len(re.findall(rf"\bv?p(?:and|xor|or|add|mul|madd|dpbusd)\w*\s.*%{register}", body))
        for body in bodies
    )
