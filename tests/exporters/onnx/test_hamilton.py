"""Hamilton weights in ONNX: stored once as components, expanded on load, exact in every form."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters.onnx.build import build, render
from exporters.onnx.executor import OnnxExecutor, OnnxReferenceExecutor
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, MaxPool, Op, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import random_codes, random_inputs

PROFILES = ("portable", "modern")
BIT, PIXEL, WIDE, HUGE = Interval(0, 1), Interval(0, 255), Interval(0, 2**12), Interval(-(2**40), 2**40)


def hamilton(outputs: int, inputs: int, *kernel: int, levels: int = 3, plain: bool = False) -> Weights:
    rng = np.random.default_rng(outputs * inputs)
    weights = Weights.hamilton(random_codes(rng, (4, outputs // 4, inputs // 4, *kernel), levels), levels)
    return Weights(weights.codes, levels, "base") if plain else weights


def steps(channels: int, count: int, directions: tuple[int, ...]) -> Threshold:
    """Thresholds within 10 of 0, the first channel's never reached if it rises."""
    rng = np.random.default_rng(channels)
    rows = np.sort(rng.integers(-10, 11, (channels, count)), axis=1)
    rows[0] += 10**9
    direction = np.resize(directions, channels)
    return Threshold(np.where(direction[:, None] > 0, rows, rows[:, ::-1]), direction)


def chain(interval: Interval, *ops: Op) -> Program:
    b = Builder("chain")
    x = b.input("x", (8, 6, 5), interval)
    for op in ops:
        x = b.add(op, x)
    return b.build((x,))


def conv(levels: int = 3) -> Conv2d:
    return Conv2d(hamilton(12, 8, 3, 2, levels=levels), np.arange(12) - 5, (2, 1), (1, 1))


FORMS: dict[str, tuple[str, Program]] = {
    "rising": ("QLinearConv", chain(BIT, conv(), steps(12, 1, (1,)))),
    "falling": ("QLinearConv", chain(BIT, conv(), steps(12, 1, (1, -1)))),
    "three steps": ("QLinearConv", chain(BIT, conv(5), steps(12, 3, (-1, 1)))),
    "pooled": ("QLinearConv", chain(PIXEL, conv(2), MaxPool((2, 2), (1, 1)), steps(12, 1, (1, -1)))),
    "bytes": ("MatMulInteger", chain(PIXEL, conv(64))),
    "dense": ("MatMulInteger", chain(BIT, Reshape((240,)), Dense(hamilton(20, 240, levels=17)))),
    "float32": ("Conv", chain(WIDE, conv(15))),
    "wide": ("MatMul", chain(HUGE, conv(4))),
    "wide dense": ("MatMul", chain(HUGE, Reshape((240,)), Dense(hamilton(4, 240)))),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_exact(form: str, profile: str) -> None:
    operator, program = FORMS[form]
    assert operator in {node.op_type for node in build(program, profile).graph.node}
    inputs = random_inputs(program, 6, seed=1)
    (expected,) = Interpreter(program).run(inputs).values()
    assert np.unique(expected).size > 1
    for executor in (
        OnnxExecutor(program, profile),
        OnnxExecutor(program, profile, "disabled"),
        OnnxReferenceExecutor(program, profile),
    ):
        (found,) = executor.run(inputs).values()
        assert np.array_equal(found, expected)


def network(plain: bool) -> Program:
    b = Builder("network")
    x = b.input("x", (8, 8, 8), BIT)
    for outputs in (32, 64):
        x = b.add(
            Conv2d(hamilton(outputs, b.type_of(x).channels, 3, 3, plain=plain), padding=(1, 1)),
            x,
        )
        x = b.add(steps(outputs, 1, (1, -1)), x)
    x = b.add(Reshape((4096,)), x)
    return b.build((b.add(Dense(hamilton(32, 4096, plain=plain)), x),))


WEIGHTS = 32 * 8 * 9 + 64 * 32 * 9 + 32 * 4096
PER_BYTE = {"portable": 5, "modern": 4}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_file_holds_a_quarter_of_the_weights(profile: str) -> None:
    whole, quarter = (len(render(network(plain), profile)[".onnx"]) for plain in (True, False))
    saved = 3 / 4 * WEIGHTS / PER_BYTE[profile]
    assert abs(whole - quarter - saved) < 6000  # operators and constants of the expansion
    stored = [t for t in build(network(plain=False), profile).graph.initializer if "weights" in t.name]
    assert sum(len(t.raw_data) for t in stored) < WEIGHTS / PER_BYTE[profile] / 4 + len(stored)


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_of_the_expansion_is_left_once_loaded(profile: str, tmp_path: Path) -> None:
    """So a session runs at the speed of expanded weights: its operators are the same ones."""
    left = []
    for plain in (True, False):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(tmp_path / f"{plain}.onnx")
        model = render(network(plain), profile)[".onnx"]
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(tmp_path / f"{plain}.onnx").graph
        left.append(Counter(node.op_type for node in optimized.node))
    assert left[0] == left[1]
    assert not {"Gather", "Neg", "Mul", "Concat"} & set(left[1])


def test_layers_share_the_table_of_places() -> None:
    graph = build(network(plain=False)).graph
    assert [list(t.dims) for t in graph.initializer if "hamilton" in t.name] == [[4, 4]]


def test_sparse_weights_are_stored_dense() -> None:
    codes = np.zeros((20, 8), np.int8)
    codes[3, 4] = -1
    programs = [
        chain(BIT, Reshape((240,)), Dense(Weights(np.tile(codes, (1, 30)), 3, encoding)))
        for encoding in ("sparse", "base")
    ]
    assert programs[0].nodes[1].op.weights.stored_bytes < programs[1].nodes[1].op.weights.stored_bytes
    (one, other) = (
        [t.raw_data for t in build(p).graph.initializer if "weights" in t.name] for p in programs
    )
    assert one == other
