"""The int8 network of the same shape, as ONNX Runtime runs it fastest: to compare speed.

Activations are uint8 with a zero point of 0 from layer to layer, weights int8 with a scale per output
channel: ``QLinearConv`` and ``QGemm``, whose clamp at 0 is the ReLU. On x86 int8 activations take ten
times as long, uint8 weights half as long again; the QDQ form of the same network ends in the same kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.legalize import legalize, unused
from exporters.onnx.build import BATCH
from exporters.onnx.rules.linear import conv_attributes
from exporters.onnx.twin import IR_VERSION, OPSET, RULES, TwinGraph, float_info, weight_scale
from runtime.ir import Input, Node, Program
from runtime.ops import (
    Add,
    And,
    Clip,
    Concat,
    Conv2d,
    Dense,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Op,
    Or,
    Requantize,
    Reshape,
    Roll,
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
from runtime.types import TensorType
from runtime.weights import Weights

CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own quantized operators."""


class Int8Graph(TwinGraph):
    """The twin's nodes, and the tensors that hold each value: as bytes, as float32, or as both."""

    def __init__(self, program: Program, types: dict[str, TensorType]) -> None:
        super().__init__(types)
        self._bytes = {spec.name: spec.name for spec in program.inputs if is_byte(spec)}
        self._floats = {spec.name: spec.name for spec in program.inputs if not is_byte(spec)}
        self._inputs = {spec.name for spec in program.inputs}
        self._taken = set(types)
        self.one = self.scalar(np.float32(1))
        self.zero = self.scalar(np.uint8(0))

    @property
    def unit(self) -> tuple[str, str]:
        """Scale 1 and zero point 0, which every activation has."""
        return self.one, self.zero

    def scalar(self, value: np.generic) -> str:
        """The name of a new initializer without axes."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value), name))
        return name

    def fresh(self, value: str) -> str:
        """A name for another tensor that holds ``value``."""
        return unused(f"{value}.int8", self._taken)

    def in_bytes(self, node: Node) -> bool:
        """Whether every operand is held as bytes already."""
        return all(name in self._bytes for name in node.operands)

    def read_bytes(self, value: str) -> str:
        """The tensor that holds ``value`` in uint8, quantized now if there is none yet."""
        if value not in self._bytes:
            self._bytes[value] = self.emit("QuantizeLinear", self._floats[value], *self.unit)
        return self._bytes[value]

    def read_float(self, value: str) -> str:
        """The tensor that holds ``value`` in float32; it has the value's name unless that is an input."""
        if value not in self._floats:
            name = self.fresh(value) if value in self._inputs else value
            self._floats[value] = self.emit("DequantizeLinear", self._bytes[value], *self.unit, output=name)
            self.types[name] = self.types[value]
        return self._floats[value]

    def hold_bytes(self, value: str, tensor: str) -> None:
        """Note that ``tensor`` holds ``value`` in uint8."""
        self._bytes[value] = tensor

    def emit_float(self, node: Node) -> None:
        """The node as the float32 twin has it."""
        operands = tuple(self.read_float(name) for name in node.operands)
        RULES[type(node.op)](self, replace(node, operands=operands))
        self._floats[node.result] = node.result


Int8Rule = Callable[[Int8Graph, Node], str | None]
"""Emits one node on bytes and gives the tensor that holds its result; None where float32 must do."""


def is_byte(spec: Input) -> bool:
    """Whether an input is given as uint8, as images are."""
    return spec.type.interval.lo >= 0 and spec.type.interval.hi <= 255


def _weights(graph: Int8Graph, weights: Weights) -> tuple[str, str, str]:
    """Codes, their scales by output channel, zero points."""
    outputs = weights.shape[0]
    return (
        graph.constant(weights.codes.astype(np.int8)),
        graph.constant(np.full(outputs, weight_scale(weights))),
        graph.constant(np.zeros(outputs, np.int8)),
    )


def _bias(graph: Int8Graph, weights: Weights) -> str:
    return graph.constant(np.zeros(weights.shape[0], np.int32))


def _conv(graph: Int8Graph, node: Node) -> str:
    op = cast(Conv2d, node.op)
    return graph.emit(
        "QLinearConv",
        graph.read_bytes(node.operands[0]),
        *graph.unit,
        *_weights(graph, op.weights),
        *graph.unit,
        _bias(graph, op.weights),
        **conv_attributes(op),
    )


def _dense(graph: Int8Graph, node: Node) -> str:
    weights = cast(Dense, node.op).weights
    operand = (graph.read_bytes(node.operands[0]), *graph.unit)
    constants = (*_weights(graph, weights), _bias(graph, weights))
    return graph.emit("QGemm", *operand, *constants, *graph.unit, domain=CONTRIB, transB=1)


