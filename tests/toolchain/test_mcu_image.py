"""Images of a trained program for every core: sizes, stack, outputs, instructions."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from exporters.c99.build import generate
from exporters.c99.targets import TARGETS
from runtime.errors import GatefoldError, InputError, MismatchError, MissingToolError
from runtime.interpreter import Interpreter
from runtime.ir import Builder
from runtime.ops import OPS, Conv2d
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import random_program
from tests.toolchain.mcu_builds import (
    BIG_ENDIAN,
    BIG_TARGET,
    MEMORY,
    handwritten,
    image,
    program,
    source,
)
from toolchain.mcu import toolsets
from toolchain.mcu.build import build
from toolchain.mcu.cores import CORES, find_core
from toolchain.mcu.decode import DECODERS
from toolchain.mcu.emulate import Emulator
from toolchain.mcu.harness import Memory
from toolchain.mcu.image import measure_sizes, read_elf
from toolchain.mcu.measure import Checks, checked_runs
from toolchain.vectors import Vectors

RUN = [name for name, core in CORES.items() if core.machine]


@pytest.fixture(scope="module")
def checks() -> Checks:
    """Two samples of the self-test, and a third to count on."""
    full = Checks.of(program())
    return replace(full, embedded=_first(full.embedded, 3), counted=_first(full.counted, 1))


def _first(vectors: Vectors, count: int) -> Vectors:
    return Vectors(
        {name: array[:count] for name, array in vectors.inputs.items()},
        {name: array[:count] for name, array in vectors.outputs.items()},
    )


@pytest.mark.parametrize("core", RUN)
def test_an_image_runs_bit_for_bit_and_its_figures_agree(core: str, checks: Checks) -> None:
    plain, profiled = image(core), image(core, profile=True)
    sizes = measure_sizes(plain)
    runs = list(checked_runs(Emulator(plain), checks.embedded, core))
    assert max(run.stack for run in runs) <= sizes.stack <= max(run.stack for run in runs) + 16
    assert sizes.path[0] == f"{plain.source.name}_run"
    assert sizes.arena == plain.source.arena_bytes
    assert sizes.flash == sizes.text + sizes.rodata + sizes.data + sizes.library
    assert sizes.ram == sizes.arena + sizes.ports + sizes.stack + sizes.data + sizes.bss
    assert 0 <= sizes.rodata - plain.source.constant_bytes < 1024
    own = [f.bytes for f in sizes.functions if not f.library]
    assert 0.95 * sizes.text <= sum(own) <= sizes.text

    sample = {name: array[0] for name, array in checks.counted.inputs.items()}
    (counted,) = checked_runs(Emulator(profiled), checks.counted, core, count=True)
    whole = Emulator(plain).run(sample, count=True)
    assert len(counted.steps) == len(plain.source.steps)
    assert all(step.instructions > 0 for step in counted.steps)
    assert counted.total.instructions == pytest.approx(whole.total.instructions, rel=0.01)
    timing = CORES[core].timing
    assert timing is not None
    assert 0.5 < whole.total.cycles(timing) / whole.total.instructions < 2.5


@pytest.mark.parametrize("core", [name for name in RUN if CORES[name].aligned])
def test_no_access_is_unaligned(core: str, checks: Checks) -> None:
    sample = {name: array[0] for name, array in checks.counted.inputs.items()}
    run = Emulator(image(core)).run(sample, check_alignment=True)
    assert run.unaligned == 0
    for name, wanted in checks.counted.outputs.items():
        assert (run.outputs[name] == wanted[0]).all()


def test_an_unaligned_access_is_seen() -> None:
    body = "RUN { UNUSED *(volatile uint32_t *)(void *)((uint8_t *)arena + 1) = 1; return 0; }"
    built = build(handwritten(body, source("rv32imc")), CORES["rv32imc"], MEMORY)
    inputs = {p.name: np.zeros(p.type.shape, int) for p in built.source.inputs}
    assert Emulator(built).run(inputs, check_alignment=True).unaligned == 1


def test_the_cortex_m0plus_image_has_no_instruction_of_larger_cores() -> None:
    text = read_elf(image("cortex-m0plus").elf).get_section_by_name(".text")
    table = read_elf(image("cortex-m0plus").elf).get_section_by_name(".symtab")
    pools = sorted(s["st_value"] for s in table.iter_symbols() if s.name.startswith("$"))
    kinds = {s["st_value"]: s.name for s in table.iter_symbols() if s.name.startswith("$")}
    begin, data = text["sh_addr"], text.data()
    edges = [at for at in pools if begin <= at < begin + len(data)] + [begin + len(data)]
    long = [
        instruction
        for at, end in pairwise(edges)
        if kinds[at].startswith("$t")
        for instruction in DECODERS["thumb"].instructions(data[at - begin : end - begin])
        if instruction.second is not None
    ]
    assert long
    for instruction in long:  # BL alone has four bytes on this core, but for system instructions
        assert (instruction.first >> 11, (instruction.second or 0) >> 14) == (0b11110, 0b11)


@pytest.mark.parametrize("levels", [3, 4, 15])
def test_a_core_without_a_multiplier_adds(levels: int) -> None:
    """A call of the library for every product takes three to four times as long."""
    top = levels // 2 if levels % 2 else levels - 1
    b = Builder("bytes")
    x = b.input("x", (2, 8, 8), Interval(0, 255))
    codes = np.random.default_rng(0).choice(np.arange(-top, top + 1, 1 if levels % 2 else 2), (8, 2, 3, 3))
    layer = b.build((b.add(Conv2d(Weights(codes, levels), padding=(1, 1)), x),))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8))
    wanted = Interpreter(layer).run({"x": pixels[None]})[layer.outputs[0]][0]
    taken = {}
    for core in ("cortex-m0plus", "rv32ec"):
        built = build(generate(layer, core, vectors=0, kernel="integers"), CORES[core], MEMORY)
        run = Emulator(built).run({"x": pixels}, count=True)
        assert np.array_equal(run.outputs[layer.outputs[0]], wanted)
        taken[core] = run.total.work.instructions
    assert taken["rv32ec"] < (1.3 if levels == 3 else 2.2) * taken["cortex-m0plus"], taken


def test_unicorn_has_no_avr() -> None:
    with pytest.raises(GatefoldError, match=r"^unicorn has no avr$"):
        Emulator(replace(image("cortex-m4"), core=CORES["avr"]))


@pytest.mark.parametrize("name", ["digits-ternary", "fashion-resnet-quotient"])
def test_a_big_endian_machine_computes_the_same(name: str) -> None:
    built = build(
        generate(program(name), BIG_TARGET, vectors=0), BIG_ENDIAN, Memory(0x00100000, 0x20000000)
    )
    assert not read_elf(built.elf).little_endian
    runs = checked_runs(Emulator(built), _first(Checks.of(program(name)).embedded, 4), name)
    assert len(list(runs)) == 4


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m7", "rv32ec"])
@pytest.mark.parametrize("seed", [3, 4])
def test_random_programs_of_every_op_run_alike(core: str, seed: int) -> None:
    made = random_program(list(OPS), seed)
    built = build(generate(made, core, vectors=0), CORES[core], MEMORY)
    assert len(list(checked_runs(Emulator(built), Checks.of(made).embedded, core))) == 8


def test_a_wrong_output_names_its_element(checks: Checks) -> None:
    wrong = {name: array.copy() for name, array in checks.embedded.outputs.items()}
    wrong["scores"][1, 3] += 1
    with pytest.raises(
        MismatchError,
        match=r"^there: element 3 of 'scores' is -?\d+ under emulation and -?\d+ in the interpreter, "
        "at sample 1; report it with the program$",
    ):
        list(checked_runs(Emulator(image("cortex-m4")), Vectors(checks.embedded.inputs, wrong), "there"))


STOPS = {
    "a write to nowhere": (
        "RUN { UNUSED *(volatile uint32_t *)(uintptr_t)0xf0000000 = 1; return 0; }",
        "digits_ternary on cortex-m4 stopped under emulation: Invalid memory write .*; report it with",
    ),
    "an error": (
        "RUN { UNUSED return 3; }",
        "^digits_ternary on cortex-m4 returned 3 in place of 0; report it with the program$",
    ),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_run_that_does_not_end_well_is_one_line(case: str) -> None:
    body, message = STOPS[case]
    built = build(handwritten(body, source("cortex-m4")), CORES["cortex-m4"], MEMORY)
    with pytest.raises(GatefoldError, match=message):
        Emulator(built).run({p.name: np.zeros(p.type.shape, int) for p in built.source.inputs})


def test_a_circle_of_calls_has_no_depth() -> None:
    body = """
