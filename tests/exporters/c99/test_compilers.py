"""Finding a C compiler, calling it, and what a user reads when it is missing, wrong, failing or hanging."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from exporters.c99 import compilers as module
from exporters.c99 import host
from exporters.c99.compilers import (
    C_COMPILER,
    Compiler,
    compile_files,
    compile_flags,
    compile_shared,
    find_compiler,
    identify,
    shared_flags,
    target_flags,
)
from exporters.c99.host import find_host_target, host_targets, runnable
from exporters.c99.library import Library
from exporters.c99.targets import TARGETS
from runtime.errors import GatefoldError, InputError, MissingToolError
from tests.compilers import COMPILERS
from tests.fake_programs import CLANG_VERSION, write_compiler, write_program

ANSWER = {
    "answer.h": b"int answer(int seven);\n",
    "answer.c": b'#include "answer.h"\nint answer(int seven) { return 6 * seven; }\n',
}

EXPORTED = {
    **ANSWER,
    "answer.h": b"#if defined(_WIN32)\n__declspec(dllexport)\n#else\n"
    b'__attribute__((visibility("default")))\n#endif\nint answer(int seven);\n',
}

FILL = {
    "fill.c": b"#include <stddef.h>\n"
    b"void fill(char *at, size_t count);\n"
    b"void copy(char *restrict to, const char *restrict from, size_t count);\n"
    b"void fill(char *at, size_t count) { for (size_t i = 0; i < count; i++) at[i] = 0; }\n"
    b"void copy(char *restrict to, const char *restrict from, size_t count)\n"
    b"{ for (size_t i = 0; i < count; i++) to[i] = from[i]; }\n"
}

PORTABLE = host_targets()["portable"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, without anything of the tests' environment."""
    monkeypatch.delenv(C_COMPILER.variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def fake(command: Path, kind: str = "gcc") -> Compiler:
    return Compiler(f"{kind} 1", (str(command),), kind, "")


# --- finding one -------------------------------------------------------------------------------------


def test_the_systems_compilers_come_first_and_broken_ones_are_passed_over(path: Path) -> None:
    write_compiler(path / "clang", version=CLANG_VERSION)
    assert find_compiler() == Compiler(
        "clang 18.1.3", (str(path / "clang"),), "clang", CLANG_VERSION + "\n"
    )


def test_cc_is_preferred_unless_it_does_not_run(path: Path) -> None:
    write_compiler(path / "gcc")
    write_program(path / "cc", "echo 'install the command line tools' >&2; exit 1")
    assert find_compiler().command == (str(path / "gcc"),)


def test_ziglang_is_the_compiler_where_the_system_has_none(path: Path) -> None:
    found = find_compiler()
    assert found.command == (sys.executable, "-P", "-m", "ziglang", "cc")
    assert found.kind == "zig"
    assert re.fullmatch(r"zig \d+\.\d+\.\d+", found.name)
    assert module.missing() is None


def test_no_compiler_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_zig_command", lambda: ())
    module._find.cache_clear()
    try:
        with pytest.raises(MissingToolError) as caught:
            find_compiler()
    finally:
        module._find.cache_clear()
    needs = "needs a C compiler: install gcc or clang, or pip install 'gatefold[c99]'"
    assert str(caught.value) == f"executor c99 {needs}"
    assert module.missing() == needs


def test_the_environment_names_the_compiler(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_compiler(path / "cc")
    other = write_compiler(path.parent / "other", version=CLANG_VERSION)
    monkeypatch.setenv(C_COMPILER.variable, f"{other} -v")
    write_compiler(other, f"test $1 = -v && echo '{CLANG_VERSION}'")
    assert (find_compiler().command, find_compiler().kind) == ((str(other), "-v"), "clang")


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("exit 1", InputError, "it does not say its version; correct or unset it"),
        ("echo 'tcc version 0.9.27'", InputError, "it does not say its version; correct or unset it"),
        (None, MissingToolError, "it starts with no program; correct or unset it"),
    ],
)
def test_an_override_that_is_no_compiler(
    script: str | None,
    error: type[GatefoldError],
    message: str,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if script:
        write_program(path / "mycc", script)
    monkeypatch.setenv(C_COMPILER.variable, "mycc")
    with pytest.raises(error) as caught:
        find_compiler()
    must = "must name GCC, Clang or zig cc" if script else "must be the command of a C compiler"
    assert str(caught.value) == f"GATEFOLD_CC {must}, not 'mycc': {message}"
    assert module.missing() == f"has no compiler: {caught.value}"


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("gcc (Debian 12.2.0-14) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.", "gcc 12.2.0"),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)\nTarget: arm64-apple-darwin23.6.0", "clang 15.0.0"),
        ("clang version 18.1.6 (https://github.com/ziglang/zig-bootstrap 98bc6bf4)", "zig 18.1.6"),
        ("Microsoft (R) C/C++ Optimizing Compiler Version 19.38", None),
    ],
)
def test_a_compiler_is_known_by_what_it_says(version: str, name: str | None, tmp_path: Path) -> None:
    found = identify((str(write_compiler(tmp_path / "cc", version=version)),))
    assert (found.name if found else None) == name


