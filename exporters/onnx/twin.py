"""The float32 network of the same shape: what a user would otherwise ship, to compare size and speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporters.legalize import legalize
from exporters.onnx.build import BATCH
from exporters.onnx.rules.linear import conv_attributes
from runtime.ir import Node, Program
from runtime.ops import (
    Add,
    And,
    ArgMax,
    Clip,
    Concat,
    Conv2d,
    Dense,
    FloorSqrt,
    Hadamard,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Not,
    Op,
    Or,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    Select,
    ShiftRight,
    Slice,
    Square,
    Sub,
    SumPool,
    Threshold,
    Transpose,
    Xor,
)
from runtime.ops.arithmetic import WALSH_HADAMARD
from runtime.types import TensorType
from runtime.weights import Weights

OPSET, IR_VERSION = 21, 10


class TwinGraph:
    """Nodes and float32 initializers of the twin; ``types`` gives shapes."""

    def __init__(self, types: dict[str, TensorType]) -> None:
        self.types = types
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[Any]) -> str:
        """The name of a new initializer."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def emit(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append one operator; returns the name of its output."""
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


Rule = Callable[[TwinGraph, Node], None]


def weight_scale(weights: Weights) -> np.float32:
    """What a code stands for, so that activations neither vanish nor blow up through many layers."""
    energy = float(np.square(weights.codes, dtype=np.float64).sum() / weights.shape[0])
    return np.float32(np.sqrt(2 / max(energy, 1)))


def _scaled(weights: Weights) -> NDArray[np.float32]:
    return weights.codes.astype(np.float32) * weight_scale(weights)


def _bias(graph: TwinGraph, outputs: int) -> str:
    return graph.constant(np.zeros(outputs, np.float32))


def _conv(graph: TwinGraph, node: Node) -> None:
    op = cast(Conv2d, node.op)
    graph.emit(
        "Conv",
        node.operands[0],
        graph.constant(_scaled(op.weights)),
        _bias(graph, op.weights.shape[0]),
        output=node.result,
        **conv_attributes(op),
    )


def _dense(graph: TwinGraph, node: Node) -> None:
    weights = cast(Dense, node.op).weights
    inputs = (node.operands[0], graph.constant(_scaled(weights)), _bias(graph, weights.shape[0]))
    graph.emit("Gemm", *inputs, output=node.result, transB=1)


def _operator(name: str) -> Rule:
    """A rule that carries the operands over to one float32 operator."""
    return lambda graph, node: cast(None, graph.emit(name, *node.operands, output=node.result))


def _select(graph: TwinGraph, node: Node) -> None:
    """A residual network adds its two branches where a gated one selects."""
    graph.emit("Add", *node.operands[1:], output=node.result)


def _affine(graph: TwinGraph, node: Node) -> None:
    """A scale and an offset per channel, as a normalization layer would apply."""
    shape = graph.types[node.operands[0]].shape
    channels = (shape[0] if shape else 1, *(1 for _ in shape[1:]))
    scaled = graph.emit("Mul", node.operands[0], graph.constant(np.ones(channels, np.float32)))
    offset = graph.constant(np.zeros(channels, np.float32))
    graph.emit("Add", scaled, offset, output=node.result)


def _pool(name: str) -> Rule:
    def rule(graph: TwinGraph, node: Node) -> None:
        op = cast(MaxPool | SumPool, node.op)
        if 2 * max(op.padding) > min(op.kernel):
            pads = graph.constant(np.array((0, 0, *op.padding) * 2, np.int64))
            source, padding = graph.emit("Pad", node.operands[0], pads), (0, 0)
        else:
            source, padding = node.operands[0], op.padding
        window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride}
        graph.emit(name, source, output=node.result, pads=(*padding, *padding), **window)

    return rule


def _reshape(graph: TwinGraph, node: Node) -> None:
    shape = graph.constant(np.array((0, *cast(Reshape, node.op).shape), np.int64))
    graph.emit("Reshape", node.operands[0], shape, output=node.result)


def _concat(graph: TwinGraph, node: Node) -> None:
    graph.emit("Concat", *node.operands, output=node.result, axis=1)


def _slice(graph: TwinGraph, node: Node) -> None:
    op = cast(Slice, node.op)
    bounds = (graph.constant(np.array([end], np.int64)) for end in (op.start, op.stop, 1))
    graph.emit("Slice", node.operands[0], *bounds, output=node.result)


def _hadamard(graph: TwinGraph, node: Node) -> None:
    blocks = graph.emit("Reshape", node.operands[0], graph.constant(np.array((0, 4, -1), np.int64)))
    mixed = graph.emit("MatMul", graph.constant(WALSH_HADAMARD.astype(np.float32)), blocks)
    shape = graph.constant(np.array((0, *node.type.shape), np.int64))
    graph.emit("Reshape", mixed, shape, output=node.result)


