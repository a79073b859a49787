"""Circuits are proved to be their ops; every planted fault that changes one is found."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.netlist.circuit import Circuit
from exporters.netlist.stages import Stage, stages
from runtime.ir import Builder, Program
from runtime.ops import OPS, ArgMax, Dense, Mul, Op, ReduceSum, Requantize, RoundDiv, Select, Threshold
from runtime.types import BIT, Interval
from runtime.weights import Weights
from tests.programs import OP_CASES, random_codes
from tests.toolchain.mutants import mutants
from toolchain.proof.elements import hints, is_polynomial, unproved
from toolchain.proof.exhaustive import (
    MOST_INPUTS,
    channel_types,
    count,
    difference_by_channel,
    difference_of_all,
    is_by_channel,
    random_difference,
)
from toolchain.proof.prove import OPEN, PROVED, WRONG, prove_stage
from toolchain.synthesis.yosys import Yosys

NO_YOSYS = Yosys("none", (), None)
"""Nothing here needs a tool."""


def single(op: Op, *operands: tuple[tuple[int, ...], Interval]) -> Stage:
    b = Builder(op.name)
    names = [b.input(f"x{i}", shape, interval) for i, (shape, interval) in enumerate(operands)]
    return next(stages(b.build((b.add(op, *names),))).circuits)


def layer(
    inputs: int, outputs: int, levels: int = 3, interval: Interval = BIT, thresholds: int = 2
) -> Stage:
    rng = np.random.default_rng(inputs)
    b = Builder("layer")
    op = Dense(Weights(random_codes(rng, (outputs, inputs), levels), levels), rng.integers(-3, 4, outputs))
    sums = b.add(op, b.input("x", (inputs,), interval))
    if thresholds:
        found = op.evaluate(rng.integers(interval.lo, interval.hi + 1, (500, inputs)))
        values = np.sort(np.quantile(found, [0.3, 0.7], axis=0).T.astype(np.int64), axis=1)
        direction = rng.choice([-1, 1], outputs)
        values[direction < 0] = values[direction < 0, ::-1]
        sums = b.add(Threshold(values, direction), sums)
    return next(stages(b.build((sums,))).circuits)


LAYERS = [
    layer(40, 6),
    layer(40, 6, 2),
    layer(24, 5, 5, Interval(0, 3)),
    layer(20, 4, 15, Interval(-7, 12)),
    layer(16, 3, 3, Interval(0, 255)),
    layer(12, 3, 127, Interval(-70_000, 90_000)),
    layer(30, 5, thresholds=0),
    layer(10, 4, 5, Interval(3, 9), thresholds=0),
]


@pytest.mark.parametrize("style", ["gates", "lut6"])
@pytest.mark.parametrize("stage", LAYERS, ids=lambda stage: f"{stage.local.types[0].interval}")
def test_layers_have_a_certificate(stage: Stage, style: str) -> None:
    circuit = stage.circuit(style)
    assert not list(unproved(stage, circuit, hints(stage, circuit)))


def provable(program: Program) -> list[Stage]:
    return [s for s in stages(program).circuits if is_polynomial(s) or count(s.local.types) <= 2**12]


@pytest.mark.parametrize("op", sorted(OPS))
def test_circuits_of_every_op_are_proved(op: str, tmp_path) -> None:
    for program in OP_CASES[op][:3]:
        for stage in provable(program):
            circuit = stage.circuit()
            outcome = prove_stage(stage, circuit, hints(stage, circuit), NO_YOSYS, tmp_path)
            assert outcome.status == PROVED, (stage.value, outcome)


def changes(stage: Stage, circuit: Circuit) -> bool:
    if count(stage.local.types) <= 2**12:
        return difference_of_all(stage, circuit) is not None
    return random_difference(stage, circuit, 20_000) is not None


@pytest.mark.parametrize(
    "stage",
    [
        layer(9, 3),
        layer(6, 4, 5, Interval(0, 3)),
        layer(40, 6),
        layer(30, 5, thresholds=0),
        layer(12, 3, 127, Interval(-70_000, 90_000)),
        single(Mul(), ((2,), Interval(-90, 100)), ((2,), Interval(0, 255))),
        single(ReduceSum((0,)), ((9,), Interval(-128, 127))),
        single(
            Threshold(np.array([[-5, 3, 70_000]]), np.ones(1, np.int64)), ((1,), Interval(-90_000, 90_000))
        ),
    ],
    ids=range(8),
)
def test_every_fault_that_changes_a_circuit_is_found(stage: Stage) -> None:
    circuit = stage.circuit()
    known, changed = hints(stage, circuit), 0
    for fault, mutant in mutants(circuit, 40):
        if changes(stage, mutant):
            changed += 1
            assert list(unproved(stage, mutant, known)), fault
    assert changed >= 15


def test_a_fault_comes_with_an_input(tmp_path) -> None:
    stage = layer(40, 6)
    circuit = stage.circuit()
    known = hints(stage, circuit)
    _, mutant = next(m for m in mutants(circuit, 40) if changes(stage, m[1]))
    outcome = prove_stage(stage, mutant, known, NO_YOSYS, tmp_path)
    assert outcome.status == WRONG
    assert "for in0 = [" in outcome.method


def test_false_hints_prove_nothing() -> None:
    stage = layer(40, 6)
    circuit = stage.circuit()
    known = hints(stage, circuit)
    words = known.words
    shifted = type(known)((*words[1:], words[0]))
    assert len(list(unproved(stage, circuit, shifted))) == 6


def test_all_inputs_are_the_last_resort(tmp_path) -> None:
    stage = single(RoundDiv(), ((1,), Interval(-(2**12), 2**12 - 1)), ((1,), Interval(1, 255)))
    circuit, inputs = stage.circuit(), count(stage.local.types)
    assert inputs > MOST_INPUTS
    outcome = prove_stage(stage, circuit, hints(stage, circuit), NO_YOSYS, tmp_path)
    assert (outcome.status, outcome.method) == (PROVED, f"all {inputs:,} inputs")
    _, mutant = next(m for m in mutants(circuit, 40) if changes(stage, m[1]))
    assert prove_stage(stage, mutant, hints(stage, mutant), NO_YOSYS, tmp_path).status == WRONG


def test_channels_are_tried_side_by_side() -> None:
    rng = np.random.default_rng(0)
    op = Requantize(rng.integers(-90, 90, 5), rng.integers(0, 99, 5), np.full(5, 4), -8, 7)
    stage = single(op, ((5,), Interval(-2000, 2000)))
    circuit, own = stage.circuit(), channel_types(stage)
    assert own is not None
    assert count(own) == 4001 < MOST_INPUTS < count(stage.local.types)
    assert is_by_channel(stage, circuit)
    assert difference_by_channel(stage, circuit) is None
    found = [difference_by_channel(stage, m) is not None for _, m in mutants(circuit, 25)]
    wanted = [random_difference(stage, m, 20_000) is not None for _, m in mutants(circuit, 25)]
    assert all(f or not w for f, w in zip(found, wanted, strict=True))
    assert any(found)


def test_channels_that_mix_are_seen() -> None:
    stage = single(Select(), ((2,), BIT), ((2,), Interval(0, 3)), ((2,), Interval(0, 3)))
    circuit = stage.circuit()
    out = circuit.outputs[0]
    swapped = type(out)(out.name, out.type, out.nets[::-1].copy())
    assert not is_by_channel(stage, Circuit("mixed", circuit.net, circuit.inputs, (swapped,)))


def test_what_has_no_method_is_named(tmp_path) -> None:
    stage = single(ArgMax(), ((4,), Interval(0, 255)))
    circuit = stage.circuit()
    outcome = prove_stage(stage, circuit, hints(stage, circuit), NO_YOSYS, tmp_path)
    assert outcome.status == OPEN
    assert outcome.method == "there is no method for this op at this size"
