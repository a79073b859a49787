"""Reports of programs with products, quotients and roots: operations, memory, skips, every format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.ir import Builder, Program
from runtime.ops import (
    Add,
    Clip,
    Conv2d,
    FloorSqrt,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
    Transpose,
)
from runtime.types import Interval
from runtime.weights import Weights
from toolchain.cost import report
from toolchain.cost.memory import fused
from toolchain.cost.nodes import node_costs
from toolchain.report import FORMATS

BYTE = Interval(0, 255)


def blocks() -> Program:
    """A gated product, an orthogonal update, a product of neighbours and a product of matrices."""
    b = Builder("blocks")
    x = b.input("x", (8, 4, 4), BYTE)
    f = b.input("f", (8, 4, 4), Interval(-128, 127))
    b.at_layer("gate")
    gain = b.add(Lookup(np.arange(1, 257)[None], -128), f, name="gain")
    gated = b.add(ShiftRight(8, "half-up"), b.add(Mul(), x, gain, name="gated"), name="shifted")
    stream = b.add(Clip(1, 255), gated, name="stream")
    b.at_layer("update")
    dot = b.add(ReduceSum((0,)), b.add(Mul(), stream, f, name="dots"), name="dot")
    norm = b.add(ReduceSum((0,)), b.add(Square(), stream, name="squares"), name="norm")
    scaled = b.add(Requantize([16], [0], [0], -(2**40), 2**40), dot, name="scaled")
    ratio = b.add(Clip(-64, 64), b.add(RoundDiv(), scaled, norm, name="quotient"), name="ratio")
    along = b.add(ShiftRight(4, "half-up"), b.add(Mul(), ratio, stream, name="aligned"), name="along")
    updated = b.add(Add(), b.add(Sub(), f, along, name="across"), stream, name="updated")
    y = b.add(Clip(0, 255), updated, name="y")
    b.at_layer("neighbours")
    factor = b.add(Requantize([3] * 8, [64] * 8, [0] * 8, -999, 999), b.add(Roll(1), y, name="rolled"))
    b.at_layer("tokens")
    quadratic = b.add(ShiftRight(10), b.add(Mul(), factor, y, name="quadratic"), name="halved")
    tokens = b.add(Reshape((1, 8, 16)), b.add(Clip(0, 15), quadratic, name="codes"), name="tokens")
    turned = b.add(Transpose((0, 2, 1)), tokens, name="turned")
    scores = b.add(MatMul(), tokens, turned, name="scores")
    root = b.add(FloorSqrt(), b.add(Square(), scores, name="power"), name="root")
    shifted = b.add(Add(), scores, b.add(ReduceSum((2,)), root, name="total"), name="shifted_scores")
    return b.build((shifted,))


def test_products_of_activations_are_operations_without_parameters():
    costs = {cost.name: cost for cost in node_costs(blocks())}
    bits = {name: type_.bits for name, type_ in blocks().types.items()}
    assert (costs["gated"].macs, costs["gated"].bops) == (128, 128 * 8 * 9)
    assert (costs["squares"].macs, costs["squares"].bops) == (128, 128 * 8 * 8)
    assert (costs["aligned"].macs, costs["aligned"].bops) == (128, 128 * bits["ratio"] * 8)
    assert costs["scores"].macs == 8 * 8 * 16
    assert costs["scores"].bops == 8 * 8 * 16 * bits["tokens"] ** 2
    assert {name for name, cost in costs.items() if cost.macs} == {
        "gated", "dots", "squares", "aligned", "quadratic", "scores", "power"
    }  # fmt: skip
    assert sum(cost.parameters for cost in costs.values()) == 0


def test_wide_values_are_not_stored_on_their_way_to_a_narrow_one():
    program = blocks()
    index = {node.result: i for i, node in enumerate(program.nodes)}
    ends = {name: program.nodes[i].result for name, i in fused(program).items()}
    assert ends == {
        "gated": "stream",
        "shifted": "stream",
        "dots": "scaled",
        "dot": "scaled",
        "squares": "norm",
        "quotient": "ratio",
        "aligned": "along",
        "updated": "y",
        "quadratic": "codes",
        "halved": "codes",
    }
    costs = {cost.name: cost for cost in node_costs(program)}
    for name in ends:
        assert costs[name].activation_bytes == costs[name].circuits.parallel["register"] == 0
        assert index[name] < index[ends[name]]
    assert costs["stream"].activation_bytes == 8 * 128 // 8
    assert costs["stream"].circuits.one_position["register"] == 8 * 8


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_row_for_every_node(name):
    text = FORMATS[name](report(blocks(), ["artix7-35t"]))
    for node in blocks().nodes:
        assert node.op.name in text
        assert node.result.replace("_", r"\_" if name == "markdown" else "_") in text


def test_gates_of_the_whole_are_those_of_its_nodes():
    result = report(blocks())
    data = json.loads(FORMATS["json"](result))
    for layer in data["layers"]:
        wires = layer["name"] in ("rolled", "halved", "tokens", "turned")
        cells = sum(count for cell, count in layer["gates"].items() if cell not in ("ge", "register"))
        assert (cells == 0) == wires
    assert result.total.circuits.one_position.ge < result.total.circuits.parallel.ge


def test_only_branches_of_one_shape_are_a_skip():
    rows = report(blocks()).to_json()["skip_cost"]["connections"]
    assert [(row["name"], row["kind"], row["shape"]) for row in rows] == [
        ("gated", "quotient", [8, 4, 4]),
        ("updated", "orthogonal", [8, 4, 4]),
    ]


@pytest.mark.parametrize(
    ("ops", "unstored"),
    [
        ([Clip(0, 99)], {"conv"}),
        ([Requantize([1], [0], [2], 0, 15)], {"conv"}),
        ([ShiftRight(2), Clip(0, 99)], {"conv", "v0"}),
        ([ShiftRight(2), Clip(0, 99), Lookup(np.arange(100)[None])], {"conv", "v0", "v1"}),
        ([MaxPool((2, 2), (2, 2)), Clip(0, 99)], {"conv", "v0"}),
        ([Clip(0, 99), MaxPool((2, 2), (2, 2))], {"conv", "v0"}),
        ([Clip(0, 99), MaxPool((2, 2), (1, 1))], {"conv"}),
        ([ReduceSum((1, 2)), ShiftRight(4, "half-up")], {"conv", "v0"}),
        ([Square()], set()),
        ([Square(), ReduceSum((1, 2))], {"v0"}),
        ([MaxPool((2, 2), (2, 2)), Square()], set()),
    ],
    ids=lambda value: "-".join(op.name for op in value) if isinstance(value, list) else "",
)
def test_what_is_not_stored_after_a_convolution(ops: list[Op], unstored: set[str]):
    b = Builder("chain")
    x = b.input("x", (4, 8, 8), BYTE)
    value = b.add(Conv2d(Weights(np.ones((1, 4, 3, 3), np.int8), 3), padding=(1, 1)), x, name="conv")
    for index, op in enumerate(ops):
        value = b.add(op, value, name=f"v{index}")
    assert set(fused(b.build((value,)))) == unstored
