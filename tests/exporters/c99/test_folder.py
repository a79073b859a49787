"""The exported folder: it builds and passes its self-test as it lies there, in every layout."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import exporters
from exporters.c99.build import Source, generate
from exporters.c99.folder import KEEP_LOOPS, WARNINGS
from exporters.c99.targets import TARGETS
from runtime.ir import Builder, Program
from runtime.ops import ArgMax, Conv2d, Dense, MaxPool, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.compilers import ZIG
from tests.exporters.c99.natives import GCC, STRICT, call, write
from tests.exporters.c99.test_programs import random_layer

CMAKE = [tool for tool in ("cmake",) if shutil.which(tool)]
"""Where the machine has it; nothing here needs it."""


def network(name: str = "demo") -> Program:
    """A small network of layers, pooling and a head."""
    rng = np.random.default_rng(0)
    b = Builder(name)
    x = b.input("image", (1, 12, 12), Interval(0, 255))
    conv = b.add(Conv2d(Weights(rng.integers(-1, 2, (8, 1, 3, 3)), 3), None, (1, 1), (1, 1)), x)
    bits = b.add(Threshold(rng.integers(-99, 99, (8, 1)), np.ones(8, int)), conv)
    conv = b.add(Conv2d(Weights(rng.integers(-1, 2, (8, 8, 3, 3)), 3), None, (1, 1), (1, 1)), bits)
    bits = b.add(
        MaxPool((2, 2), (2, 2)), b.add(Threshold(rng.integers(-3, 3, (8, 1)), np.ones(8, int)), conv)
    )
    scores = b.add(
        Dense(Weights(rng.integers(-1, 2, (5, 288)), 3)), b.add(Reshape((288,)), bits), name="scores"
    )
    return b.build(outputs=(scores, b.add(ArgMax(), scores, name="class")))


# --- make and cmake ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target"), [("demo", "x86-64-v3"), ("all", "cortex-m4"), ("*/ évil", "avr")]
)
def test_make_test_passes(name: str, target: str, tmp_path: Path) -> None:
    folder = exporters.export(network(name), "c99", tmp_path / "out", target=target)
    flags = "-O1" if target != "x86-64-v3" else "-O3 -march=x86-64-v3"
    prefix = generate(network(name), vectors=0).name
    printed = call(["make", "test", f"CFLAGS={flags}"], folder)
    assert (KEEP_LOOPS in printed) == (target == "x86-64-v3")
    passed = f"./{prefix}_selftest && echo passed\npassed"
    assert printed.rstrip().endswith(passed)
    assert call(["make", "test"], folder).rstrip() == passed
    call(["make", "clean"], folder)
    assert {path.name for path in folder.iterdir()} == {*generate(network(name), target).files, ".gatefold"}


@pytest.mark.parametrize(
    ("target", "compiler"),
    [
        ("x86-64-v3", "cc"),
        ("cortex-m4", "arm-none-eabi-gcc"),
        ("rv32imc", "riscv64-unknown-elf-gcc"),
        ("avr", "avr-gcc"),
    ],
)
def test_the_makefile_takes_a_compiler_for_the_target(target: str, compiler: str) -> None:
    files = generate(network(), target).files
    assert f"CC = {compiler}\n" in files["Makefile"].decode()
    assert f"\n{compiler} -O" in files["README.md"].decode()


def test_constants_of_avr_need_the_address_spaces_of_gnu_c() -> None:
    for target, standard, extensions in (("avr", "gnu99", "ON"), ("cortex-m4", "c99", "OFF")):
        files = {path: content.decode() for path, content in generate(network(), target).files.items()}
        assert f"GATEFOLD_FLAGS = -std={standard} {WARNINGS} " in files["Makefile"]
        assert f" -std={standard} {WARNINGS} " in files["README.md"]
        assert f"C_STANDARD 99 C_EXTENSIONS {extensions})" in files["CMakeLists.txt"]


def test_make_fails_where_a_weight_is_wrong(tmp_path: Path) -> None:
    """The self-test sees what it is there for."""
    folder = write(generate(network()), tmp_path)
    weights = folder / "demo_weights.c"
    text = weights.read_text()
    start = text.index("{", text.index("demo_digits"))
    number = re.compile(r"\d+").search(text, start)
    assert number
    other = str((int(number[0]) + 1) % 243)
    weights.write_text(text[: number.start()] + other + text[number.end() :])
    with pytest.raises(AssertionError, match="Error"):
        call(["make", "test", "CFLAGS=-O1"], folder)


def test_make_with_clang_keeps_to_flags_that_it_knows(tmp_path: Path) -> None:
    folder = write(generate(network()), tmp_path / "out")
    caches = {name: str(tmp_path / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    printed = call(
        ["make", "libdemo.a", f"CC={' '.join(ZIG)}", "CFLAGS=-O2 -mcpu=x86_64_v3"], folder, **caches
    )
    assert KEEP_LOOPS not in printed


@pytest.mark.parametrize("name", ["demo", "test", "install"])
def test_cmake_builds_and_tests(name: str, tmp_path: Path) -> None:
    write(generate(network(name), "x86-64-v3"), tmp_path)
    for cmake in CMAKE:
        call([cmake, "-S", ".", "-B", "build", f"-DCMAKE_C_COMPILER={GCC}"], tmp_path)
        assert KEEP_LOOPS in call([cmake, "--build", "build", "--verbose"], tmp_path)
        assert "100% tests passed" in call(["ctest"], tmp_path / "build")


# --- layouts -----------------------------------------------------------------------------------------

SKETCH = """\
#include <stdint.h>
#include <stdio.h>
struct {
    void begin(long) {}
    operator bool() { return true; }
    void println(const char *text) { puts(text); }
} Serial;
#include "selftest.ino"
int main() { setup(); loop(); }
"""
"""What Arduino puts around a sketch, as far as this one needs it."""


def test_the_arduino_library_and_its_sketch(tmp_path: Path) -> None:
    folder = write(generate(network(), "cortex-m4", layout="arduino"), tmp_path)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "README.md", "examples/selftest/demo_selftest.h", "examples/selftest/selftest.ino",
        "library.properties", "src/demo.c", "src/demo.h", "src/demo_weights.c", "src/demo_weights.h",
        "src/gatefold_kernels.h",
    ]  # fmt: skip
    call([GCC, *STRICT, "-O1", "-Isrc", "-c", "src/demo.c", "src/demo_weights.c"], folder)
    sketch = folder / "examples" / "selftest"
    (sketch / "main.cpp").write_text(SKETCH)
    for standard in ("gnu++11", "gnu++17"):
        command = ["g++", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-I../../src", "main.cpp"]
        call([*command, "../../demo.o", "../../demo_weights.o", "-o", "sketch"], sketch)
        assert call(["./sketch"], sketch) == "passed\n"
    properties = dict(
        line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines()
    )
    assert properties["name"] == "demo"
    assert properties["includes"] == "demo.h"


def test_the_zephyr_module(tmp_path: Path) -> None:
    source = generate(network(), "cortex-m4", layout="zephyr")
    folder = write(source, tmp_path)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "CMakeLists.txt", "Kconfig", "README.md", "include/demo.h", "src/demo.c", "src/demo_selftest.c",
        "src/demo_weights.c", "src/demo_weights.h", "src/gatefold_kernels.h", "zephyr/module.yml",
    ]  # fmt: skip
    (folder / "main.c").write_text("int demo_selftest(void);\nint main(void) { return demo_selftest(); }\n")
    sources = [f"src/demo{part}.c" for part in ("", "_weights", "_selftest")]
    call([GCC, *STRICT, "-O1", "-Iinclude", "-Ddemo_NO_MAIN", "main.c", *sources, "-o", "main"], folder)
    call(["./main"], folder)
    assert f"Needs {source.arena_bytes} bytes" in (folder / "Kconfig").read_text()
    listed = re.findall(r"src/\S+\.c", (folder / "CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(sources)


@pytest.mark.parametrize("layout", ["plain", "arduino", "zephyr"])
def test_no_self_test_leaves_none_behind(layout: str) -> None:
    source = generate(network(), vectors=0, layout=layout)
    assert not [path for path in source.files if path.endswith(("_selftest.c", "_selftest.h"))]
    assert "embedded samples" not in source.files["README.md"].decode()


# --- README, determinism -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_the_readme_says_what_was_planned(target: str) -> None:
    source: Source = generate(network(), target, vectors=5)
    readme = source.files["README.md"].decode()
    assert f"| arena, aligned to {source.arena_align} | {source.arena_bytes:,} |" in readme
    assert f"| constants | {source.constant_bytes:,} |" in readme
    assert "| `image` | in | `uint8_t` | 1x12x12 | [0, 255] |" in readme
    assert f"| `scores` | out | `int8_t` | 5 | {source.outputs[0].type.interval} |" in readme
    assert "| `value_class` | out | `uint8_t` | scalar | [0, 4] |" in readme
    assert "int error = demo_run(image, scores, value_class, memory.bytes, sizeof memory.bytes);" in readme
    assert "runs 5 embedded samples" in readme
    assert WARNINGS in readme
    assert TARGETS[target].summary in readme


def test_the_example_of_the_readme_compiles(tmp_path: Path) -> None:
    source = generate(network(), vectors=0)
    folder = write(source, tmp_path)
    code = source.files["README.md"].decode().split("```c\n")[1].split("```")[0]
    include, memory, line = code.strip().split("\n\n")
    arrays = "".join(
        f"static {p.c_type} {p.c_name}[{p.type.size}];\n" for p in (*source.inputs, *source.outputs)
    )
    text = f"{include}\n{memory}\n{arrays}int main(void)\n{{\n    {line}\n    return error;\n}}\n"
    (folder / "main.c").write_text(text)
    call(
        [GCC, *STRICT, "-O1", "-march=x86-64-v3", "main.c", "demo.c", "demo_weights.c", "-o", "main"],
        folder,
    )
    call(["./main"], folder)


@pytest.mark.parametrize("target", ["x86-64-v3", "avr"])
def test_same_program_same_bytes(target: str) -> None:
    for seed in (0, 1, 2):
        first, second = (generate(random_layer(seed, False), target).files for _ in range(2))
        assert first == second


def test_python_and_command_line_write_the_same(tmp_path: Path) -> None:
    folder = exporters.export(network(), "c99", tmp_path / "out")
    files = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    manifest = files.pop(".gatefold").decode()
    assert manifest.splitlines() == sorted(files)
    assert files == dict(generate(network()).files)
    assert all(content.isascii() and content.endswith(b"\n") for content in files.values())


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("plain", ["arm-none-eabi-gcc -Os", "`demo_selftest.c` runs 8 embedded samples"]),
        ("arduino", ["`libraries/`", "The example `selftest` runs 8 embedded samples"]),
        (
            "zephyr",
            ["`CONFIG_GATEFOLD_DEMO=y`", "`demo_selftest()` runs 8"],
        ),
    ],
)
def test_the_readme_says_how_its_own_layout_is_built_and_tested(layout: str, words: list[str]) -> None:
    files = generate(network(), "cortex-m4", layout=layout).files
    text = files["README.md"].decode()
    assert [word for word in words if word not in text] == []
    named = re.findall(r"`(\w+\.(?:c|h|ino))`", text)
    assert [name for name in named if not any(path.endswith(name) for path in files)] == []
