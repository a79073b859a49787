"""Names that may hold anything: none of them injects code, nor makes code that does not compile."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from exporters.c99.build import Source, generate
from exporters.c99.names import PROGRAMS, comment, parameters, program_prefix
from exporters.c99.plan import KERNELS
from runtime.ir import Builder, Program
from runtime.ops import Add, Concat, Conv2d, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.exporters.c99.natives import GCC, STRICT, Native, assert_equal, call, write

HOSTILE = (
    "*/ int evil; /*", "/*", "//", "??/", "??/*", "\\", '"', "'", '"; evil(); "', "a b", "a_ b",
    "é", "名前", "🙂", "-", "_", "__", "_Bool", "__attribute__", "0", "007", "1e9", "%s%n", "$(evil)",
    "`evil`", "#define", "#include <evil.h>", "int main() {", "};", "evil();", "../evil", "a/b",
    "C:\\evil", "x" * 200, "é" * 200, "run", "memory", "arena", "arena_bytes", "i", "outside",
    "NULL", "INT64_C", "UINT8_MAX", "INT64_MIN", "SIZE_MAX", "gf_lanes", "gf", "GF_STEP", "gf_step",
    "uint8_t", "uintptr_t", "size_t", "ptrdiff_t", "wchar_t", "main", "errno", "net", "net_run",
    "net_step0", "net_OK", "net_ERROR_NULL", "net_ARENA_BYTES", "net_ARENA_ALIGN", "net_weights",
    "net_y_SIZE", "net_selftest", "linux", "unix", "I", "complex", "EOF", "stdin", "assert", "true",
    "class", "int", "restrict", "inline", "new", "char8_t", "co_await", "typeof", "in0", "out",
    "y_out", "i0", "v", "c", "input0", "wanted0", "found0", "sample", "isalpha", "printf", "exp",
    "INPUT", "OUTPUT", "PI", "NAN", "INFINITY", "SIGINT",
)  # fmt: skip
"""Names of values, layers and programs, all of which the IR takes."""

HEADERS = ("complex", "ctype", "errno", "limits", "math", "signal", "stdio", "stdlib", "string", "wchar")


def named(
    inputs: list[str], name: str = "net", output: str = "y", layer: str = "", returned: bool = True
) -> Program:
    """A program that joins inputs of these names; they may be outputs as they are too."""
    b = Builder(name)
    b.at_layer(layer)
    values = [b.input(text, (1 + number % 3,), Interval(-9, 9)) for number, text in enumerate(inputs)]
    joined = b.add(Concat(), *values)
    b._nodes[-1] = type(b._nodes[-1])(Concat(), tuple(values), output, b.type_of(joined), layer)
    b._types[output] = b._types.pop(joined)
    return b.build(outputs=(output, *(values if returned else ())))


def identifiers(program: Program) -> list[str]:
    """Every word of the C of a program."""
    files = generate(program, name="net").files
    text = "".join(content.decode() for path, content in files.items() if path[-2:] in (".c", ".h"))
    return sorted(set(re.findall(r"[A-Za-z_]\w*", text)))


def small() -> Program:
    """A layer, thresholds and a sum: most of what generated code has words for."""
    b = Builder("net")
    x = b.input("x", (4, 5, 5), Interval(0, 3))
    conv = Conv2d(Weights(np.arange(144).reshape(4, 4, 3, 3) % 3 - 1, 3), None, (1, 1), (1, 1))
    bits = b.add(Threshold(np.ones((4, 1), int), np.ones(4, int)), b.add(conv, x))
    return b.build(outputs=(b.add(Add(), bits, x), bits))


# --- arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [0, 1])
def test_inputs_of_any_name_compile_and_run(half: int, tmp_path: Path) -> None:
    """Hostile names, and every other word that the generated code itself is made of: ctypes passes at most
    1,024 arguments."""
    words = [word for word in identifiers(small()) if word not in HOSTILE]
    assert {"net_run", "memory", "NULL", "gf_step", "uint8_t"} <= {*words, *HOSTILE}
    program = named([*HOSTILE, *words[half::2]], output="joined!", returned=False)
    native = Native(generate(program, "cortex-m4", name="net"), tmp_path, ("-O0",))
    assert_equal(native, program, 2, 0)
    for standard in ("c++98", "c++11", "c++20", "gnu++17"):
        (tmp_path / "use.cpp").write_text('#include "net.h"\n')
        call(["g++", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-c", "use.cpp"], tmp_path)
    includes = "".join(f"#include <{header}.h>\n" for header in HEADERS)
    (tmp_path / "use.c").write_text(f'{includes}#include "net.h"\n')
    for standard in ("gnu99", "gnu17", "c99"):
        call([GCC, f"-std={standard}", "-D_GNU_SOURCE", "-Wall", "-Werror", "-c", "use.c"], tmp_path)


def test_outputs_of_any_name_compile_and_run(tmp_path: Path) -> None:
    b = Builder("net")
    x = b.input("x", (2,), Interval(-9, 9))
    kept = []
    for name in HOSTILE:
        joined = b.add(Add(), x, x)
        b._nodes[-1] = type(b._nodes[-1])(Add(), (x, x), name, b.type_of(joined), name)
        b._types[name] = b._types.pop(joined)
        kept.append(name)
    program = b.build(outputs=(*kept, x))
    assert_equal(Native(generate(program), tmp_path, ("-O0",)), program, 2, 0)


def test_an_output_that_is_an_input_has_a_name_of_its_own() -> None:
    source = generate(named(["x", "x_out", "y_out"], output="x!"))
    assert [p.c_name for p in (*source.inputs, *source.outputs)] == [
        "x", "x_out", "y_out", "x_2", "x_out_2", "x_out_out", "y_out_out",
    ]  # fmt: skip


def test_array_names_are_distinct_and_plain() -> None:
    found = parameters([*HOSTILE, *(f"{name}!" for name in HOSTILE)], "net")
    assert len({name.lower() for name in found}) >= len(set(found)) - 8
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name) for name in found)
    assert max(map(len, found)) <= 60


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("image", "image"), ("a b", "a_b"), ("é", "value"), ("0", "value_0"), ("memory", "value_memory"),
        ("NULL", "value_NULL"), ("net_run", "value_net_run"), ("uintptr_t", "value_uintptr_t"),
        ("gf_unit", "value_gf_unit"), ("network", "network"), ("Image", "Image"), ("_x__y_", "x_y"),
    ],
)  # fmt: skip
def test_what_becomes_of_an_array_name(name: str, wanted: str) -> None:
    assert parameters([name], "net") == [wanted]


# --- programs and layers -----------------------------------------------------------------------------

LINKED = (
    "*/ int evil; /*", "stdint", "gatefold_kernels", "kernels", "KERNELS", "test", "net", "Net",
    "input", "run",
)  # fmt: skip
"""Names of programs that are linked into one executable, in one folder."""

TITLES = (
    *LINKED, '"; evil(); "', "??/", "\\", "é", "0", "int", "class", "main", "all", "clean",
    "stddef", "string", "time", "math", "gf_lanes", "NULL", "m", "c", "memory", "x" * 200,
    "selftest", "sample", "weights", "../evil", "$(evil)",
)  # fmt: skip


def test_programs_of_any_name_compile_link_and_run_together(tmp_path: Path) -> None:
    """All in one folder, which the compiler searches before its own, and in one executable."""
    programs = [named(["x", "run", "selftest", "OK"], title, layer=title) for title in LINKED]
    sources = [generate(program, "cortex-m4", vectors=2) for program in programs]
    names = [source.name for source in sources]
    assert len(set(names)) == len(LINKED)
    assert {"net_gatefold_kernels", "net_stdint", "net_test"} < set(names)
    link_and_run(sources, tmp_path)


def link_and_run(sources: Sequence[Source], folder: Path) -> None:
    """All programs in one folder and one executable, which runs their self-tests."""
    names = [source.name for source in sources]
    assert len({name for source in sources for name in source.files}) > 5 * len(names)
    for source in sources:
        write(source, folder)
    checks = "".join(f"int {n}_selftest(void);\n" for n in names)
    calls = "".join(f"    if ({n}_selftest()) return {i + 1};\n" for i, n in enumerate(names))
    uses = "".join(f'#include "{n}.h"\n' for n in names)
    (folder / "use.c").write_text(
        f'#include <stdio.h>\n{uses}{checks}int main(void)\n{{\n{calls}    return puts("right") < 0;\n}}\n'
    )
    files = [f"{n}{part}.c" for n in names for part in ("", "_weights", "_selftest")]
    defines = [f"-D{n}_NO_MAIN" for n in names]
    command = [GCC, *STRICT, "-I.", "-O0", *defines, "use.c", *files, "-o", "use"]
    call(command, folder)
    assert call(["./use"], folder) == "right\n"


def limited(name: str, count: int) -> Program:
    """A layer on few positions, with thresholds: its limits are of lanes, those of another of sums."""
    b = Builder(name)
    x = b.input("x", (8, 2, 2), Interval(0, 1))
    conv = Conv2d(Weights(np.arange(32 * 72).reshape(32, 8, 3, 3) % 3 - 1, 3), None, (1, 1), (1, 1))
    limits = np.tile(np.arange(count), (32, 1))
    return b.build(outputs=(b.add(Threshold(limits, np.ones(32, int)), b.add(conv, x)),))


def test_programs_whose_names_begin_with_another_link_and_run_together(tmp_path: Path) -> None:
    """``a_lane`` and ``limits`` are no ``a`` and ``lane_limits``, whatever the kernels of each."""
    made = {"a": "columns", "a_lane": "lanes", "a_sum": "words", "a_weights": "lanes", "a_step0": "columns"}
    sources = [
        generate(limited(name, 2 + number), "cortex-m4", vectors=2, kernel=kernel)
        for number, (name, kernel) in enumerate(made.items())
    ]
    link_and_run(sources, tmp_path)


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_have_one_word_behind_the_name_of_the_program(kernel: str) -> None:
    found = constant_names(generate(small(), "cortex-m4", name="a_b", kernel=kernel))
    assert found
    assert all(re.fullmatch(r"a_b_[a-z]+[0-9]*", name) for name in found)


def constant_names(source: Source) -> list[str]:
    """Names of the arrays that a program shows to a linker."""
    header = source.files[f"{source.name}_weights.h"].decode()
    return re.findall(r"^extern .*? GF_FLASH (\w+)\[", header, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a_weights", "aweights"), ("a selftest", "aselftest"), ("a_Batch", "aBatch"), ("weights", "weights")],
)
def test_no_program_is_called_as_a_file_of_another(name: str, wanted: str) -> None:
    assert generate(small(), name=name).name == wanted


@pytest.mark.parametrize("title", [*TITLES, *HOSTILE])
def test_program_names_make_plain_prefixes(title: str) -> None:
    name = program_prefix(title)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name)
    assert len(name) <= 53
    assert name.lower() not in PROGRAMS


def test_a_name_given_wins_over_the_programs() -> None:
    assert generate(small(), name="my-net 2").name == "my_net_2"
    assert generate(small(), name="").name == "net"


@pytest.mark.parametrize("text", HOSTILE)
def test_comments_hold_nothing_that_ends_them(text: str) -> None:
    assert not set(comment(text)) - set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._,:+()-"
    )
    for content in generate(named(["x"], name=text, layer=text), name="net").files.values():
        assert content.isascii()
