"""Programs as stages and as one circuit."""

from __future__ import annotations

import json

import numpy as np
import pytest

import exporters
from exporters.netlist import limits
from exporters.netlist.limits import check_flat, check_program, check_stage
from exporters.netlist.simulate import from_lanes, to_lanes
from exporters.netlist.stages import flatten, stages
from runtime.errors import InputError, TooLargeError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import OPS, Conv2d, Dense, MaxPool, Or, Reshape, Threshold
from runtime.session import Session
from runtime.types import BIT, Interval
from runtime.weights import Weights
from tests.exporters.netlist.evaluation import run_aiger, simulated
from tests.programs import OP_CASES, random_codes, random_inputs


def small_network(width: int = 4) -> Program:
    """A convolution with padding, an OR skip, a pool and a classifier."""
    rng = np.random.default_rng(5)
    b = Builder("small")
    x = b.input("image", (2, 6, 6), Interval(0, 3))
    b.at_layer("first")
    sums = b.add(Conv2d(Weights(random_codes(rng, (width, 2, 3, 3), 3), 3), padding=(1, 1)), x)
    first = b.add(Threshold(rng.integers(-3, 4, (width, 1)), np.ones(width, np.int64)), sums, name="bits")
    b.at_layer("second")
    more = b.add(Conv2d(Weights(random_codes(rng, (width, width, 3, 3), 5), 5), padding=(1, 1)), first)
    second = b.add(Threshold(rng.integers(-3, 4, (width, 1)), np.ones(width, np.int64)), more)
    joined = b.add(Or(), first, second, name="skip")
    pooled = b.add(MaxPool((2, 2), (2, 2)), joined)
    flat = b.add(Reshape((9 * width,)), pooled)
    b.at_layer("head")
    return b.build((b.add(Dense(Weights(random_codes(rng, (3, 9 * width), 3), 3)), flat, name="scores"),))


def run_flat(program: Program, samples: int) -> None:
    circuit = flatten(program)
    inputs = random_inputs(program, samples, 3)
    lanes = [to_lanes(inputs[port.name].reshape(samples, -1), port.type.bits) for port in circuit.inputs]
    found = simulated(circuit, np.concatenate(lanes))
    start = 0
    for name, array in Interpreter(program).run(inputs).items():
        type_ = program.types[name]
        part = found[start : start + type_.size * type_.bits]
        start += type_.size * type_.bits
        values = from_lanes(part, type_.bits, type_.interval.signed, samples)
        assert np.array_equal(values.reshape(array.shape), array)


@pytest.mark.parametrize("op", sorted(OPS))
def test_one_circuit_of_all_positions_equals_the_program(op: str) -> None:
    for program in OP_CASES[op][:4]:
        run_flat(program, 40)


def test_a_network_in_one_circuit_equals_the_program() -> None:
    run_flat(small_network(), 100)


def test_the_threshold_that_alone_reads_a_layer_is_part_of_its_circuit() -> None:
    parts = stages(small_network())
    assert [(s.value, s.layer, s.positions) for s in parts.circuits] == [
        ("bits", "first", 36),
        ("threshold", "second", 36),
        ("skip", "second", 36),
        ("maxpool", "second", 9),
        ("scores", "head", 1),
    ]


def test_one_position_has_every_tap_and_one_result_per_channel() -> None:
    stage = stages(small_network()).part("bits")
    circuit = stage.circuit()
    assert [(p.name, p.type.shape) for p in circuit.inputs] == [("in0", (2, 3, 3))]
    assert circuit.outputs[0].type.shape == (4, 1, 1)


def test_a_part_is_named_by_its_value_or_its_layer() -> None:
    parts = stages(small_network())
    assert parts.part("first") is parts.part("bits")
    with pytest.raises(InputError) as error:
        parts.part("second")
    assert str(error.value) == (
        "part must be one circuit of 'small': threshold, skip, maxpool; 'second' has 3 of them"
    )
    with pytest.raises(InputError, match=r"part must be one circuit of 'small': bits, .*scores; not 'x'"):
        parts.part("x")


