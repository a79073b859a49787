"""Measurements that are saved, read back and put side by side."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import InputError
from runtime.serialize import save
from tests.runtime.test_ir import tiny
from toolchain.bench.collection import collect
from toolchain.bench.results import LARGEST_BYTES, read_result, read_results, result_name, save_result
from toolchain.bench.text import milliseconds

Invoke = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "docs" / "speed"

QUICK = ["--seconds", "0.001", "--repeats", "5", "--executors", "packed,interpreter", "--against", "none"]


@pytest.fixture
def found() -> dict[str, Any]:
    """A real measurement."""
    value: dict[str, Any] = json.loads(next(SHIPPED.glob("*digits*.json")).read_text())
    return value


def test_saving_into_a_folder_twice_keeps_both(tmp_path: Path, invoke: Invoke) -> None:
    program, folder = save(tiny(), tmp_path / "tiny.gfold"), tmp_path / "speed"
    for _ in range(2):
        code, _, err = invoke("bench", program, *QUICK, "--save", folder)
        assert code == 0
        assert Path(err.splitlines()[-1].removeprefix("saved ")).is_file()
    results, refused = read_results([folder])
    assert (len(results), refused) == (2, [])
    for file, result in results:
        assert file.name.startswith(result_name(json.loads(file.read_text()), "")[:-17])
        assert result.sha256 == sha256(program.read_bytes()).hexdigest()
        assert [row.executor for row in result.rows] == ["packed", "interpreter"]


def test_names_of_files_are_plain_whatever_is_in_them(tmp_path: Path, found: dict[str, Any]) -> None:
    found["program"], found["machine"]["cpu"] = "../../etc/<b>", "A/B: 'C' " * 20
    file = save_result(found, tmp_path / "new")
    assert file.parent == tmp_path / "new"
    assert set(file.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert len(file.name) < 120


def test_two_machines_stand_side_by_side(
    tmp_path: Path, found: dict[str, Any], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    save_result(found, tmp_path)
    other = json.loads(json.dumps(found))
    other["machine"]["cpu"], other["machine"]["cores"] = "Another <b>CPU</b>", 8
    other["time"] = "2027-01-01T00:00:00Z"
    other["rows"] = [row for row in other["rows"] if row["executor"] != "onnx"]
    for row in other["rows"]:
        for key in ("median_ms", "quartile1_ms", "quartile3_ms", "best_ms"):
            row[key] /= 2
    save_result(other, tmp_path)
    code, out, err = invoke("collect", tmp_path, "--json")
    assert (code, err) == (0, "")
    table = json.loads(out)
    assert [machine["cores"] for machine in table["machines"].values()] == [found["machine"]["cores"], 8]
    (network,) = table["networks"]
    assert len(network["lines"]) == len(found["rows"])
    for line, row in zip(network["lines"], found["rows"], strict=True):
        cells = line["machines"]
        assert cells["1"]["median_ms"] == row["median_ms"]
        assert cells["1"]["ratio_to_fp32"] == row["ratio_to_fp32"]
        assert ("2" in cells) is (row["executor"] != "onnx")
        if "2" in cells:
            assert cells["2"]["quartile3_ms"] == row["quartile3_ms"] / 2
    code, out, _ = invoke("collect", tmp_path)
    assert code == 0
    assert "1: median ms  1: quartiles ms  1: x fp32  2: median ms" in out
    page = tmp_path / "page.html"
    assert invoke("collect", tmp_path, "-o", page)[0] == 0
    assert "<b>" not in page.read_text()
    assert "Another &lt;b&gt;CPU&lt;/b&gt;" in page.read_text()
    assert invoke("collect", tmp_path, "-o", page, "--json")[0] == 0
    assert json.loads(page.read_text()) == table


def test_of_one_machine_the_newest_measurement_stands(found: dict[str, Any], tmp_path: Path) -> None:
    old = read_result(save_result(found, tmp_path))
    slower = tuple(replace(row, median_ms=2 * row.median_ms) for row in old.rows)
    new = replace(old, rows=slower, time="2027-01-01T00:00:00Z", machine=replace(old.machine, load=9.0))
    collection = collect([(Path("old.json"), old), (Path("new.json"), new)])
    (computer,) = collection.computers.values()
    assert (computer.files, computer.load) == (2, 9.0)
    (network,) = collection.networks
    assert {cell.file for cells in network.cells.values() for cell in cells.values()} == {"new.json"}
    other = replace(new, sha256="0" * 64)
    named = collect([(Path("old.json"), old), (Path("other.json"), other)])
    assert [named.title(network) for network in named.networks] == [
        f"digits-ternary ({digest[:12]})" for digest in sorted(("0" * 64, old.sha256))
    ]


@pytest.mark.parametrize("suffix", [".md", ".csv", ".html", ".json"])
def test_numbers_of_the_page_are_those_of_the_files(suffix: str, tmp_path: Path, invoke: Invoke) -> None:
    place = tmp_path / f"page{suffix}"
    code, out, err = invoke("collect", SHIPPED, "-o", place)
    assert (code, err) == (0, "")
    assert out == f"{place}: {place.stat().st_size:,} bytes\n"
    text = place.read_text()
    newest: dict[Any, Any] = {}
    for _, result in read_results([SHIPPED])[0]:
        for row in result.rows:
            newest[result.program, row.executor, row.batch, result.settings.threads] = row
    if suffix == ".csv":
        records = list(csv.DictReader(io.StringIO(text)))
        assert len(records) == len(newest)
        assert {float(record["median_ms"]) for record in records} == {r.median_ms for r in newest.values()}
    for row in newest.values():
        assert (milliseconds(row.median_ms) if suffix in (".md", ".html") else str(row.median_ms)) in text


def _damage(found: dict[str, Any], place: str, value: object) -> None:
    *path, last = place.split(".")
    target: Any = found
    for key in path:
        target = target[int(key) if key.isdigit() else key]
    target[last] = value


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("schema", 2, "its schema is 2, and this version reads 1"),
        ("schema", "x" * 99, f"its schema is '{'x' * 39}, and this version reads 1"),
        ("rows", [], "it has no rows"),
        ("rows.0.median_ms", "1", "rows.median_ms is not what it should be"),
        ("rows.0.median_ms", True, "rows.median_ms is not what it should be"),
        ("rows.0.median_ms", -1, "the times of packed are not in order"),
        ("rows.0.best_ms", 1e9, "the times of packed are not in order"),
        ("rows.0.turns", 0, "the counts of packed are not positive"),
        ("machine.cpu", "a\nb", "machine.cpu is not what it should be"),
        ("machine.cpu", "a" * 201, "machine.cpu is not what it should be"),
        ("machine.versions", {"numpy": 2}, "machine.versions is not what it should be"),
        ("machine", None, "machine is not what it should be"),
        ("settings.threads", 1.5, "settings.threads is not what it should be"),
    ],
)
def test_what_is_no_measurement_is_one_line(
    place: str, value: object, why: str, found: dict[str, Any], tmp_path: Path
) -> None:
    _damage(found, place, value)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(found))
    with pytest.raises(InputError) as caught:
        read_result(file)
    assert str(caught.value) == (f"'{file}' is no measurement of `gatefold bench --save` ({why}); left out")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe", "its text is not JSON"),
        (b'{"schema": 1', "its text is not JSON"),
        (b"[1, 2]", "it has no schema"),
        (b'{"schema": 1}', "program is missing"),
        (b'{"schema": NaN}', "NaN is not a finite number"),
        (b"[" * 100_000, "it is nested too deep"),
        (b" " * (LARGEST_BYTES + 1), f"it has more than {LARGEST_BYTES:,} bytes"),
    ],
)
def test_hostile_files_are_one_line(data: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_result(file)
    assert f"({why}" in str(caught.value)


def test_the_rest_is_shown_and_what_is_left_out_is_said(
    found: dict[str, Any], tmp_path: Path, invoke: Invoke
) -> None:
    save_result(found, tmp_path)
    (tmp_path / "a\nb.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not read")
    code, out, err = invoke("collect", tmp_path)
    assert (code, out[:5]) == (0, "Speed")
    assert err.startswith("warning: '")
    assert err.endswith(
        "a\\nb.json' is no measurement of `gatefold bench --save` (it has no schema); left out\n"
    )
    assert len(err.splitlines()) == 1


def test_nothing_to_collect(tmp_path: Path, invoke: Invoke) -> None:
    code, _, err = invoke("collect", tmp_path)
    wanted = "make one with `gatefold bench PROGRAM --save FOLDER`"
    assert (code, err) == (2, f"gatefold: no file holds a measurement; {wanted}\n")
    code, _, err = invoke("collect", tmp_path / "nothing")
    assert code == 2
    assert err.endswith("nothing is neither\n")


def test_what_is_shipped_names_no_place() -> None:
    for file in SHIPPED.glob("*.json"):
        found = json.loads(file.read_text())
        assert set(found["machine"]) == {
            *("cpu", "flags", "cores", "system", "load", "blas_threads", "versions", "date")
        }
        assert "/" not in file.read_text()
        assert file.stat().st_size < 8_000
