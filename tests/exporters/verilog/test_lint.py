"""Generated Verilog is free of every warning of the strictest linting, and the same on every run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporters.verilog.timing import Pipelining
from runtime.ir import Program
from runtime.ops import OPS
from tests.exporters.verilog.networks import COMBINATIONAL, LAYERS, all_sources, skip_network, warnings
from tests.merging import merged
from tests.programs import OP_CASES

SMALLEST = [
    min(cases, key=lambda p: sum(t.size * t.bits for t in p.types.values())) for cases in OP_CASES.values()
]


def every_op() -> Program:
    return merged("every", SMALLEST)


@pytest.mark.parametrize("pipelining", [COMBINATIONAL, LAYERS, Pipelining(True, levels=4)])
@pytest.mark.parametrize("style", ["gates", "lut6"])
def test_networks_lint_clean(pipelining: Pipelining, style: str, tmp_path: Path) -> None:
    assert warnings(all_sources(skip_network(), pipelining, style), "net", tmp_path) == ""


@pytest.mark.parametrize("pipelining", [COMBINATIONAL, Pipelining(True, levels=4)])
@pytest.mark.parametrize("tables", [4, 6])
def test_tables_lint_clean(pipelining: Pipelining, tables: int, tmp_path: Path) -> None:
    assert warnings(all_sources(skip_network(), pipelining, tables=tables), "net", tmp_path) == ""


@pytest.mark.parametrize("pipelining", [COMBINATIONAL, Pipelining(True, levels=6)])
def test_every_op_lints_clean(pipelining: Pipelining, tmp_path: Path) -> None:
    assert len(SMALLEST) == len(OPS)
    assert warnings(all_sources(every_op(), pipelining), "net", tmp_path) == ""


def test_a_linter_is_told_of_unused_bits_and_of_the_files_alone() -> None:
    texts = "\n".join(all_sources(skip_network(), LAYERS).values())
    told = set(re.findall(r"verilator lint_off (\w+)", texts))
    assert told == {"UNUSEDSIGNAL", "DECLFILENAME"}
    assert texts.count("lint_off") == texts.count("lint_on")


def test_a_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    texts = all_sources(skip_network(), LAYERS)
    texts["net_stages.v"] = texts["net_stages.v"].replace("    wire n", "    wire nobody, n", 1)
    assert "UNUSEDSIGNAL" in warnings(texts, "net", tmp_path) or "UNDRIVEN" in warnings(
        texts, "net", tmp_path
    )


def test_text_is_the_same_in_another_process() -> None:
    code = (
        "import hashlib; from tests.exporters.verilog.networks import *; "
        "print(hashlib.sha256(repr(all_sources(skip_network(), LAYERS)).encode()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
