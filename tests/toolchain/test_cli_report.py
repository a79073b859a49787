"""``gatefold report`` of one program and of several."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.serialize import load, save
from tests.runtime.test_ir import tiny
from tests.toolchain.test_report_comparison import network
from toolchain.cli import main
from toolchain.cost import report
from toolchain.devices import DEVICES

Invoke = Callable[..., tuple[int, str, str]]

SKIPS = ("none", "or", "mux", "add")


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run the command in ``tmp_path``: exit code, standard output, standard error."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """One program per kind of skip, by file name."""
    for skip in SKIPS:
        save(network(skip), tmp_path / f"{skip}.gfold")
    return [f"{skip}.gfold" for skip in SKIPS]


def test_one_program_keeps_its_own_form(tmp_path: Path, invoke: Invoke) -> None:
    path = save(tiny(), tmp_path / "tiny.gfold")
    code, out, _ = invoke("tiny.gfold", "--json")
    assert code == 0
    assert json.loads(out) == report(load(path), DEVICES).to_json()
    assert invoke("tiny.gfold")[1].startswith("tiny\n\nLayers\n\nname ")


def test_several_programs_as_json(files: list[str], invoke: Invoke) -> None:
    code, out, _ = invoke(*files, "--json", "--device", "rp2040")
    data = json.loads(out)
    assert code == 0
    assert set(data) == {"programs", "comparison"}
    assert [row["path"] for row in data["programs"]] == files
    assert [list(row["devices"]) for row in data["programs"]] == [["rp2040"]] * 4
    assert set(data["comparison"]) == {"programs", "basis", "totals", "ratios", "layers", "skips"}
    assert data["comparison"]["programs"] == list(SKIPS)


@pytest.mark.parametrize("format_", ["table", "json", "csv", "markdown", "html"])
def test_every_format_goes_to_a_file(
    format_: str, files: list[str], tmp_path: Path, invoke: Invoke
) -> None:
    code, out, _ = invoke(*files, "--format", format_, "-o", "out")
    written = (tmp_path / "out").read_text()
    assert code == 0
    assert out == f"out: {len(written.encode()):,} bytes\n"
    assert written.rstrip() == invoke(*files, "--format", format_)[1].rstrip()
    for skip in SKIPS:
        assert skip in written


def test_csv_can_be_read(files: list[str], invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke(*files, "--format", "csv")[1])))
    assert {row["table"] for row in rows} == {"totals", "ratios", "layers", "connections", "networks"}
    assert {row["program"] for row in rows} == set(SKIPS)


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_tables_keep_to_the_width_of_the_terminal(
    columns: int, files: list[str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = invoke(*files)[1]
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (files, files[:1]):
        narrow = invoke(*arguments)[1]
        assert max(map(len, narrow.splitlines())) <= columns
    assert max(map(len, wide.splitlines())) > 60


BAD: dict[str, tuple[list[str], int, str]] = {
    "no program": ([], 2, r"Missing argument 'PROGRAM\.\.\.'"),
    "the same file twice": (
        ["or.gfold", "mux.gfold", "./or.gfold"],
        2,
        "every program must be given once, but or.gfold and or.gfold are one file; leave one out",
    ),
    "a link to the same file": (["or.gfold", "link.gfold"], 2, "but or.gfold and link.gfold are one file"),
    "a damaged one": (["or.gfold", "damaged.gfold", "mux.gfold"], 1, "damaged.gfold: .* SHA-256"),
    "a missing one": (["or.gfold", "gone.gfold"], 2, "cannot read gone.gfold: No such file"),
    "a directory": (["or.gfold", "."], 2, "is a directory; give the program.gfold in it"),
    "an unknown device": (["or.gfold", "mux.gfold", "--device", "abacus"], 2, "not 'abacus'"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_mistake_is_one_line(case: str, files: list[str], tmp_path: Path, invoke: Invoke) -> None:
    arguments, expected, message = BAD[case]
    (tmp_path / "link.gfold").symlink_to(tmp_path / "or.gfold")
    content = bytearray((tmp_path / "or.gfold").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.gfold").write_bytes(content)
    code, out, err = invoke(*arguments, "-o", "out") if arguments else invoke()
    assert (code, out) == (expected, "")
    assert len(err.splitlines()) == 1, err
    assert re.search(message, err), err
    assert not (tmp_path / "out").exists()