# --- flags -------------------------------------------------------------------------------------------


def test_flags_of_every_kind_of_compiler() -> None:
    promised = "-O3 -std=c99 -pedantic -Wall -Wextra -Werror -ffreestanding "
    wanted = {
        "gcc": promised + "-fno-tree-loop-distribute-patterns -march=x86-64-v2",
        "clang": promised + "-fno-builtin -march=x86-64-v2",
        "zig": promised + "-fno-builtin -fno-sanitize=undefined -target x86_64-linux-gnu -mcpu=x86_64_v2",
    }
    for kind, flags in wanted.items():
        assert " ".join(compile_flags(Compiler("", (), kind, ""), TARGETS["x86-64-v2"])) == flags
    assert compile_flags(Compiler("", (), "gcc", ""), TARGETS["cortex-m4"], "-O1")[0] == "-O1"


def test_flags_of_a_shared_object() -> None:
    gcc, clang = (Compiler("", (), kind, "") for kind in ("gcc", "clang"))
    assert shared_flags(gcc, "linux") == ("-shared", "-fPIC", "-fvisibility=hidden", "-nostdlib")
    assert shared_flags(gcc, "win32") == ("-shared", "-fPIC", "-nostdlib")
    assert shared_flags(clang, "darwin") == ("-shared", "-fPIC", "-fvisibility=hidden")


def test_an_unknown_level_of_optimization() -> None:
    with pytest.raises(InputError) as caught:
        compile_flags(Compiler("", (), "gcc", ""), PORTABLE, "-O9")
    assert str(caught.value) == "optimize must be one of -O0, -O1, -O2, -O3, -Os, not '-O9'"


# --- the target of this machine ----------------------------------------------------------------------

