"""The study of when, how often and where connections are orthogonal."""

import json

import pytest

from benchmarks import switching
from benchmarks.switching import SHARED, VARIANTS, main, row


def test_a_row_compares_pairs_of_seeds() -> None:
    linear = {0: 90.0, 1: 91.0, 2: 92.0}
    better = {0: 91.0, 1: 92.1, 2: 92.9}
    assert row("linear", linear, linear) == ["linear", "3", "91.00 ± 1.00", "-", "-"]
    assert row("orthogonal", better, linear)[3:] == ["+1.00 ± 0.10", "yes"]
    assert row("orthogonal", {0: 91.0, 1: 90.5, 2: 92.9}, linear)[4] == "n.s."


@pytest.mark.parametrize("epochs", ["0", "-1", "few"])
def test_untrained_networks_are_not_compared(tmp_path, capsys, epochs) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["digits", "--out", str(tmp_path), "--epochs", epochs])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"error: argument --epochs: must be a whole number of at least 1, not {epochs}")
    assert not list(tmp_path.iterdir())


def test_every_variant_trains_once_and_as_asked(tmp_path, capsys, monkeypatch) -> None:
    batches = ("phases.pretrain.batch_size=128", "phases.qat.batch_size=128")  # the networks learn enough
    monkeypatch.setattr(switching, "SHARED", SHARED + batches)
    arguments = ["digits", "--out", str(tmp_path), "--seeds", "0", "--epochs", "2"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    record = json.loads((tmp_path / "switching-digits.json").read_text())
    assert list(record["accuracies"]) == list(VARIANTS)
    assert len({found["0"] for found in record["accuracies"].values()}) > 3  # they are not one run
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")} == before
    assert main([*arguments[:-1], "3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "must hold a run of the same recipe; choose another --out" in error
