"""Generated C on an emulated AVR: integers of 16 bits, and constants in an address space of their own."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sample_models
from exporters.c99.build import Source, generate
from runtime.ir import Program
from runtime.ops import OPS
from runtime.serialize import load
from tests.exporters.c99.avrs import FLAGS, PART, ram_bytes, require_tools, run_selftest
from tests.exporters.c99.natives import call, write, zig
from tests.exporters.c99.test_kernels import check_object, look
from tests.exporters.c99.test_programs import PREFERENCES, random_layer, roomy
from tests.merging import merged
from tests.programs import random_program

DIGITS = Path(sample_models.__file__).parent / "trained" / "digits-ternary" / "program.gfold"

LIBRARY = r"__(u?div)?(mod|mul)\w+4|__mul\w+3|__\w+(si|di|hi)3|__\w+_saves__|__\w+_restores__|__do_\w+"
"""Arithmetic of the compiler's own library."""

OFFERED = [name for name in PREFERENCES if name not in ("nibbles", "quads")]
"""Kernels that a machine without vectors can take."""


def small_layers(kernel: str, first: int = 100) -> list[Program]:
    """Random layers of seeds from ``first`` on that take the kernel and little RAM."""
    found: list[Program] = []
    for program in (random_layer(seed, False) for seed in range(first, first + 300)):
        if len(found) < 8 and max(t.size for t in program.types.values()) < 600:
            source = generate(program, roomy("avr"), vectors=0, kernel=kernel)
            small = source.arena_bytes < 1500 and source.constant_bytes < 3000
            found += [program] if small and kernel in ("auto", *kernels(source)) else []
    return found


def kernels(source: Source) -> set[str]:
    """Kernels of its layers."""
    return {step.candidate.kernel for step in source.plan.steps if step.candidate}


@pytest.mark.parametrize("kernel", OFFERED)
def test_random_layers(kernel: str, tmp_path: Path) -> None:
    source = generate(merged("layers", small_layers(kernel)), "avr", vectors=4, kernel=kernel)
    assert kernel in ("auto", *kernels(source))
    assert run_selftest(source, tmp_path) == 0


@pytest.mark.study
@pytest.mark.parametrize("number", range(40))
@pytest.mark.parametrize("kernel", OFFERED)
def test_many_more_random_layers(kernel: str, number: int, tmp_path: Path) -> None:
    layers = small_layers(kernel, 1000 + 300 * number)
    assert run_selftest(generate(merged("layers", layers), "avr", vectors=4, kernel=kernel), tmp_path) == 0


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_of_all_ops(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(OPS))
    programs = [
        random_program([str(name) for name in names[at : at + 6]], seed) for at in range(0, len(names), 6)
    ]
    assert run_selftest(generate(merged("ops", programs), "avr", vectors=3), tmp_path) == 0


@pytest.mark.parametrize("level", ["-O1", "-O2", "-O3"])
def test_every_level_gives_the_same(level: str, tmp_path: Path) -> None:
    """At -O2 avr-gcc 5.4 reads some constants from RAM unless the header forbids it."""
    layers = [load(DIGITS), random_layer(724, False)]
    for number, program in enumerate(layers):
        source = generate(program, "avr", vectors=3)
        assert run_selftest(source, tmp_path / str(number), level=level) == 0


def test_samples_too_large_for_an_array_are_fewer(tmp_path: Path) -> None:
    source = generate(random_layer(703, False), "avr", vectors=4)
    (size,) = {port.type.size * port.dtype.itemsize for port in source.inputs}
    assert f"Self-test: {32_767 // size} samples" in source.files[f"{source.name}_selftest.c"].decode()


def test_cmake_builds_for_both_machines(tmp_path: Path) -> None:
    source = generate(load(DIGITS), "avr", vectors=2)
    folder = write(source, tmp_path)
    cross = ("-DCMAKE_C_COMPILER=avr-gcc", "-DCMAKE_SYSTEM_NAME=Generic")
    require_tools()
    for build, options in (("cross", cross), ("host", ())):
        call(["cmake", "-S", ".", "-B", build, *options], folder)
        call(["cmake", "--build", build], folder)
    assert ram_bytes(folder, f"cross/lib{source.name}.a") == 0
    call(["ctest", "--test-dir", "host"], folder)


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_trained_program(language: str, tmp_path: Path) -> None:
    source = generate(load(DIGITS), "avr", vectors=3)
    assert run_selftest(source, tmp_path, language) == 0
    assert ram_bytes(tmp_path, f"{source.name}.o", f"{source.name}_weights.o") == 0


def test_the_self_test_sees_a_wrong_weight(tmp_path: Path) -> None:
    source = generate(load(DIGITS), "avr", vectors=3)
    path = f"{source.name}_weights.c"
    before, first, after = source.files[path].partition(b"_start[10] = {\n    -")
    assert first, "the classifier's sums begin with their biases"
    changed = {**source.files, path: before + first + b"1" + after}
    assert run_selftest(replace(source, files=changed), tmp_path) > 0


def test_the_makefile_builds_with_what_the_readme_names(tmp_path: Path) -> None:
    require_tools()
    source = generate(load(DIGITS), "avr")
    printed = call(["make"], write(source, tmp_path))
    assert printed.startswith("avr-gcc -Os -mmcu=atmega328p -std=gnu99 -pedantic -Wall")
    objects = [f"{source.name}.o", f"{source.name}_weights.o"]
    assert ram_bytes(tmp_path, *objects) == 0
    check_object(look([tmp_path / name for name in objects]), source, LIBRARY)
    assert call(["make", "test"], tmp_path).rstrip().endswith("passed")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["avr-gcc", *(flag for flag in FLAGS if not flag.startswith("-std")), "-std=c99"],
         "compile this file as C with -std=gnu99 or later: without __flash all constants"),
        (["avr-gcc", "-Os", f"-mmcu={PART}", "-x", "c++"],
         "compile this file as C with -std=gnu99 or later: without __flash all constants"),
        ([*zig("avr")[0].command, *zig("avr")[1], "-mmcu=atmega328p"],
         "compile this file with avr-gcc: Clang stores half of the address of a constant"),
    ],
    ids=["c99", "c++", "clang"],
)  # fmt: skip
def test_what_would_run_wrong_does_not_compile(command: list[str], message: str, tmp_path: Path) -> None:
    require_tools()
    source = generate(load(DIGITS), "avr", vectors=0)
    write(source, tmp_path)
    done = subprocess.run(
        [*command, "-c", f"{source.name}.c"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f'#error "{message}' in done.stderr or f'error: "{message}' in done.stderr
