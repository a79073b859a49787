"""Bad input: one clear error, and nothing is touched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import exporters
from exporters.c99.build import (
    ERROR_ALIGN,
    ERROR_ARENA,
    ERROR_NULL,
    ERROR_RANGE,
    ERRORS,
    OK,
    generate,
)
from exporters.c99.targets import TARGETS
from runtime.errors import GatefoldError, InputError, ProgramError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Add, Conv2d, Dense, Op, Square, Threshold
from runtime.serialize import save
from runtime.types import Interval
from runtime.weights import Weights
from tests.exporters.c99.natives import Native
from toolchain.cli import main


def program() -> Program:
    """Inputs and outputs of every size of element."""
    b = Builder("net")
    image = b.input("image", (3, 6, 5), Interval(0, 9))
    short = b.input("short", (4,), Interval(-300, 300))
    wide = b.input("wide", (4,), Interval(-(2**40), 2**40))
    whole = b.input("whole", (7,), Interval(-128, 127))
    rng = np.random.default_rng(0)
    weights = Weights(rng.integers(-1, 2, (8, 3, 3, 3)), 3)
    conv = b.add(Conv2d(weights, None, (1, 1), (1, 1)), image)
    bits = b.add(Threshold(rng.integers(-9, 9, (8, 1)), np.ones(8, int)), conv, name="bits")
    total = b.add(Add(), short, wide, name="total")
    squares = b.add(Square(), short, name="squares")
    return b.build(outputs=(bits, total, squares, whole))


def sample() -> dict[str, np.ndarray]:
    """One sample of its inputs, at the ends of the intervals."""
    return {
        "image": np.resize(np.arange(10), (3, 6, 5)),
        "short": np.array([-300, 300, 0, 7]),
        "wide": np.array([-(2**40), 2**40, 0, -5]),
        "whole": np.array([-128, 127, 0, 1, 2, 3, 4]),
    }


@pytest.fixture(scope="module", params=["x86-64-v3", "cortex-m4"])
def native(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Native:
    """The program on two layouts."""
    return Native(generate(program(), request.param, vectors=0), tmp_path_factory.mktemp("native"))


# --- a call ------------------------------------------------------------------------------------------


def test_codes_are_as_the_header_says(native: Native) -> None:
    header = native.source.files["net.h"].decode()
    lines = [line for line in header.splitlines() if "= " in line and "net_" in line]
    found = [line.split("/*")[0].strip(" ,") for line in lines]
    assert found == [f"net_{name} = {code}" for code, name in enumerate(ERRORS)]
    assert (OK, ERROR_NULL, ERROR_ARENA, ERROR_ALIGN, ERROR_RANGE) == (0, 1, 2, 3, 4)


def test_a_right_call(native: Native) -> None:
    code, found, touched = native.call(sample())
    expected = Interpreter(program()).run({name: array[None] for name, array in sample().items()})
    assert (code, touched) == (OK, False)
    assert all(np.array_equal(found[name], expected[name][0]) for name in expected)


def test_null(native: Native) -> None:
    names = [port.c_name for port in native.ports]
    assert names == ["image", "value_short", "wide", "whole", "bits", "total", "squares", "whole_out"]
    for name in (*names, "arena"):
        code, _, touched = native.call(sample(), null=name)
        assert (name, code, touched) == (name, ERROR_NULL, False)


def test_an_arena_that_is_too_small(native: Native) -> None:
    size = native.source.arena_bytes
    for wrong in (size - 1, size // 2, 1, 0):
        code, _, touched = native.call(sample(), arena_bytes=wrong)
        assert (wrong, code, touched) == (wrong, ERROR_ARENA, False)
    for right in (size, size + 1, size + 999):
        code, _, touched = native.call(sample(), arena_bytes=right)
        assert (right, code, touched) == (right, OK, False)


def test_misaligned_memory(native: Native) -> None:
    align = native.source.arena_align
    for shift in range(1, align):
        code, _, touched = native.call(sample(), shift={"arena": shift})
        assert (shift, code, touched) == (shift, ERROR_ALIGN, False)
    assert native.call(sample(), shift={"arena": align})[0] == OK
    for port in native.ports:
        for shift in range(1, port.dtype.itemsize):
            code, _, touched = native.call(sample(), shift={port.c_name: shift})
            assert (port.c_name, shift, code, touched) == (port.c_name, shift, ERROR_ALIGN, False)
        code, found, touched = native.call(sample(), shift={port.c_name: port.dtype.itemsize})
        assert (code, touched, found["squares"].tolist()) == (OK, False, [90_000, 90_000, 0, 49])


@pytest.mark.parametrize(
    ("name", "value"),
    [("image", 10), ("image", 255), ("short", 301), ("short", -301), ("short", -(2**15)),
     ("wide", 2**40 + 1), ("wide", -(2**40) - 1), ("wide", 2**63 - 1), ("wide", -(2**63))],
)  # fmt: skip
def test_a_value_outside_its_interval(native: Native, name: str, value: int) -> None:
    for place in (0, -1):
        arrays = sample()
        arrays[name].reshape(-1)[place] = value
        code, _, touched = native.call(arrays)
        assert (code, touched) == (ERROR_RANGE, False)


def test_a_failed_call_leaves_nothing_behind(native: Native) -> None:
    first = native.call(sample())[1]
    assert native.call(sample(), arena_bytes=0)[0] == ERROR_ARENA
    again = native.call(sample())[1]
    assert all(np.array_equal(first[name], again[name]) for name in first)


# --- an export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "z80"}, f"target must be one of {', '.join(TARGETS)}, not 'z80'"),
        ({"target": "x" * 500}, f"target must be one of {', '.join(TARGETS)}, not '{'x' * 79}"),
        ({"layout": "cargo"}, "layout must be one of plain, arduino, zephyr, not 'cargo'"),
        (
            {"kernel": "fast"},
            "kernel must be one of auto, lanes, columns, words, nibbles, quads, integers, listed, "
            "not 'fast'",
        ),
    ],
)
def test_unknown_choices(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        generate(program(), **options)  # type: ignore[arg-type]
    assert str(caught.value) == message


def _linear(shape: tuple[int, ...], op: Op) -> Program:
    b = Builder("big")
    return b.build(outputs=(b.add(op, b.input("x", shape, Interval(0, 255))),))


def _ones(*shape: int, levels: int = 3) -> Weights:
    return Weights(np.ones(shape, np.int8), levels)


@pytest.mark.parametrize(
    ("network", "target", "message"),
    [
        (
            _linear((300,), Dense(_ones(2000, 300))),
            "avr",
            "the constants take N bytes, more than avr can address; "
            "choose another target or a smaller network",
        ),
        (
            _linear((300,), Dense(_ones(800, 300))),
            "avr",
            "the constant big_masks takes N bytes, more than an array may have on avr; "
            "choose another target or a smaller network",
        ),
        (
            _linear((3, 200, 200), Conv2d(_ones(4, 3, 1, 1), None, (8, 8))),
            "avr",
            "the arena and the arrays of one call take N bytes, more than avr has room for; "
            "choose another target or a smaller network",
        ),
        (
            _linear((1, 1, 65_530), Conv2d(_ones(1, 1, 1, 1))),
            "x86-64-v3",
            "conv2d: c99 takes at most 65504 channels, rows, columns and bytes of one output's weights",
        ),
        (
            _linear((1, 300, 301), Conv2d(_ones(1, 1, 300, 300, levels=64))),
            "cortex-m4",
            "conv2d: c99 takes at most 65504 channels, rows, columns and bytes of one output's weights",
        ),
    ],
)
def test_programs_too_large(network: Program, target: str, message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        generate(network, target, vectors=0)
    assert re.sub(r"\d+,\d\d\d bytes", "N bytes", str(caught.value)) == message


def test_an_arena_too_large_for_the_target() -> None:
    b = Builder("big")
    x = b.input("x", (8, 20, 20), Interval(0, 255))
    conv = Conv2d(_ones(60, 8, 3, 3, levels=5), None, (1, 1), (1, 1))
    sums = b.add(conv, x)
    network = b.build(outputs=(b.add(Conv2d(_ones(1, 60, 20, 20)), b.add(Square(), sums)),))
    with pytest.raises(ProgramError) as caught:
        generate(network, "avr", vectors=0)
    assert str(caught.value).startswith("the arena takes 1")
    assert str(caught.value).endswith(
        " bytes, more than an array may have on avr; choose another target or a smaller network"
    )
    generate(network, "cortex-m4", vectors=0)


# --- a place -----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The program as a file."""
    save(program(), tmp_path / "net.gfold")
    return tmp_path / "net.gfold"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code of the command, and what it says on standard error."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(caught.value.code or 0), capsys.readouterr().err


