"""``gatefold report --synthesize``: figures beside each other, in every format."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.ir import Builder
from runtime.ops import Dense, Threshold
from runtime.serialize import save
from runtime.types import BIT
from runtime.weights import Weights
from tests.programs import random_codes
from toolchain.synthesis.figures import Figures, deviation

Invoke = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pyosys has no wheel for Windows")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    b = Builder("two")
    b.at_layer("first")
    sums = b.add(Dense(Weights(random_codes(rng, (6, 12), 3), 3)), b.input("x", (12,), BIT))
    bits = b.add(Threshold(rng.integers(-1, 3, (6, 1)), np.ones(6, np.int64)), sums, name="bits")
    b.at_layer("head")
    scores = b.add(Dense(Weights(random_codes(rng, (20, 6), 3), 3)), bits, name="scores")
    path = tmp_path_factory.mktemp("synthesis") / "two.gfold"
    save(b.build((scores,)), path)
    return path


def test_measured_figures_stand_beside_the_model(program: Path, invoke: Invoke) -> None:
    code, out, err = invoke("report", program, "--device", "ice40up5k", "--synthesize", "--json")
    assert code == 0, err
    data = json.loads(out)
    rows = {row["name"]: row["synthesis"] for row in data["layers"]}
    assert rows["dense"] is None  # part of the circuit of its threshold
    bits = rows["bits"]
    assert bits["measured"]["ff"] == bits["model"]["ff"] == 6
    assert bits["measured"]["bram"] == 0
    assert bits["not_synthesized"] is None
    for key in ("ge", "lut4", "lut6"):
        assert bits["deviation"][key] == pytest.approx(
            bits["model"][key] / bits["measured"][key] - 1, abs=1e-4
        )
        assert bits["formula"][key] >= bits["model"][key] > 0
    total = data["total"]["synthesis"]
    assert (total["circuits"], total["synthesized"]) == (2, 2)
    for key in ("ge", "lut4", "lut6", "ff"):
        assert total["measured"][key] == pytest.approx(
            sum(rows[n]["measured"][key] for n in ("bits", "scores"))
        )


@pytest.mark.parametrize("format_", ["table", "markdown", "html", "csv"])
def test_what_is_too_large_is_said_with_its_size(
    program: Path, format_: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    arguments = ("--device", "ice40up5k", "--synthesize", "--synthesize-limit", 0, "--format", format_)
    code, out, err = invoke("report", program, *arguments)
    assert code == 0, err
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert rows[1]["synthesis.measured.ge"] == ""
        assert float(rows[1]["synthesis.formula.ge"]) > 0
    else:
        assert "bits, more than 0" in out


def test_without_the_option_nothing_is_synthesized(program: Path, invoke: Invoke) -> None:
    data = json.loads(invoke("report", program, "--device", "ice40up5k", "--json")[1])
    assert data["total"]["synthesis"] is None
    assert all(row["synthesis"] is None for row in data["layers"])
    assert "synthesis" not in invoke("report", program, "--device", "ice40up5k", "--format", "csv")[1]
    code, _, err = invoke("report", program, "--device", "ice40up5k", "--synthesize-limit", 9)
    assert (code, "--synthesize-limit is of what is synthesized; give --synthesize too" in err) == (2, True)


def test_a_tool_that_always_fails_is_a_failure(
    program: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "yosys"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("GATEFOLD_YOSYS", str(broken))
    code, out, err = invoke("report", program, "--device", "ice40up5k", "--synthesize", "--json")
    assert code == 1
    assert "nothing could be synthesized: synthesizing bits failed: " in err
    assert json.loads(out)["total"]["synthesis"]["synthesized"] == 0


def test_one_program_at_a_time(program: Path, tmp_path: Path, invoke: Invoke) -> None:
    other = tmp_path / "other.gfold"
    other.write_bytes(program.read_bytes())
    code, _, err = invoke("report", program, other, "--synthesize")
    assert code == 2
    assert "one program at a time can be synthesized, not 2; leave out --synthesize or give one" in err


def test_deviations_of_nothing() -> None:
    some, none = Figures(2.0, 1, 1, 1, 0, 1, 1, 1), Figures(0, 0, 0, 0, 0, 0, 0, 0)
    assert deviation(some, None) is None
    assert deviation(none, none) == {"ge": 0.0, "lut4": 0.0, "lut6": 0.0, "ff": 0.0}
    assert deviation(some, none) == dict.fromkeys(("ge", "lut4", "lut6", "ff"))