V2 = ["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]
V3 = [*V2, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]
V4 = [*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]


@pytest.mark.parametrize(
    ("machine", "flags", "names"),
    [
        ("x86_64", ["sse2"], []),
        ("x86_64", V2, ["x86-64-v2"]),
        ("amd64", V3[:-1], ["x86-64-v2"]),
        ("x86_64", V3, ["x86-64-v2", "x86-64-v3"]),
        ("x86_64", V4, ["x86-64-v2", "x86-64-v3", "x86-64-v4"]),
        ("x86_64", [*V2, *V4[-5:]], ["x86-64-v2"]),
        ("x86_64", None, ["x86-64-v2"]),
        ("arm64", None, ["arm64"]),
        ("aarch64", [], ["arm64"]),
        ("ppc64le", None, []),
        ("riscv64", ["rv64imafdc"], []),
    ],
)
def test_the_targets_a_machine_runs(machine: str, flags: list[str] | None, names: list[str]) -> None:
    assert list(runnable(machine, flags)) == ["portable", *names]


def test_instructions_beyond_a_level_are_used_only_where_they_are() -> None:
    gcc, zig = (Compiler("", (), kind, "") for kind in ("gcc", "zig"))
    counts, looks, quads = "avx512_vpopcntdq", "avx512vbmi", "avx512_vnni"
    added = ([counts, looks, quads], [counts], [looks], [quads], [])
    every, only, other, third, slow = (runnable("x86_64", [*V4, *flags])["x86-64-v4"] for flags in added)
    assert target_flags(gcc, every) == (*TARGETS["x86-64-v4"].gcc, "-mtune=native")
    assert {"-mavx512vpopcntdq", "-mavx512vbmi", "-mavx512vnni"} <= set(target_flags(gcc, every))
    assert "-mavx512vbmi" not in target_flags(gcc, only)
    assert "-mavx512vpopcntdq" not in target_flags(gcc, other)
    assert "-mavx512vnni" in target_flags(gcc, third)
    assert target_flags(gcc, slow) == ("-march=x86-64-v4", "-mprefer-vector-width=512", "-mtune=native")
    assert target_flags(zig, every) == ("-mcpu=x86_64_v4+avx512vpopcntdq+avx512vbmi+avx512vnni",)
    assert target_flags(zig, only) == ("-mcpu=x86_64_v4+avx512vpopcntdq",)
    assert target_flags(zig, slow) == ("-mcpu=x86_64_v4",)
    assert only.costs.word < 1 < slow.costs.word
    assert (slow.block, slow.positions, slow.lane) == (1, 1, 512)
    assert other.costs.look > 0 == only.costs.look == slow.costs.look
    assert third.costs.quad > 0 == only.costs.quad == slow.costs.quad


def test_a_portable_target_has_no_flags_of_a_machine() -> None:
    assert target_flags(Compiler("", (), "gcc", ""), PORTABLE) == ()
    assert target_flags(Compiler("", (), "zig", ""), PORTABLE) == ("-mcpu=baseline",)


def test_the_best_target_is_the_hosts() -> None:
    assert find_host_target() is list(host_targets().values())[-1]
    assert find_host_target("portable") is PORTABLE
    with pytest.raises(InputError) as caught:
        find_host_target("cortex-m4")
    names = ", ".join(("host", *host_targets()))
    assert str(caught.value) == (
        f"on this machine the target of executor c99 must be one of {names}, not 'cortex-m4'"
    )


def test_processor_flags_are_read_where_linux_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path / "cpuinfo"
    monkeypatch.setattr(host, "CPUINFO", listing)
    assert host._cpu_flags() is None
    listing.write_text("processor\t: 0\nflags\t\t: fpu  sse2\nbugs\t: none\n\nflags\t: other\n")
    assert host._cpu_flags() == ["fpu", "sse2"]
    listing.write_text("processor\t: 0\nFeatures\t: asimd\n")
    assert host._cpu_flags() is None


# --- calling it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPILERS)
def test_a_shared_object_loads_and_answers(kind: str, temporary: Path) -> None:
    library = Library(compile_shared(EXPORTED, COMPILERS[kind], find_host_target()))
    assert library.functions.answer(7) == 42
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("kind", COMPILERS)
def test_loops_that_fill_and_copy_call_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "fill.so").write_bytes(compile_shared(FILL, COMPILERS[kind], find_host_target()))
    command = ["nm", "-D", "--undefined-only", str(tmp_path / "fill.so")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == ""


@pytest.mark.parametrize("kind", COMPILERS)
def test_files_in_folders_become_what_the_flags_say(kind: str) -> None:
    files = {"own.c": b'#include "sub/answer.h"\nint answer(int seven) { return seven; }\n'}
    flags = (*compile_flags(COMPILERS[kind], find_host_target()), "-c")
    made = compile_files(
        {**files, "sub/answer.h": ANSWER["answer.h"]}, COMPILERS[kind], "for a test", flags
    )
    assert b"answer" in made


@pytest.mark.parametrize("kind", COMPILERS)
def test_a_failing_compilation_is_one_line_and_keeps_what_it_had(kind: str, temporary: Path) -> None:
    files = {**ANSWER, "broken.c": b"int broken(void)\n{\n    return nothing;\n}\n"}
    with pytest.raises(GatefoldError) as caught:
        compile_shared(files, COMPILERS[kind], PORTABLE)
    (folder,) = temporary.iterdir()
    head = f"compiling answer for portable with {COMPILERS[kind].name} failed: broken.c:3:12: error: "
    assert str(caught.value).startswith(head)
    assert "nothing" in str(caught.value)
    assert str(caught.value).endswith(f"; sources and compile.log are in {folder}")
    assert "\n" not in str(caught.value)
    assert (folder / "broken.c").read_bytes() == files["broken.c"]
    assert "broken.c:3:12" in (folder / "compile.log").read_text()
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'note: looking'; echo 'x.c:1: error:  bad   thing'; echo 'error: later'; exit 1",
         "x.c:1: error: bad thing"),
        ("printf 'warm\\ncollect2: ld returned 1\\n\\n' >&2; exit 1", "collect2: ld returned 1"),
        ("printf '\\033[31merror:\\033[m \\377\\000 odd' >&2; exit 1",
         "[31merror:[m \N{REPLACEMENT CHARACTER} odd"),
        ("exit 7", "it ended with 7 and no message"),
        ("exit 0", "it ended with 0 and no message"),
        ("kill -SEGV $$", "it was ended by signal 11"),
        ("yes error: again | head -c 3000000; exit 1", "error: again"),
    ],
)  # fmt: skip
def test_what_a_failing_compiler_said(script: str, reason: str, tmp_path: Path, temporary: Path) -> None:
    compiler = fake(write_program(tmp_path / "cc", script))
    with pytest.raises(GatefoldError) as caught:
        compile_files(ANSWER, compiler, "for a test", ())
    (folder,) = temporary.iterdir()
    assert str(caught.value) == (
        f"compiling answer for a test with gcc 1 failed: {reason}; sources and compile.log are in {folder}"
    )


def test_a_compiler_that_hangs_is_stopped(tmp_path: Path, temporary: Path) -> None:
    compiler = fake(write_program(tmp_path / "cc", "sleep 300"))
    with pytest.raises(GatefoldError) as caught:
        compile_shared(ANSWER, compiler, PORTABLE, timeout=0.5)
    (folder,) = temporary.iterdir()
    assert str(caught.value) == (
        "compiling answer for portable with gcc 1 took more than 0.5 seconds; it was stopped; "
        f"sources and compile.log are in {folder}"
    )


def test_no_place_to_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(GatefoldError) as caught:
        compile_files(ANSWER, fake(tmp_path), "for a test", ())
    assert str(caught.value) == (
        "compiling answer for a test with gcc 1 failed: No such file or directory in TMPDIR"
    )
