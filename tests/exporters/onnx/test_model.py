"""The model as an artifact: interface, names, notes, standard operators, packed bytes."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from exporters.onnx.build import build, flatten, render
from exporters.onnx.executor import OnnxExecutor
from exporters.onnx.profiles import PROFILES, digit_table
from exporters.onnx.rules import RULES
from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import OPS, ArgMax, Conv2d, Dense, Lookup, Reshape, Threshold
from runtime.types import Interval
from runtime.version import VERSION
from runtime.weights import Weights, code_step, max_code
from tests.programs import OP_CASES, random_codes

METADATA = {"model": "digits", "accuracy": 0.97, "data": {"name": "mnist", "split": [6, 1]}}


def classifier() -> Program:
    rng = np.random.default_rng(0)
    b = Builder("classifier")
    x = b.input("image", (1, 6, 6), Interval(0, 16))
    b.at_layer("features.0")
    x = b.add(Conv2d(Weights(rng.integers(-1, 2, (4, 1, 3, 3)), 3)), x, name="conv")
    x = b.add(Threshold(rng.integers(-9, 9, (4, 1)), np.ones(4, np.int64)), x, name="bits")
    b.at_layer("head")
    x = b.add(Dense(Weights(rng.integers(-2, 3, (5, 64)), 5)), b.add(Reshape((64,)), x), name="scores")
    return b.build(outputs=(x, b.add(ArgMax(), x, name="class")), metadata=METADATA)


def interface(values: object) -> dict[str, tuple[int, list[str | int]]]:
    return {
        v.name: (
            v.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
        )
        for v in values  # type: ignore[attr-defined]
    }


def props(proto: object) -> dict[str, str]:
    return {p.key: p.value for p in proto.metadata_props}  # type: ignore[attr-defined]


def test_every_op_has_a_rule() -> None:
    assert set(RULES) == set(OPS.values())


def test_interface() -> None:
    graph = build(classifier()).graph
    assert interface(graph.input) == {"image": (TensorProto.UINT8, ["batch", 1, 6, 6])}
    assert interface(graph.output) == {
        "scores": (TensorProto.INT32, ["batch", 5]),
        "class": (TensorProto.INT32, ["batch"]),
    }


@pytest.mark.parametrize(
    ("interval", "input_type", "output_type"),
    [
        (Interval(0, 16), TensorProto.UINT8, TensorProto.INT32),
        (Interval(-128, 127), TensorProto.INT8, TensorProto.INT32),
        (Interval(0, 256), TensorProto.UINT16, TensorProto.INT32),
        (Interval(-5, 128), TensorProto.INT16, TensorProto.INT32),
        (Interval(0, 2**31 - 1), TensorProto.UINT32, TensorProto.INT32),
        (Interval(0, 2**31), TensorProto.UINT32, TensorProto.INT64),
        (Interval(-1, 2**40), TensorProto.INT64, TensorProto.INT64),
    ],
    ids=str,
)
def test_dtypes_follow_intervals(interval: Interval, input_type: int, output_type: int) -> None:
    b = Builder("move")
    x = b.input("x", (2, 2), interval)
    program = b.build(outputs=(b.add(Reshape((4,)), x, name="y"), "x"))
    model = build(program)
    onnx.checker.check_model(model, full_check=True)
    assert interface(model.graph.input)["x"][0] == input_type
    found = interface(model.graph.output)
    assert (found["y"][0], found["x"][0]) == (output_type, input_type)
    array = np.array([[[interval.lo, interval.hi], [interval.hi, interval.lo]]])
    results = OnnxExecutor(program).run({"x": array})
    assert results["y"].tolist() == [array.reshape(-1).tolist()]
    assert results["x"].tolist() == array.tolist()


def test_the_batch_is_dynamic() -> None:
    program = classifier()
    executor = OnnxExecutor(program)
    images = np.random.default_rng(0).integers(0, 17, (9, 1, 6, 6))
    expected = Interpreter(program).run({"image": images})
    for batch in (1, 2, 9):
        found = executor.run({"image": images[:batch]})
        assert {k: v.tolist() for k, v in found.items()} == {
            k: v[:batch].tolist() for k, v in expected.items()
        }


@pytest.mark.parametrize("profile", PROFILES)
def test_versions_and_standard_operators(profile: str) -> None:
    model = build(classifier(), profile)
    row = PROFILES[profile]
    assert model.ir_version == row.ir_version
    assert [(o.domain, o.version) for o in model.opset_import] == [("", row.opset)]
    assert {node.domain for node in model.graph.node} == {""}
    assert "DequantizeLinear" not in {node.op_type for node in model.graph.node}


def test_unknown_profile() -> None:
    with pytest.raises(InputError) as caught:
        build(classifier(), "old")
    assert str(caught.value) == "profile must be one of portable, modern, not 'old'"


def test_names_read_well() -> None:
    graph = build(classifier(), "modern").graph
    assert [(node.op_type, *node.output) for node in graph.node] == [
        ("Cast", "bits/Cast"),
        ("QLinearConv", "bits"),
        ("Reshape", "reshape"),
        ("BitwiseAnd", "scores/BitwiseAnd"),
        ("Cast", "scores/Cast"),
        ("MatMulInteger", "scores"),
        ("ArgMax", "class/ArgMax"),
        ("Cast", "class"),
    ]
    assert all(node.name for node in graph.node)
    assert [t.name for t in graph.initializer if "weights" in t.name] == ["bits/weights", "scores/weights"]


NARROWEST = {"Add": 4, "Sub": 4, "Mul": 4, "Max": 4, "Min": 4, "GreaterOrEqual": 4, "Equal": 4, "MatMul": 4}
"""Operators that ONNX Runtime 1.19 has for int32 and int64 alone, with the narrowest item size."""


@pytest.mark.parametrize("op", OPS)
def test_portable_keeps_to_what_old_runtimes_have(op: str) -> None:
    for program in OP_CASES[op]:
        model = onnx.shape_inference.infer_shapes(build(program), strict_mode=True, data_prop=True)
        graph = model.graph
        types = {
            v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)
        }
        types |= {t.name: t.data_type for t in graph.initializer}
        for node in graph.node:
            size = onnx.helper.tensor_dtype_to_np_dtype(types[node.input[0]]).itemsize
            assert size >= NARROWEST.get(node.op_type, 0), node.name
            assert node.op_type != "ArgMax" or size <= 4, node.name


def test_notes_on_model_graph_and_nodes() -> None:
    model = build(classifier(), "modern")
    assert props(model) == {
        "program.name": "classifier",
        "program.model": "digits",
        "program.accuracy": "0.97",
        "program.data.name": "mnist",
        "program.data.split": "[6, 1]",
        "gatefold.version": VERSION,
        "gatefold.profile": "modern",
    }
    assert props(model.graph) == {"program": "classifier", "profile": "modern"}
    (conv,) = [node for node in model.graph.node if node.op_type == "QLinearConv"]
    assert props(conv)["layer"] == "features.0"
    assert props(conv)["op"].startswith("%bits: u1[4x4x4] in [0, 1] = Threshold(%conv)")


def test_metadata_is_flattened_to_text() -> None:
    assert dict(flatten({"a": {"b": {"c": None}}, "d": "text", "e": [1, {"f": True}]})) == {
        "a.b.c": "null",
        "d": "text",
        "e": json.dumps([1, {"f": True}]),
    }


def dense_program(levels: int, count: int) -> Program:
    rng = np.random.default_rng(levels)
    b = Builder("dense")
    x = b.input("x", (count,), Interval(0, 1))
    weights = Weights(random_codes(rng, (101, count), levels), levels)
    return b.build(outputs=(b.add(Dense(weights), x, name="y"),))


@pytest.mark.parametrize("count", [100, 301])
@pytest.mark.parametrize(
    ("profile", "levels", "weights_per_byte"),
    [
        ("portable", 3, 5),
        ("portable", 5, 3),
        ("portable", 7, 2),
        ("portable", 15, 2),
        ("portable", 17, 1),
        ("portable", 2, 8),
        ("portable", 4, 4),
        ("portable", 6, 3),
        ("portable", 8, 2),
        ("portable", 16, 2),
        ("portable", 18, 1),
        ("modern", 2, 4),
        ("modern", 4, 2),
        ("modern", 8, 2),
        ("modern", 10, 2),
        ("modern", 16, 2),
        ("modern", 18, 1),
        ("modern", 3, 4),
        ("modern", 5, 2),
        ("modern", 15, 2),
        ("modern", 17, 1),
    ],
)
def test_weights_are_packed_and_decode_to_themselves(
    profile: str, levels: int, weights_per_byte: int, count: int
) -> None:
    program = dense_program(levels, count)
    content = render(program, profile)[".onnx"]
    model = onnx.load_from_string(content)
    (packed,) = [len(t.raw_data) for t in model.graph.initializer if "weights" in t.name]
    assert packed == -(-101 * count // weights_per_byte)
    assert len(content) - packed < 4000
    inputs = np.random.default_rng(0).integers(0, 2, (4, count))
    expected = Interpreter(program).run({"x": inputs})["y"]
    for optimization in ("disabled", "all"):
        found = OnnxExecutor(program, profile, optimization).run({"x": inputs})["y"]
        assert np.array_equal(found, expected)


def test_layers_share_one_digit_table() -> None:
    b = Builder("two")
    x = b.input("x", (40,), Interval(0, 1))
    for _ in range(2):
        x = b.add(Dense(Weights(np.random.default_rng(0).integers(-1, 2, (40, 40)), 3)), x)
    tables = [t for t in build(b.build(outputs=(x,))).graph.initializer if list(t.dims) == [243, 5]]
    assert len(tables) == 1


@pytest.mark.parametrize("levels", range(2, 17))
def test_digit_tables_cover_every_byte_once(levels: int) -> None:
    table = digit_table(levels)
    assert table.dtype == np.int8
    assert len({tuple(row) for row in table.tolist()}) == len(table) == levels ** table.shape[1]
    top, step = max_code(levels), code_step(levels)
    assert np.unique(table).tolist() == list(range(-top, top + 1, step))


def test_a_table_holds_only_the_entries_in_use() -> None:
    b = Builder("table")
    x = b.input("x", (3,), Interval(4, 5))
    program = b.build(outputs=(b.add(Lookup(np.arange(40)[None, ::-1] * 5, 0), x, name="y"),))
    (table,) = [t for t in build(program).graph.initializer if t.name.endswith("table")]
    assert (table.data_type, list(table.dims)) == (TensorProto.UINT8, [2])
    assert OnnxExecutor(program).run({"x": np.array([[4, 5, 4]])})["y"].tolist() == [[175, 170, 175]]