def _square(graph: TwinGraph, node: Node) -> None:
    graph.emit("Mul", *node.operands * 2, output=node.result)


def _clip(graph: TwinGraph, node: Node) -> None:
    op = cast(Clip, node.op)
    limits = (graph.constant(np.array(limit, np.float32)) for limit in (op.lo, op.hi))
    graph.emit("Clip", node.operands[0], *limits, output=node.result)


def _reduce_sum(graph: TwinGraph, node: Node) -> None:
    places = [1 + axis for axis in cast(ReduceSum, node.op).axes]
    axes = graph.constant(np.array(places, np.int64))
    graph.emit("ReduceSum", node.operands[0], axes, output=node.result, keepdims=1)


def _transpose(graph: TwinGraph, node: Node) -> None:
    perm = (0, *(1 + axis for axis in cast(Transpose, node.op).axes))
    graph.emit("Transpose", node.operands[0], output=node.result, perm=perm)


def _roll(graph: TwinGraph, node: Node) -> None:
    places = np.roll(np.arange(node.type.channels), cast(Roll, node.op).shift)
    graph.emit("Gather", node.operands[0], graph.constant(places), output=node.result, axis=1)


def _argmax(graph: TwinGraph, node: Node) -> None:
    index = graph.emit("ArgMax", node.operands[0], axis=1, keepdims=0)
    graph.emit("Cast", index, output=node.result, to=TensorProto.FLOAT)


RULES: dict[type[Op], Rule] = {
    Conv2d: _conv,
    Dense: _dense,
    Threshold: _operator("Relu"),
    Or: _operator("Add"),
    And: _operator("Mul"),
    Xor: _operator("Sub"),
    Not: _operator("Neg"),
    Select: _select,
    Add: _operator("Add"),
    Sub: _operator("Sub"),
    Mul: _operator("Mul"),
    Square: _square,
    MatMul: _operator("MatMul"),
    RoundDiv: _operator("Div"),
    FloorSqrt: _operator("Sqrt"),
    ShiftRight: _operator("Identity"),
    Clip: _clip,
    Hadamard: _hadamard,
    Requantize: _affine,
    Lookup: _affine,
    MaxPool: _pool("MaxPool"),
    SumPool: _pool("AveragePool"),
    ReduceSum: _reduce_sum,
    ArgMax: _argmax,
    Reshape: _reshape,
    Concat: _concat,
    Slice: _slice,
    Transpose: _transpose,
    Roll: _roll,
}


def float32_twin(program: Program) -> onnx.ModelProto:
    """The float32 network with the layers of ``program``: Conv, Gemm, Relu for Threshold, Add for skips.

    Inputs and outputs are float32 ``(batch, *shape)`` under the program's names. Its results mean
    nothing; its layers, parameters and multiply-accumulates are those of the program. Raises
    ProgramError for an op that has no rule and does not decompose.
    """
    legal = legalize(program, RULES, "the float32 twin")
    graph = TwinGraph(legal.types | program.types)
    for node in legal.nodes:
        RULES[type(node.op)](graph, node)
    body = helper.make_graph(
        graph.nodes,
        f"{program.name} in float32",
        [float_info(spec.name, spec.type) for spec in program.inputs],
        [float_info(name, graph.types[name]) for name in program.outputs],
        graph.initializers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(body, opset_imports=opset, ir_version=IR_VERSION, producer_name="gatefold")


def model_runner(
    model: onnx.ModelProto, inputs: NDArray[Any] | Mapping[str, NDArray[Any]], threads: int = 1
) -> Callable[[], object]:
    """A call that runs a model on ``inputs`` (batch, *shape), in ONNX Runtime.

    ``inputs``: one array for a model of one input, else arrays by name. They are converted to the
    dtypes of the model beforehand: uint8 for an exported program, float32 for its twin.
    """
    return ModelSession(model, threads).runner(inputs)


class ModelSession:
    """A model in ONNX Runtime, for batches of any size."""

    def __init__(self, model: onnx.ModelProto, threads: int = 1) -> None:
        from exporters.onnx.executor import open_model

        self._dtypes = {
            info.name: helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            for info in model.graph.input
        }
        self._session = open_model(model.SerializeToString(), threads=threads)

    def runner(self, inputs: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        """A call that runs the model on ``inputs``, as ``model_runner`` takes them."""
        given = inputs if isinstance(inputs, Mapping) else {next(iter(self._dtypes)): inputs}
        feeds = {name: given[name].astype(dtype) for name, dtype in self._dtypes.items()}
        return lambda: self._session.run(None, feeds)


def float_info(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    """An input or output of a twin in float32."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, (BATCH, *type_.shape))