def test_a_place_that_is_taken(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = ("export", saved, "--to", "c99", "-o")
    out = tmp_path / "out"
    assert run(capsys, *export, out) == (0, "")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, error = run(capsys, *export, out)
    assert (code, error.count("\n")) == (2, 1)
    assert error.rstrip().endswith(
        f"the output must be a new folder, and {out} exists; --force replaces an exported c99 folder"
    )
    assert run(capsys, *export, out, "--force") == (0, "")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "mine.c").write_text("int mine;")
    code, error = run(capsys, *export, out, "--force")
    assert code == 2
    assert error.rstrip().endswith(
        f"--force replaces only an exported c99 folder, and {out} holds 'mine.c'; give another with -o"
    )
    assert (out / "mine.c").is_file()


def test_another_export_replaces_one_that_was_built(tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporters.export(program(), "c99", out, layout="zephyr")
    exporters.export(program(), "c99", out, force=True)
    assert not (out / "zephyr").exists()
    assert (out / "CMakeLists.txt").is_file()
    (out / "net.o").write_bytes(b"object")
    (out / "obj").mkdir()
    (out / "obj" / "deep").write_bytes(b"built")
    exporters.export(program(), "c99", out, force=True, layout="arduino")
    assert not (out / "net.o").exists()
    assert not (out / "obj").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
        exporters.export(program(), "c99", out, force=True)


def test_force_spares_what_lies_deeper(saved: Path, tmp_path: Path) -> None:
    """A folder that happens to have the names of an export is not one."""
    project = tmp_path / "project"
    (project / "src" / "more").mkdir(parents=True)
    (project / "src" / "more" / "mine.c").write_text("int mine;")
    (project / "README.md").write_text("mine")
    with pytest.raises(InputError) as caught:
        exporters.export(program(), "c99", project, force=True, layout="arduino")
    assert str(caught.value) == (
        f"--force replaces only an exported c99 folder, and {project} holds 'src/more/mine.c'; "
        "give another with -o"
    )
    assert (project / "src" / "more" / "mine.c").is_file()


def test_places_that_cannot_be_written(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (saved, saved / "inside"):
        for force in ((), ("--force",)):
            code, error = run(capsys, "export", saved, "--to", "c99", "-o", out, *force)
            assert (code, error.count("\n")) == (2, 1)
            assert str(out) in error
    assert [path.name for path in tmp_path.iterdir()] == ["net.gfold"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_export_leaves_nothing(
    error: BaseException, force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "out"
    if force:
        exporters.export(program(), "c99", out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    real, written = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        written.append(path.name)
        if len(written) == 4:
            raise error
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises((KeyboardInterrupt, GatefoldError)):
        exporters.export(program(), "c99", out, force=force)
    monkeypatch.undo()
    assert len(written) == 4
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert force or not list(tmp_path.iterdir())


def test_an_op_without_a_rule_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProgramError):
        exporters.export(_linear((300,), Dense(_ones(2000, 300))), "c99", tmp_path / "out", target="avr")
    assert not list(tmp_path.iterdir())


def test_the_name_option(tmp_path: Path) -> None:
    exporters.export(program(), "c99", tmp_path / "out", name="my net")
    assert {"my_net.h", "my_net.c", "my_net_weights.c", "my_net_weights.h", "my_net_selftest.c"} < {
        path.name for path in (tmp_path / "out").iterdir()
    }
