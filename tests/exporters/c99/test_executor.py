"""Executor c99: equal bits with every compiler, one compilation per program, no foreign code."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from exporters.c99 import cache, compilers, executor, library
from exporters.c99.build import ERROR_ARENA, generate
from exporters.c99.cache import Cache
from exporters.c99.compilers import C_COMPILER, compile_files
from exporters.c99.executor import C99Executor, batch_source
from exporters.c99.host import host_targets
from exporters.c99.library import Library
from runtime.errors import GatefoldError, InputError, MissingToolError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Add, Conv2d, Mul, Threshold
from runtime.session import ExecutorRow, Session
from runtime.types import IntArray, Interval
from runtime.weights import Weights
from tests.compilers import COMPILERS
from tests.fake_programs import write_compiler
from tests.programs import random_inputs, value_set_program

ROW = ExecutorRow(
    "exporters.c99.executor:C99Executor",
    "generated C",
    check="exporters.c99.compilers:missing",
)
TABLE = {"c99": ROW}


def tiny(name: str = "tiny", bias: int = 0) -> Program:
    """A convolution with thresholds, and a sum of two inputs of different types."""
    b = Builder(name)
    image = b.input("image", (2, 4, 3), Interval(0, 9))
    extra = b.input("extra", (3,), Interval(-300, 300))
    weights = Weights(np.arange(2 * 2 * 3 * 3).reshape(2, 2, 3, 3) % 3 - 1, 3)
    sums = b.add(Conv2d(weights, np.array([bias, 1]), padding=(1, 1)), image, name="sums")
    bits = b.add(Threshold(np.array([[1], [2]]), np.array([1, -1])), sums, name="bits")
    doubled = b.add(Add(), extra, extra, name="doubled")
    return b.build(outputs=(sums, bits, doubled))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache, and the compiler of the system."""
    monkeypatch.setenv("GATEFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(C_COMPILER.variable, raising=False)
    return tmp_path / "cache" / "c99"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled, by the name of the program."""
    found: list[str] = []
    real = compilers.compile_shared

    def compile_shared(files: dict[str, bytes], *rest: object) -> bytes:
        found.append(next(path for path in files if path.endswith("_batch.c")).removesuffix("_batch.c"))
        return real(files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(executor, "compile_shared", compile_shared)
    return found


def assert_right(program: Program, engine: C99Executor | Session, count: int = 3) -> None:
    inputs = random_inputs(program, count, seed=count)
    expected = Interpreter(program).run(inputs)
    found = engine.run(inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array), name


# --- equal bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", host_targets())
@pytest.mark.parametrize("kind", COMPILERS)
def test_every_compiler_and_target_gives_the_interpreters_bits(
    kind: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(C_COMPILER.variable, " ".join(COMPILERS[kind].command))
    program = value_set_program(5)
    level = "" if target == list(host_targets())[-1] else "-O1"
    engine = C99Executor(program, target=target, threads=2, optimize=level)
    assert engine.compiler.kind == kind
    assert engine.source.target.name == target
    for count in (1, 2, 9):
        assert_right(program, engine, count)


def test_batches_threads_and_callers_of_any_number() -> None:
    program = tiny()
    empty = {spec.name: np.empty((0, *spec.type.shape), int) for spec in program.inputs}
    for threads in (1, 2, 5):
        engine = C99Executor(program, threads=threads)
        assert engine.run(empty)["sums"].shape == (0, 2, 4, 3)
        for count in (1, 2, 7):
            assert_right(program, engine, count)
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(assert_right, program, engine, count) for count in range(1, 60)]:
                done.result()


def test_outputs_have_the_smallest_dtypes_and_inputs_any() -> None:
    program = tiny()
    engine = C99Executor(program)
    inputs = random_inputs(program, 4, seed=0)
    expected = Interpreter(program).run(inputs)
    image, extra = inputs["image"], inputs["extra"]
    raw = np.zeros(extra.size * 2 + 1, np.uint8)
    unaligned = raw[1:].view(np.int16).reshape(extra.shape)
    unaligned[...] = extra
    readonly = image.astype(np.uint8)
    readonly.flags.writeable = False
    forms: list[tuple[IntArray, IntArray]] = [
        (image.astype(np.uint8), unaligned),
        (readonly, extra.astype(np.int32)),
        (np.asfortranarray(image), extra[::-1][::-1]),
        (np.repeat(image, 2, axis=0)[::2], np.broadcast_to(extra, extra.shape)),
    ]
    assert not unaligned.flags.aligned
    for first, second in forms:
        found = engine.run({"image": first, "extra": second})
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert {name: str(array.dtype) for name, array in found.items()} == {
        name: str(program.types[name].interval.dtype) for name in program.outputs
    }


def test_truth_values_are_inputs_too() -> None:
    b = Builder("truth")
    x = b.input("x", (3,), Interval(0, 1))
    program = b.build(outputs=(b.add(Mul(), x, x, name="y"),))
    array = np.array([[True, False, True]])
    assert C99Executor(program).run({"x": array})["y"].tolist() == [[1, 0, 1]]


def test_names_of_any_kind_make_c_that_compiles() -> None:
    b = Builder("int */ main() {")
    x = b.input("array0", (2,), Interval(-5, 5))
    y = b.input("arena", (2,), Interval(-5, 5))
    assert_right(program := b.build(outputs=(b.add(Mul(), x, y, name="count"), x)), C99Executor(program))


def test_a_session_runs_it_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    program = tiny()
    monkeypatch.setattr("runtime.session.CHUNK_BYTES", 500)
    session = Session(program, "c99", TABLE, threads=2)
    assert session.chunk == 500 // (24 + 6 + 24 + 24 + 6)
    assert_right(program, session, 23)


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"target": "avr"}, f"on this machine the target of executor c99 must be one of host, "
                            f"{', '.join(host_targets())}, not 'avr'"),
        ({"optimize": "fast"}, "optimize must be one of -O0, -O1, -O2, -O3, -Os, not 'fast'"),
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Session(tiny(), "c99", TABLE, **options)
    assert str(caught.value) == message


def test_a_value_outside_its_interval_is_an_error_also_in_a_thread() -> None:
    for threads in (1, 2):
        engine = C99Executor(tiny(), threads=threads)
        inputs = random_inputs(tiny(), 6, seed=1)
        inputs["image"][5, 1, 3, 2] = 10
        with pytest.raises(InputError) as caught:
            engine.run(inputs)
        assert str(caught.value) == (
            "inputs must be 'image' in [0, 9], 'extra' in [-300, 300]; a value is outside"
        )
        assert_right(tiny(), engine)


def test_any_other_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = C99Executor(tiny())
    inputs = random_inputs(tiny(), 1, seed=1)
    for code, reason in ((ERROR_ARENA, "the arena is too small"), (99, "error 99")):
        monkeypatch.setattr(engine, "_run", lambda *_, code=code: code)
        with pytest.raises(GatefoldError, match=f"^executor c99: tiny_run says {reason}$"):
            engine.run(inputs)


def test_the_row_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ROW.missing() is None
    monkeypatch.setenv(C_COMPILER.variable, "no-such-compiler")
    why = (
        "has no compiler: GATEFOLD_CC must be the command of a C compiler, not 'no-such-compiler': "
        "it starts with no program; correct or unset it"
    )
    assert ROW.missing() == why
    with pytest.raises(MissingToolError, match=r"^executor c99 has no compiler: GATEFOLD_CC "):
        Session(tiny(), "c99", TABLE)


def test_a_compiler_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken = write_compiler(tmp_path / "gcc", "echo 'tiny.c:1:1: error: no' >&2; exit 1")
    monkeypatch.setenv(C_COMPILER.variable, str(broken))
    with pytest.raises(GatefoldError) as caught:
        Session(tiny(), "c99", TABLE)
    target = list(host_targets())[-1]
    head = (
        f"compiling tiny for {target} with gcc 9.1.0 failed: tiny.c:1:1: error: no; sources and compile.log"
    )
    assert str(caught.value).startswith(head)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == []


def test_a_compiler_for_another_machine_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    foreign = write_compiler(
        tmp_path / "gcc", 'while [ "$1" != -o ]; do shift; done; echo not an object > "$2"'
    )
    monkeypatch.setenv(C_COMPILER.variable, str(foreign))
    with pytest.raises(GatefoldError) as caught:
        Session(tiny(), "c99", TABLE)
    assert str(caught.value).startswith("the compiled program cannot be loaded: ")
    assert str(caught.value).endswith(
        "; GATEFOLD_CC must be a compiler for this machine, and TMPDIR a folder that allows execution"
    )


# --- the cache ---------------------------------------------------------------------------------------


def test_a_program_is_compiled_once(calls: list[str], folder: Path) -> None:
    for _ in range(3):
        assert_right(tiny(), C99Executor(tiny()))
    assert calls == ["tiny"]
    assert len(list(folder.iterdir())) == 1


def test_whatever_changes_the_code_compiles_anew(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    C99Executor(tiny(), optimize="-O0")
    C99Executor(tiny("other"), optimize="-O0")
    C99Executor(tiny(bias=1), optimize="-O0")
    C99Executor(tiny(), optimize="-O1")
    C99Executor(tiny(), optimize="-O0", target="portable")
    real = executor.find_compiler()
    newer = compilers.Compiler(real.name, real.command, real.kind, real.version + "updated")
    monkeypatch.setattr(executor, "find_compiler", lambda: newer)
    C99Executor(tiny(), optimize="-O0")
    assert calls == ["tiny", "other", *["tiny"] * 4]
    assert len(list(folder.iterdir())) == 6


def test_a_cache_that_cannot_be_written_is_no_error(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GATEFOLD_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert_right(tiny("unwritable"), C99Executor(tiny("unwritable")))
    assert calls == ["unwritable"]  # kept as long as this process lives


EVIL = b"""\
int creat(const char *path, unsigned mode);
__attribute__((constructor)) static void enter(void);
static void enter(void) { (void)creat(MARKER, 0600u); }
"""


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """A shared object that makes a file when it is loaded, and that file."""
    marker = tmp_path_factory.mktemp("evil") / "loaded"
    compiler = next(iter(COMPILERS.values()))
    code = EVIL.replace(b"MARKER", f'"{marker}"'.encode())
    return compile_files(
        {"evil.c": code}, compiler, "for a test", ("-shared", "-fPIC", "-nostdlib")
    ), marker


def test_the_evil_object_would_show(evil: tuple[bytes, Path]) -> None:
    content, marker = evil
    Library(content)
    assert marker.exists()
    marker.unlink()


def foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


def linked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def other_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "f', 1))


def bare(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


@pytest.mark.parametrize(
    "plant", [foreign, linked, other_header, bare, lambda path, _: path.chmod(0o666)],
    ids=["foreign", "linked", "digest", "bare", "writable"],
)  # fmt: skip
def test_a_planted_object_is_never_loaded(
    plant: Callable[[Path, pytest.MonkeyPatch], None],
    evil: tuple[bytes, Path],
    calls: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, marker = evil
    C99Executor(tiny(), optimize="-O1")
    (path,) = folder.iterdir()
    Cache(folder).store(path.stem, content)
    plant(path, monkeypatch)
    assert_right(tiny(), C99Executor(tiny(), optimize="-O1"))
    assert not marker.exists()
    assert calls == ["tiny", "tiny"]


def test_two_processes_compile_at_once(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.exporters.c99.test_executor import assert_right, tiny\n"
        "from exporters.c99.executor import C99Executor\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "assert_right(tiny(), C99Executor(tiny(), optimize='-O1'))\n"
    )
    root = str(Path(executor.__file__).parents[2])
    command = [sys.executable, "-c", script, root]
    pair = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in pair:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    outputs: list[object] = []
    threads = [threading.Thread(target=lambda p=p: outputs.append(p.communicate("go\n"))) for p in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.returncode for process in pair] == [0, 0]
    (path,) = folder.iterdir()
    assert Cache(folder).load(path.stem) is not None


# --- loading -----------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_libraries_are_kept_apart_and_closed(calls: list[str]) -> None:
    programs = [tiny(bias=bias) for bias in (0, 1, 2)]
    engines = [C99Executor(program, optimize="-O1") for program in programs]
    for program, engine in zip(programs, engines, strict=True):
        assert_right(program, engine)
    del engine
    gc.collect()
    before = descriptors()
    engines.pop(0)
    gc.collect()
    assert descriptors() == before - 1
    again = C99Executor(programs[0], optimize="-O1")  # takes the same descriptor
    for program, other in zip(programs, [again, *engines], strict=True):
        assert_right(program, other)
    assert len(calls) == 3


def test_where_memory_cannot_be_executed_a_private_file_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    C99Executor(tiny())
    monkeypatch.setattr(library, "_open_in_memory", lambda content: None)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    engine = C99Executor(tiny())
    assert list(temporary.iterdir()) == []
    assert_right(tiny(), engine)


def test_no_memory_descriptors_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", fail)
    assert_right(tiny(), C99Executor(tiny()))


def test_the_loop_over_a_batch() -> None:
    text = batch_source(generate(tiny(), vectors=0))
    assert text.splitlines()[-8:] == [
        "{",
        "    for (size_t i = 0; i < count; i++) {",
        "        const int error = tiny_run(array0 + i * 24u, array1 + i * 3u, array2 + i * 24u, "
        "array3 + i * 24u, array4 + i * 3u, arena, arena_bytes);",
        "        if (error)",
        "            return error;",
        "    }",
        "    return 0;",
        "}",
    ]
    assert "GF_EXPORT int tiny_run_batch(const uint8_t *array0, const int16_t *array1, " in text


def test_the_format_of_the_cache_is_part_of_the_key(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    C99Executor(tiny(), optimize="-O1")
    monkeypatch.setattr(cache, "FORMAT", 2)
    C99Executor(tiny(), optimize="-O1")
    assert calls == ["tiny", "tiny"]
