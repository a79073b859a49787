"""Whole programs are proved, with their wires and registers; every planted fault in those is found."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from exporters.netlist import positions
from exporters.netlist import stages as stages_module
from exporters.netlist.graph import Netlist
from exporters.netlist.stages import Stages, stages
from exporters.verilog import design as designs
from exporters.verilog import wiring as wirings
from exporters.verilog.build import pipelining
from exporters.verilog.sources import sources
from exporters.verilog.wiring import whole_plan, wire
from runtime.errors import FormatError, InputError
from runtime.ir import Builder, Program
from runtime.ops import OPS, And, ArgMax, Concat, Conv2d, Dense, MaxPool, Or, Reshape, Threshold, Transpose
from runtime.serialize import save
from runtime.types import BIT, Interval
from runtime.weights import Weights
from tests.programs import OP_CASES, random_codes
from tests.toolchain.mutants import mutants
from toolchain.proof import top
from toolchain.proof.hierarchy import Module, Signal, Walk, WiringError, read_modules
from toolchain.proof.placement import misplaced
from toolchain.proof.prove import OPEN, PROVED, WRONG, Outcome, Row
from toolchain.proof.top import Form, placed, prove_top, prove_tops
from toolchain.synthesis.yosys import Yosys, find_yosys

Invoke = Callable[..., tuple[int, str, str]]
Edit = Callable[[str], str]

needs_yosys = pytest.mark.skipif(sys.platform == "win32", reason="pyosys has no wheel for Windows")


def network() -> Program:
    """Convolutions with padding, a skip, a pool, and a classifier: 54 positions of 6 circuits."""
    rng = np.random.default_rng(3)
    b = Builder("net")

    def conv(x: str, inputs: int, outputs: int) -> str:
        weights = Weights(random_codes(rng, (outputs, inputs, 3, 3), 2), 2)
        sums = b.add(Conv2d(weights, padding=(1, 1)), x)
        values, direction = rng.integers(1, 4, (outputs, 1)), rng.choice([-1, 1], outputs)
        return b.add(Threshold(values, direction), sums)

    first = conv(b.input("x", (2, 4, 4), Interval(0, 3)), 2, 3)
    skip = b.add(And(), first, conv(first, 3, 3))
    pooled = b.add(Reshape((12,)), b.add(MaxPool((2, 2), (2, 2)), skip))
    scores = b.add(Dense(Weights(random_codes(rng, (5, 12), 2), 2)), pooled, name="scores")
    return b.build((scores, b.add(ArgMax(), scores)))


NETWORK = network()
FORMS = {"combinational": Form("combinational"), "layers": Form("layers"), "levels": Form("levels", 4)}


def proved(parts: Stages, form: Form, folder: Path, edit: Edit = str) -> Outcome:
    """The top module of a network, of which ``edit`` changes the text."""
    built_wiring = wire(whole_plan(parts), "net", "gates")
    where = pipelining(built_wiring, form.pipeline, form.levels, form.depth)
    built = designs.design(built_wiring, where, form.tables)
    texts = sources(built)
    changed = texts | {"net.v": edit(texts["net.v"])}
    assert edit is str or changed != texts
    circuits = {stage.value: stage.circuit() for stage in parts.circuits}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top, "sources", lambda built: changed)
        return prove_top(parts, circuits, built, find_yosys("a test"), folder)


@needs_yosys
@pytest.mark.parametrize(
    "form", [*FORMS.values(), Form("levels", 4, tables=4), Form("layers", tables=6)], ids=str
)
def test_a_network_is_proved(form: Form, tmp_path: Path) -> None:
    outcome = proved(stages(NETWORK), form, tmp_path)
    assert outcome.status == PROVED, outcome
    assert outcome.method.startswith("modules, wires")
    assert ("registers on every path" in outcome.method) == (form.pipeline != "combinational")


def wrong(form: str, old: str, new: str, folder: Path) -> Outcome:
    """What is said of the network where the first ``old`` of its Verilog is ``new``: that it is wrong."""
    outcome = proved(stages(NETWORK), FORMS[form], folder, lambda text: text.replace(old, new, 1))
    assert outcome.status == WRONG, outcome
    return outcome


TEXT_FAULTS = {
    "another position": ("combinational", "{and_5, and_4, and_1, and_0}", "{and_5, and_4, and_1, and_2}"),
    "positions swapped": ("layers", "maxpool_3[2], maxpool_2[2]", "maxpool_2[2], maxpool_3[2]"),
    "another channel": ("layers", "maxpool_0[2],", "maxpool_0[1],"),
    "inverted": ("combinational", ".in0(scores_2)", ".in0(~scores_2)"),
    "padded with ones": ("combinational", "{16{1'b0}}", "{16{1'b1}}"),
    "an output of another value": (
        "combinational",
        "scores = scores_2;",
        "scores = {scores_2[23:0], 1'b0};",
    ),
}


@needs_yosys
@pytest.mark.parametrize("fault", TEXT_FAULTS)
def test_wires_that_make_a_difference_are_found_with_an_input(fault: str, tmp_path: Path) -> None:
    outcome = wrong(*TEXT_FAULTS[fault], tmp_path)
    assert outcome.method.startswith("they differ for x = [")


REGISTER_FAULTS = {
    "one too many": (
        "DEPTH(1)) threshold_5_d1_r",
        "DEPTH(2)) threshold_5_d1_r",
        "behind 2 and 3 registers",
    ),
    "one too few": (".in0(threshold_3_d1)", ".in0(threshold_3)", "behind 1 and 2 registers"),
    "an output too early": ("scores = scores_2_d1", "scores = scores_2", "behind 5 registers, not 6"),
    "valid too early": ("gf_valid #(.DEPTH(6))", "gf_valid #(.DEPTH(5))", "out_valid is not in_valid"),
    "valid without data": (".d(in_valid)", ".d(1'b1)", "out_valid is not in_valid"),
    "another clock": ("d1_r (.clk(clk)", "d1_r (.clk(in_valid)", "takes another bit as clk"),
    "another enable": ("d1_r (.clk(clk), .ce(ce)", "d1_r (.clk(clk), .ce(rst)", "takes another bit as ce"),
    "a layer that stands still": (
        "threshold_0_u (.clk(clk), .ce(ce)",
        "threshold_0_u (.clk(clk), .ce(rst)",
        "as ce",
    ),
    "an input left open": (".in0(scores_2), ", "", "has an open input"),
    "a layer left out": (
        "net_argmax argmax_2_u (.clk(clk), .ce(ce), .in0(scores_2), .out(argmax_2));",
        "",
        "no instance",
    ),
    "another width": ("wire [63:0] x,", "wire [64:0] x,", "other ports"),
}


@needs_yosys
@pytest.mark.parametrize("fault", REGISTER_FAULTS)
def test_registers_that_are_wrong_are_found(fault: str, tmp_path: Path) -> None:
    old, new, message = REGISTER_FAULTS[fault]
    outcome = wrong("layers", old, new, tmp_path)
    assert message in outcome.method


@needs_yosys
@pytest.mark.parametrize("name", ["_by_position", "_made"])
def test_an_exporter_that_mixes_positions_up_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(wirings, name)
    monkeypatch.setattr(wirings, name, lambda *given: np.roll(right(*given), 1, axis=0))
    assert proved(stages(NETWORK), FORMS["combinational"], tmp_path).status == WRONG


@needs_yosys
def test_a_layer_with_a_register_too_many_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = designs.registers_inside
    monkeypatch.setattr(
        designs, "registers_inside", lambda block, *rest: right(block, *rest) + ("_2" in block.module)
    )
    outcome = proved(stages(NETWORK), FORMS["layers"], tmp_path)
    assert outcome.status == WRONG
    assert "registers" in outcome.method


@needs_yosys
def test_a_layer_that_computes_something_else_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = wirings.positional
    monkeypatch.setattr(
        wirings, "positional", lambda circuit: next(m for _, m in mutants(right(circuit), 1))
    )
    outcome = proved(stages(NETWORK), FORMS["levels"], tmp_path)
    assert outcome.status == WRONG
    assert "they differ for in0 = [" in outcome.method


# --- positions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", sorted(OPS))
def test_positions_of_every_op_are_those_of_the_program(op: str) -> None:
    assert [misplaced(stages(program)) for program in OP_CASES[op]] == [None] * len(OP_CASES[op])


def moving() -> Program:
    b = Builder("moving")
    x, y = b.input("x", (2, 3), BIT), b.input("y", (2, 3), Interval(-4, 3))
    joined = b.add(Concat(), x, y)
    return b.build((b.add(Transpose((1, 0)), joined),))


POSITION_FAULTS = {
    "window_taps": lambda right: lambda *given: right(*given)[::-1],
    "_constant": lambda right: lambda value, bits: right(~value, bits),
    "_columns": lambda right: lambda shape: lambda nets: right(shape)(nets)[::-1],
}


@pytest.mark.parametrize("name", POSITION_FAULTS)
def test_positions_that_are_cut_wrong_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, name, POSITION_FAULTS[name](getattr(positions, name)))
    assert re.match("the positions of '.*' are not those of its ", misplaced(stages(NETWORK)) or "")


def test_results_that_land_elsewhere_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = stages_module.scatter
    monkeypatch.setattr(stages_module, "scatter", lambda nets, *rest: right(nets[::-1], *rest))
    assert misplaced(stages(NETWORK)) == "the positions of 'threshold' are not those of its Conv2d"


def test_moved_values_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = stages(moving())
    assert misplaced(parts) is None
    for number, step in enumerate(parts.steps):
        wrong = replace(step, move=lambda nets, step=step: step.move(nets)[::-1])
        steps = (*parts.steps[:number], wrong, *parts.steps[number + 1 :])
        assert misplaced(replace(parts, steps=steps)) is not None


def row(status: str) -> Row:
    return Row("scores", "", "Dense", 1, Outcome(status, ""), Outcome(PROVED, ""))


def test_a_program_is_proved_only_where_its_circuits_are() -> None:
    outcome = placed(stages(NETWORK), [row(PROVED)])
    assert (outcome.status, outcome.method) == (PROVED, "54 positions of 1 circuits")
    for status in (OPEN, WRONG):
        outcome = placed(stages(NETWORK), [row(status)])
        assert (outcome.status, outcome.method) == (OPEN, "the circuit of 'scores' is not proved")


# --- modules ---------------------------------------------------------------------------------------------


def pipeline(*cells: str) -> Module:
    lines = [".model m", ".inputs clk ce a b", ".outputs y", *cells, ".end", ""]
    return read_modules("\n".join(lines))["m"]


def walked(module: Module) -> Signal:
    inputs = {port: [Signal(2 + 2 * i)] for i, port in enumerate(module.inputs)}
    net = Netlist()
    net.inputs(len(inputs))
    return Walk(net, module, {}, inputs).outputs()["y"][0]


REGISTER = ".gate $_DFFE_PP_ C=clk E=ce D={} Q={}"


def test_a_loop_and_a_bit_without_a_driver_are_named() -> None:
    with pytest.raises(WiringError, match="module m has a loop of gates or registers"):
        walked(pipeline(REGISTER.format("y", "y")))
    with pytest.raises(WiringError, match="module m reads nowhere, which nothing drives"):
        walked(pipeline(REGISTER.format("nowhere", "y")))


def test_a_cell_that_is_not_known_is_no_difference() -> None:
    with pytest.raises(FormatError, match=r"Yosys made a cell \$_DFF_N_ that is not known here"):
        walked(pipeline(".gate $_DFF_N_ C=clk D=a Q=y"))


def test_a_constant_needs_time_to_settle() -> None:
    late = [REGISTER.format("$true", "one"), ".gate $_AND_ A=one B={} Y=y"]
    with pytest.raises(WiringError, match="a constant behind 1 registers, and bits behind 0"):
        walked(pipeline(late[0], late[1].format("a")))
    found = walked(pipeline(*[late[0], late[1].format("q"), REGISTER.format("a", "q")]))
    assert found.clocks == 1


def test_paths_of_different_lengths_are_seen_where_gates_fold() -> None:
    gates = [REGISTER.format("a", "q"), ".gate $_NOT_ A=a Y=n", ".gate $_AND_ A=q B=n Y=y"]
    with pytest.raises(WiringError, match="reads bits behind 0 and 1 registers at once"):
        walked(pipeline(*gates))


# --- the command -----------------------------------------------------------------------------------------


@needs_yosys
def test_what_is_too_large_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Yosys("none", (), ("no-abc",))
    (found,) = prove_tops(stages(NETWORK), [row(PROVED)], [Form("layers")], nothing, limit=10)
    assert found.verilog.status == OPEN
    assert re.match(r"the circuit of '\w+' adds up \d+ bits, more than 10$", found.verilog.method)
    monkeypatch.setattr("exporters.verilog.limits.EXPORTED", 10)
    (found,) = prove_tops(stages(NETWORK), [row(PROVED)], [Form("layers")], nothing)
    assert found.verilog.method.startswith("a design may add up at most 10 bits")


@needs_yosys
def test_verify_proves_the_top_module_that_is_asked_for(tmp_path: Path, invoke: Invoke) -> None:
    b = Builder("net")
    x, y = b.input("x", (3, 2, 2), BIT), b.input("y", (3, 2, 2), BIT)
    save(b.build((b.add(Or(), x, y),)), tmp_path / "net.gfold")
    quick = ("--executors", "packed", "--samples", 9, "--json")
    options = ("--levels", 1, "--tables", 4)
    code, out, err = invoke("verify", tmp_path / "net.gfold", *quick, "--prove", *options)
    assert code == 0, err
    last = json.loads(out)["proof"]["rows"][-1]
    assert (last["stage"], last["op"]) == ("net", "top module, levels 1, tables of 4")
    assert last["program"]["method"] == "4 positions of 1 circuits"
    assert last["verilog"]["status"] == PROVED
    code, _, err = invoke("verify", tmp_path / "net.gfold", *quick, *options)
    assert code == 2
    assert (
        "--pipeline, --levels, --depth and --tables say which top module to prove; give --prove, and no"
        in err
    )


@needs_yosys
def test_verify_proves_the_style_that_is_exported(tmp_path: Path, invoke: Invoke) -> None:
    b = Builder("net")
    x = b.input("x", (9,), BIT)
    sums = b.add(Dense(Weights(np.ones((1, 9), np.int8), 3)), x)
    save(b.build((sums,)), tmp_path / "net.gfold")
    seen = []

    def wired(plan: object, name: str, style: str) -> NoReturn:
        seen.append(style)
        raise InputError("far enough")

    quick = ("--executors", "packed", "--samples", 9, "--prove")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchain.proof.top.wire", wired)
        for options in ((), ("--tables", 6), ("--tables", 6, "--style", "gates"), ("--tables", 4)):
            invoke("verify", tmp_path / "net.gfold", *quick, *options)
    assert seen == ["gates", "lut6", "gates", "gates"]


@needs_yosys
def test_mistakes_are_found_before_anything_is_proved(tmp_path: Path, invoke: Invoke) -> None:
    b = Builder("net")
    save(b.build((b.add(Or(), b.input("x", (3,), BIT), b.input("y", (3,), BIT)),)), tmp_path / "net.gfold")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchain.cli.verify.proofs", lambda *_: pytest.fail("proved"))
        for options in (("--executors", "nosuch"), ("--vectors", tmp_path / "no.npz")):
            code, _, err = invoke("verify", tmp_path / "net.gfold", "--prove", *options)
            assert (code, len(err.splitlines())) == (2, 1)
    code, _, err = invoke("verify", tmp_path / "net.gfold", "--style", "lut6")
    assert (code, err) == (2, "gatefold: --style is of the circuits to prove; give --prove too\n")
    code, _, err = invoke("verify", tmp_path / "net.gfold", "--synthesize-limit", 9)
    assert (code, err) == (
        2,
        "gatefold: --synthesize-limit is of the circuits to prove; give --prove too\n",
    )
