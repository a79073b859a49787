"""The latency benchmark runs, is exact, and prints what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "benchmarks/onnx_latency.py",
        "--channels",
        "8",
        "--repeats",
        "1",
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": "."}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("--json").stdout)["rows"]
    return found


def test_cases_and_profiles(rows: list[dict[str, object]]) -> None:
    assert [(row["case"], row["profile"]) for row in rows] == [
        ("ternary x binary", "portable"),
        ("ternary x binary", "modern"),
        ("quinary x 2-bit", "portable"),
        ("quinary x 2-bit", "modern"),
    ]


def test_results_equal_the_interpreter(rows: list[dict[str, object]]) -> None:
    assert [row["mismatches"] for row in rows] == [0, 0, 0, 0]


def test_ratios_are_of_the_figures_shown(rows: list[dict[str, float]]) -> None:
    for row in rows:
        assert row["latency_ratio"] == pytest.approx(row["gatefold_ms"] / row["twin_ms"])
        assert row["size_ratio"] == pytest.approx(row["twin_bytes"] / row["gatefold_bytes"])


def test_a_missed_goal_is_an_exit_code() -> None:
    """With 8 channels the notes outweigh the weights, so the size goal cannot be met."""
    assert run().returncode == 1