def test_samples_beyond_one_word_and_single_ones_run() -> None:
    program = small_network()
    for count in (1, 64, 65, 1000):
        inputs = random_inputs(program, count, count)
        found = Session(program, "netlist", exporters.executors()).run(inputs)
        assert np.array_equal(found["scores"], Interpreter(program).run(inputs)["scores"])


def test_too_large_is_said_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = stages(small_network())
    for name in ("STAGE_BITS", "PROGRAM_BITS", "FLAT_BITS"):
        monkeypatch.setattr(limits, name, 60)
    with pytest.raises(TooLargeError) as error:
        check_stage(parts.part("threshold"))
    assert "may add up at most 60 bits, and one position of 'threshold' has" in str(error.value)
    with pytest.raises(TooLargeError, match=r"one position of every op of 'small' have .*with part$"):
        check_program(parts)
    with pytest.raises(TooLargeError, match="all positions of all ops of 'small' have"):
        check_flat(parts)
    with pytest.raises(TooLargeError):
        Session(parts.program, "netlist", exporters.executors(), limit=60)


def test_the_exported_folder_holds_every_circuit(tmp_path) -> None:
    program = small_network()
    folder = exporters.export(program, "netlist", tmp_path / "circuits", format="aiger")
    summary = json.loads((folder / "circuits.json").read_text())
    assert [entry["value"] for entry in summary["circuits"]] == [
        "bits",
        "threshold",
        "skip",
        "maxpool",
        "scores",
    ]
    first = summary["circuits"][0]
    assert first["reads"] == {"in0": "image"}
    assert first["cells"] == dict(stages(program).part("bits").circuit().counts)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [".gatefold", "circuits.json", *(entry["file"] + ".aig" for entry in summary["circuits"])]
    )
    other = exporters.export(program, "netlist", tmp_path / "again", format="aiger")
    assert all((other / p.name).read_bytes() == p.read_bytes() for p in folder.iterdir())


def test_a_whole_program_is_one_file(tmp_path) -> None:
    program = small_network(2)
    folder = exporters.export(program, "netlist", tmp_path / "whole", whole="yes", format="aiger")
    inputs = random_inputs(program, 64, 0)
    lanes = to_lanes(inputs["image"].reshape(64, -1), 2)
    found = run_aiger((folder / "small.aig").read_bytes(), lanes)
    type_ = program.types["scores"]
    values = from_lanes(found, type_.bits, type_.interval.signed, 64)
    assert np.array_equal(values, Interpreter(program).run(inputs)["scores"])


def test_wide_bits_are_constants_at_the_border() -> None:
    b = Builder("offset")
    x = b.input("x", (1, 3, 3), Interval(2, 5))  # 0, the padding, is not a value of x
    y = b.add(Conv2d(Weights(np.ones((1, 1, 3, 3), np.int8), 3), padding=(1, 1)), x)
    run_flat(b.build((y,)), 50)


def test_one_bit_values_are_not_signed_by_mistake() -> None:
    b = Builder("bit")
    x = b.input("x", (3,), Interval(-1, 0))
    y = b.add(Dense(Weights(np.array([[1, -1, 1]], np.int8), 3)), x)
    run_flat(b.build((y,)), 64)
    assert BIT.bits == 1


def test_one_channel_is_a_part_of_the_circuit() -> None:
    circuit = stages(small_network()).part("bits").circuit()
    one = circuit.only(2)
    assert one.outputs[0].type.shape == (1, 1, 1)
    assert one.outputs[0].literals == [circuit.outputs[0].literals[2]]
    assert sum(one.counts.values()) < sum(circuit.counts.values())
    with pytest.raises(InputError, match=r"channel must be within 0..3 of 'bits', not 4"):
        circuit.only(4)


def test_a_channel_goes_with_a_part(tmp_path) -> None:
    for options in ({"channel": "1"}, {"channel": "x", "part": "bits"}):
        with pytest.raises(InputError, match="channel must be a number, together with part, not"):
            exporters.export(small_network(), "netlist", tmp_path / "n", **options)
    folder = exporters.export(small_network(), "netlist", tmp_path / "n", part="bits", channel="1")
    assert json.loads((folder / "circuits.json").read_text())["circuits"][0]["outputs"][0]["shape"] == [
        1,
        1,
        1,
    ]
