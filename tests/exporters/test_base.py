"""The exporter table: options as data, one-line errors, atomic files, packages imported only when used."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import exporters
from exporters import EXPORTERS, ExporterRow, Option, executors, export, open_session
from runtime.errors import InputError, MissingToolError
from runtime.ir import Builder, Program
from runtime.ops import Threshold
from runtime.session import EXECUTORS, ExecutorRow
from runtime.types import Interval

TEXT_OPTION = Option("case", ("lower", "upper"), "lower", "of the letters")


def bits() -> Program:
    b = Builder("bits")
    x = b.input("x", (2,), Interval(0, 9))
    return b.build(outputs=(b.add(Threshold(np.array([[3], [5]]), np.array([1, -1])), x, name="y"),))


def render(program: Program, case: str) -> Mapping[str, bytes]:
    """A back end of two files, for the table of these tests."""
    return {".txt": getattr(program.name, case)().encode(), ".size": b"2"}


def table(**changes: object) -> dict[str, ExporterRow]:
    row = {"target": f"{__name__}:render", "summary": "text", "suffix": ".txt", "options": (TEXT_OPTION,)}
    return {"text": ExporterRow(**{**row, **changes})}  # type: ignore[arg-type]


def test_importing_exporters_imports_no_optional_package() -> None:
    code = "import exporters, sys; print(sorted({'onnx', 'onnxruntime', 'ml_dtypes'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_executors_are_those_of_the_runtime_and_of_every_exporter() -> None:
    assert set(executors()) == set(EXECUTORS) | {n for row in EXPORTERS.values() for n in row.executors}
    assert {"interpreter", "packed", "onnx", "onnx-reference"} <= set(executors())


def test_options_name_their_default_among_their_choices() -> None:
    for row in EXPORTERS.values():
        for option in row.options:
            assert option.default in option.choices or not option.choices


def test_open_session_takes_any_executor() -> None:
    result = open_session(bits(), "onnx").run(np.array([[2, 6], [3, 5]]))["y"]
    assert result.tolist() == [[0, 0], [1, 1]]


def test_a_row_and_a_function_make_a_back_end(tmp_path: Path) -> None:
    path = export(bits(), "text", tmp_path / "net.txt", table(), case="upper")
    assert path == tmp_path / "net.txt"
    assert path.read_text() == "BITS"
    assert (tmp_path / "net.size").read_text() == "2"
    assert export(bits(), "text", tmp_path / "other.name", table()).read_text() == "bits"


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("vhdl", {}, "exporter must be one of onnx, not 'vhdl'"),
        ("onnx", {"opset": "21"}, "options of exporter onnx are: profile; not 'opset'"),
        ("onnx", {"profile": "old"}, "profile must be one of portable, modern, not 'old'"),
    ],
)
def test_wrong_requests(to: str, options: dict[str, str], message: str, tmp_path: Path) -> None:
    rows = {"onnx": EXPORTERS["onnx"]}
    with pytest.raises(InputError) as caught:
        export(bits(), to, tmp_path / "net.onnx", rows, **options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_without_options_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^options of exporter text are: none; not 'case'$"):
        export(bits(), "text", tmp_path / "net.txt", table(options=()), case="upper")


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    rows = table(requires=("no_such_package",), extra="text")
    with pytest.raises(MissingToolError) as caught:
        export(bits(), "text", tmp_path / "net.txt", rows)
    message = "exporter text needs no_such_package: pip install 'gatefold[text]'"
    assert str(caught.value) == message


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write "):
        export(bits(), "onnx", tmp_path / "file" / "net.onnx")


def test_same_program_same_bytes(tmp_path: Path) -> None:
    first, second = (export(bits(), "onnx", tmp_path / f"{i}.onnx") for i in (1, 2))
    assert first.read_bytes() == second.read_bytes()


def test_missing_rows_of_executors_name_the_extra() -> None:
    row = ExecutorRow("a:b", "", ("no_such_package",), "onnx")
    assert row.missing() == "needs no_such_package: pip install 'gatefold[onnx]'"
    assert all(r.extra == "onnx" for r in exporters.EXPORTERS["onnx"].executors.values())
