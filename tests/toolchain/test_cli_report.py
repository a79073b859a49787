"""``gatefold report`` of one program and of several."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import MismatchError
from runtime.serialize import load, save
from tests.runtime.test_ir import tiny
from tests.toolchain.test_report_comparison import network
from toolchain.cli import main
from toolchain.cli.report import check_agreement
from toolchain.compare import Agreement, Comparison
from toolchain.cost import report
from toolchain.cost.evidence import Evidence, Verification
from toolchain.devices import DEVICES
from toolchain.report import FORMATS

Invoke = Callable[..., tuple[int, str, str]]

RUN = ("origin", "activity", "verification", "speed")
"""What a report holds beside its formulas."""

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
    data = json.loads(out)
    run = {key: data.pop(key) for key in RUN}
    formulas = report(load(path), DEVICES).to_json()
    assert {key: formulas.pop(key) for key in RUN} == dict.fromkeys(RUN)
    assert data == formulas
    assert run["origin"]["path"] == "tiny.gfold"
    assert run["origin"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run["activity"]["source"] == "uniform random inputs, seed 0"
    assert (run["verification"], run["speed"]) == (None, None)
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


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.html", "<!doctype html>"),
        ("a.MD", "# tiny"),
        ("a.csv", "name,op,"),
        ("a.json", "{"),
        ("a.txt", "tiny\n"),
        ("a", "tiny\n"),
    ],
)
def test_the_suffix_chooses_the_format(name: str, start: str, tmp_path: Path, invoke: Invoke) -> None:
    save(tiny(), tmp_path / "tiny.gfold")
    assert invoke("tiny.gfold", "-o", name)[0] == 0
    assert (tmp_path / name).read_text().startswith(start)
    assert invoke("tiny.gfold", "-o", name, "--format", "csv")[0] == 0
    assert (tmp_path / name).read_text().startswith("name,op,")


def test_activity_verification_and_speed_are_in_every_format(tmp_path: Path, invoke: Invoke) -> None:
    save(tiny(), tmp_path / "tiny.gfold")
    code, out, err = invoke("tiny.gfold", "--verify", "--bench", "--json")
    data = json.loads(out)
    assert code == 0, err
    assert data["verification"]["ok"]
    assert data["verification"]["executors"]["packed"] == {"samples": 64, "mismatches": 0, "skipped": None}
    skipped = data["verification"]["executors"]["verilog"]["skipped"]
    assert skipped.endswith("`gatefold verify --executors verilog` tries")
    assert {row["executor"] for row in data["speed"]["rows"]} >= {"packed", "onnx", "fp32"}
    text = invoke("tiny.gfold", "--verify", "--format", "markdown")[1]
    for title in ("Activity (64 samples", "Memory plan", "Executors against the interpreter"):
        assert f"## {title}" in text.replace("\\", "")
    assert "Activity" not in invoke("tiny.gfold")[1]
    rows = list(csv.DictReader(io.StringIO(invoke("tiny.gfold", "--format", "csv")[1])))
    shown = {row["name"]: row["activity.nonzero"] for row in rows if row["activity.nonzero"]}
    values = data["activity"]["values"]
    assert shown == {name: str(values[name]["nonzero"]) for name in shown}
    assert len(shown) > 1


def test_inputs_are_those_of_the_data_set_that_is_named(tmp_path: Path, invoke: Invoke) -> None:
    trained = Path(__file__).parents[2] / "sample_models" / "trained" / "digits-ternary" / "program.gfold"
    data = json.loads(invoke(str(trained), "--data", "digits", "--json")[1])
    assert data["activity"]["source"] == "test images of digits"
    assert "Activity (64 samples: test images of digits)" in invoke(str(trained), "--data", "digits")[1]
    assert (
        json.loads(invoke(str(trained), "--json")[1])["activity"]["source"]
        == "vectors.npz beside the program"
    )


def test_a_report_of_an_executor_that_differs_is_written_and_fails() -> None:
    wrong = Comparison({"packed": Agreement(8, 2)}, strict=False)
    found = report(network("or"))
    found = replace(found, evidence=Evidence(verification=Verification("random", wrong)))
    assert "DIFFERS" in FORMATS["markdown"](found)
    assert "AN EXECUTOR DIFFERS" in FORMATS["html"](found)
    with pytest.raises(MismatchError, match=r"^packed differs on 2 samples$"):
        check_agreement(found)