static int b(int n);
#define OWN static __attribute__((noinline))
OWN int a(int n) { volatile int x[9]; x[n & 7] = n; return b(n - 1) + x[0]; }
OWN int b(int n) { volatile int x[5]; x[n & 3] = n; return n ? a(n) + x[0] : 0; }
RUN { UNUSED return a((int)arena_bytes); }"""
    built = build(handwritten(body, source("cortex-m4")), CORES["cortex-m4"], MEMORY)
    with pytest.raises(GatefoldError, match=r"^function [ab] calls itself, so its stack has no bound$"):
        measure_sizes(built)


def test_the_deepest_path_adds_frames_and_takes_the_deeper_branch() -> None:
    body = """
#define OWN static __attribute__((noinline))
OWN void leaf(volatile int *to) { volatile int x[64]; x[*to & 63] = 1; *to = x[0]; }
OWN void thin(volatile int *to) { *to += 2; }
OWN void deep(volatile int *to) { volatile int x[16]; leaf(x); *to = x[1]; }
RUN { UNUSED volatile int x = 1; thin(&x); deep(&x); return 0; }"""
    built = build(handwritten(body, source("rv32imc")), CORES["rv32imc"], MEMORY)
    sizes = measure_sizes(built)
    assert sizes.path == ("digits_ternary_run", "deep", "leaf")
    frames = {function.name: function.frame for function in sizes.functions}
    assert sizes.stack == sum(frames[name] for name in sizes.path)
    assert frames["leaf"] >= 256
    assert frames["deep"] >= 64 > frames["thin"]


def test_the_first_error_of_the_compiler_is_the_message() -> None:
    with pytest.raises(
        GatefoldError,
        match=r"^compiling digits_ternary\.c for cortex-m4 failed: .*error: .*undeclared.*'nothing'",
    ):
        build(
            handwritten("RUN { UNUSED return nothing; }", source("cortex-m4")), CORES["cortex-m4"], MEMORY
        )


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a compilation makes its folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_failed_compilation_keeps_its_sources_and_log(temporary: Path) -> None:
    broken = handwritten("RUN { UNUSED return nothing; }", source("cortex-m4"))
    with pytest.raises(GatefoldError) as caught:
        build(broken, CORES["cortex-m4"], MEMORY)
    (folder,) = temporary.iterdir()
    assert str(caught.value).endswith(f"; sources and compile.log are in {folder}")
    assert "'nothing'" in (folder / "compile.log").read_text()


def test_a_compiler_that_hangs_is_stopped(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolsets, "ZIG", ("sh", "-c", "sleep 300"))
    monkeypatch.setattr(toolsets, "TIMEOUT", 0.5)
    with pytest.raises(GatefoldError) as caught:
        build(source("cortex-m4"), CORES["cortex-m4"], MEMORY)
    (folder,) = temporary.iterdir()
    assert str(caught.value) == (
        "compiling digits_ternary.c for cortex-m4 took more than 0.5 seconds; it was stopped; "
        f"sources and compile.log are in {folder}"
    )


def test_an_image_leaves_no_file_behind(temporary: Path) -> None:
    build(source("cortex-m4"), CORES["cortex-m4"], MEMORY)
    assert list(temporary.iterdir()) == []


def test_a_program_larger_than_any_image_is_refused() -> None:
    large = replace(source("cortex-m4"), arena_bytes=20_000_000)
    with pytest.raises(
        InputError,
        match=r"^digits_ternary takes 20,065,536 bytes, and an image may have 16,777,216 of each memory; "
        "give --no-measure or a smaller network$",
    ):
        build(large, CORES["cortex-m4"], MEMORY)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingToolError,
        match=r"^a cross-compiled image needs ziglang, unicorn, pyelftools: pip install 'gatefold\[mcu\]'$",
    ):
        build(source("cortex-m4"), CORES["cortex-m4"], MEMORY)


def test_an_unknown_core_lists_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"^a microcontroller's target must be one of cortex-m0plus, .*, avr, not 'z80'$"
    ):
        find_core("z80")


def test_every_core_is_a_target_of_the_exporter() -> None:
    assert set(CORES) <= set(TARGETS)
    assert {name for name, target in TARGETS.items() if target.embedded} == set(CORES)