def _same(graph: Int8Graph, node: Node) -> str:
    """No operator: the ReLU and every clamp are in the clamp of uint8, scales in those around it."""
    return graph.read_bytes(node.operands[0])


def _pairwise(operator: str, domain: str = CONTRIB) -> Int8Rule:
    """A rule for an operator of two quantized operands, the last two of the node."""

    def rule(graph: Int8Graph, node: Node) -> str:
        left, right = (graph.read_bytes(name) for name in (node.operands * 2)[-2:])
        return graph.emit(operator, left, *graph.unit, right, *graph.unit, *graph.unit, domain=domain)

    return rule


def _lookup(graph: Int8Graph, node: Node) -> str:
    """A table of 256 bytes, which is how ONNX Runtime computes a quantized sigmoid."""
    operand = graph.read_bytes(node.operands[0])
    return graph.emit("QLinearSigmoid", operand, *graph.unit, *graph.unit, domain=CONTRIB)


def _max_pool(graph: Int8Graph, node: Node) -> str:
    op = cast(MaxPool, node.op)
    window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding * 2}
    return graph.emit("MaxPool", graph.read_bytes(node.operands[0]), **window)


def _average_pool(graph: Int8Graph, node: Node) -> str | None:
    op = cast(SumPool, node.op)
    if 2 * max(op.padding) > min(op.kernel):
        return None
    window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding * 2}
    operand = (graph.read_bytes(node.operands[0]), *graph.unit)
    return graph.emit("QLinearAveragePool", *operand, *graph.unit, domain=CONTRIB, **window)


def _moved(graph: Int8Graph, node: Node) -> str:
    """The float32 twin's operator: it only moves elements, so bytes do as well."""
    operands = tuple(graph.read_bytes(name) for name in node.operands)
    result = graph.fresh(node.result)
    for name, tensor in zip((*node.operands, node.result), (*operands, result), strict=True):
        graph.types[tensor] = graph.types[name]
    RULES[type(node.op)](graph, replace(node, operands=operands, result=result))
    return result


QUANTIZING: dict[type[Op], Int8Rule] = {Conv2d: _conv, Dense: _dense, Threshold: _same}
"""Worth quantizing an operand for; a Threshold is where a network quantizes."""

STAYING: dict[type[Op], Int8Rule] = {
    Or: _pairwise("QLinearAdd"),
    Xor: _pairwise("QLinearAdd"),
    Select: _pairwise("QLinearAdd"),
    Add: _pairwise("QLinearAdd"),
    Sub: _pairwise("QLinearAdd"),
    And: _pairwise("QLinearMul"),
    Mul: _pairwise("QLinearMul"),
    Square: _pairwise("QLinearMul"),
    MatMul: _pairwise("QLinearMatMul", ""),
    Requantize: _same,
    ShiftRight: _same,
    Clip: _same,
    Lookup: _lookup,
    MaxPool: _max_pool,
    SumPool: _average_pool,
    Reshape: _moved,
    Concat: _moved,
    Slice: _moved,
    Transpose: _moved,
    Roll: _moved,
}
"""Computed on bytes where the operands are bytes already. Every other op runs in float32."""


def int8_twin(program: Program) -> onnx.ModelProto:
    """The int8 network with the layers of ``program``: see the module.

    An input of bytes is uint8, any other float32; outputs are float32; names are the program's. Its
    results mean nothing; its layers, parameters and multiply-accumulates are those of the program. An op
    without an int8 form runs in float32. Raises ProgramError where the float32 twin does.
    """
    legal = legalize(program, RULES, "the int8 twin")
    graph = Int8Graph(program, legal.types | program.types)
    for node in legal.nodes:
        rule = QUANTIZING.get(type(node.op)) or (
            STAYING.get(type(node.op)) if graph.in_bytes(node) else None
        )
        tensor = rule(graph, node) if rule else None
        if tensor is None:
            graph.emit_float(node)
        else:
            graph.hold_bytes(node.result, tensor)
    inputs = [_input_info(spec) for spec in program.inputs]
    given = {info.name: info for info in inputs}
    outputs = [given.get(name) or _output_info(graph, name) for name in program.outputs]
    body = helper.make_graph(graph.nodes, f"{program.name} in int8", inputs, outputs, graph.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="gatefold")


def _input_info(spec: Input) -> onnx.ValueInfoProto:
    if not is_byte(spec):
        return float_info(spec.name, spec.type)
    return helper.make_tensor_value_info(spec.name, TensorProto.UINT8, (BATCH, *spec.type.shape))


def _output_info(graph: Int8Graph, name: str) -> onnx.ValueInfoProto:
    graph.read_float(name)
    return float_info(name, graph.types[name])
