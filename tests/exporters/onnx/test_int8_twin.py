"""The int8 twin: a model of the program's layers that ONNX Runtime runs, on bytes wherever it can."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.onnx.executor import open_model
from exporters.onnx.int8_twin import QUANTIZING, STAYING, int8_twin
from exporters.onnx.twin import RULES, ModelSession
from runtime.ir import Builder, Program
from runtime.ops import OPS, Add, Conv2d, FloorSqrt, Lookup, Reshape, SumPool, Threshold
from runtime.serialize import load
from runtime.types import Interval
from runtime.weights import Weights
from tests.exporters.onnx.test_twin import network
from tests.programs import OP_CASES, random_inputs

TRAINED = sorted((Path(__file__).parents[3] / "sample_models" / "trained").glob("*/program.gfold"))


def check(program: Program) -> onnx.ModelProto:
    """Build and run it: shapes are the program's, outputs float32 unless they are inputs."""
    model = int8_twin(program)
    onnx.checker.check_model(model)
    session = open_model(model.SerializeToString())
    given = {info.name for info in session.get_inputs()}
    assert given == {spec.name for spec in program.inputs}
    inputs = random_inputs(program, 2, 0)
    results = ModelSession(model).runner(inputs)()
    for name, result in zip(program.outputs, results, strict=True):  # type: ignore[call-overload]
        assert result.shape == (2, *program.types[name].shape)
        assert result.dtype == np.float32 or name in given
    return model


@pytest.mark.parametrize("op", OPS)
def test_every_op_runs_with_the_shapes_of_the_program(op: str) -> None:
    for program in OP_CASES[op][:6]:
        check(program)


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.parent.name)
def test_every_trained_program_keeps_its_convolutions_in_int8(path: Path) -> None:
    program = load(path)
    counts = Counter(node.op_type for node in check(program).graph.node)
    linear = Counter(node.op.name for node in program.nodes)
    assert (counts["QLinearConv"], counts["QGemm"]) == (linear["Conv2d"], linear["Dense"])
    assert not counts["Conv"] + counts["Gemm"]


def test_a_network_stays_in_bytes_from_the_image_to_the_scores() -> None:
    model = check(network())
    assert Counter(node.op_type for node in model.graph.node) == {
        "QLinearConv": 2,
        "QLinearAdd": 1,
        "MaxPool": 1,
        "Reshape": 1,
        "QGemm": 1,
        "DequantizeLinear": 1,
    }
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    weights = [init for init in model.graph.initializer if init.data_type == onnx.TensorProto.INT8]
    assert max(len(init.dims) for init in weights) == 4


def test_an_op_without_an_int8_form_runs_in_float32_between_the_two_conversions() -> None:
    b = Builder("root")
    x = b.input("image", (2, 4, 4), Interval(0, 255))
    weights = Weights(np.ones((3, 2, 1, 1), np.int64), 3)
    bits = Threshold(np.zeros((3, 1), np.int64), np.ones(3, np.int64))
    root = b.add(FloorSqrt(), b.add(bits, b.add(Conv2d(weights), x)))
    again = b.add(Conv2d(Weights(np.ones((2, 3, 1, 1), np.int64), 3)), root)
    model = check(b.build((again,)))
    assert [node.op_type for node in model.graph.node] == [
        "QLinearConv",
        "DequantizeLinear",
        "Sqrt",
        "QuantizeLinear",
        "QLinearConv",
        "DequantizeLinear",
    ]


def test_a_wide_input_is_float32_and_sums_of_it_stay_so() -> None:
    b = Builder("wide")
    x = b.input("sums", (2, 3, 3), Interval(-1000, 1000))
    y = b.add(SumPool((3, 3), (3, 3)), b.add(Add(), x, x))
    model = check(b.build((y, x)))
    assert [node.op_type for node in model.graph.node] == ["Add", "AveragePool"]


def test_a_table_of_bytes_is_one_pass() -> None:
    b = Builder("table")
    x = b.input("image", (1, 2, 2), Interval(0, 3))
    y = b.add(Lookup(np.array([[3, 2, 1, 0]])), x)
    model = check(b.build((b.add(Reshape((4,)), y),)))
    assert [node.op_type for node in model.graph.node] == ["QLinearSigmoid", "Reshape", "DequantizeLinear"]


def test_rules_are_for_ops_that_the_float32_twin_knows() -> None:
    assert set(QUANTIZING) | set(STAYING) <= set(RULES)
    assert not set(QUANTIZING) & set(STAYING)
