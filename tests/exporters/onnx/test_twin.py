"""The float32 twin: a valid model of the same layers and shapes that runs on float32 inputs."""

from collections import Counter

import numpy as np
import onnx
import pytest

from exporters.onnx.executor import open_model
from exporters.onnx.twin import RULES, float32_twin, model_runner
from runtime.ir import Builder, Program
from runtime.ops import OPS, Conv2d, Dense, MaxPool, Or, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import OP_CASES, random_inputs


def network() -> Program:
    rng = np.random.default_rng(0)
    b = Builder("net")
    x = b.input("image", (3, 8, 8), Interval(0, 255))
    bits = Threshold(np.zeros((16, 1), np.int64), np.ones(16, np.int64))
    x = stem = b.add(bits, b.add(Conv2d(Weights(rng.integers(-1, 2, (16, 3, 3, 3)), 3), padding=(1, 1)), x))
    x = b.add(Conv2d(Weights(rng.integers(-1, 2, (16, 16, 3, 3)), 3), padding=(1, 1)), x)
    x = b.add(MaxPool((2, 2), (2, 2)), b.add(Or(), b.add(bits, x), stem))
    x = b.add(Dense(Weights(rng.integers(-1, 2, (10, 256)), 3)), b.add(Reshape((256,)), x))
    return b.build(outputs=(x,))


def test_every_op_has_a_rule() -> None:
    assert set(RULES) == set(OPS.values())


@pytest.mark.parametrize("op", OPS)
def test_every_op_runs_with_the_shapes_of_the_program(op: str) -> None:
    for program in OP_CASES[op]:
        model = float32_twin(program)
        onnx.checker.check_model(model, full_check=True)
        session = open_model(model.SerializeToString())
        inputs = random_inputs(program, 2, 0)
        feeds = {name: array.astype(np.float32) for name, array in inputs.items()}
        for name, result in zip(program.outputs, session.run(program.outputs, feeds), strict=True):
            assert result.dtype == np.float32
            assert result.shape == (2, *program.types[name].shape)


def test_a_network_has_the_operators_a_float32_one_would_have() -> None:
    model = float32_twin(network())
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 2,
        "Relu": 2,
        "Add": 1,
        "MaxPool": 1,
        "Reshape": 1,
        "Gemm": 1,
    }
    parameters = 16 * 27 + 16 * 144 + 10 * 256 + 16 + 16 + 10
    size = len(model.SerializeToString())
    assert 4 * parameters < size < 4 * parameters + 2000


def test_the_runner_runs_the_twin() -> None:
    (scores,) = model_runner(float32_twin(network()), np.ones((2, 3, 8, 8), np.float32))()  # type: ignore[misc]
    assert scores.shape == (2, 10)
    assert np.isfinite(scores).all()
