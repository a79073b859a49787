"""Conv2d and Dense with full accumulators: which exact form fits the operand, and emitting it.

=============================  ==========================================================
operand                        form
=============================  ==========================================================
bytes (after a zero point)     im2col and MatMulInteger, ConvInteger if grouped; int32
sums below 2**24               float32 Conv: every partial sum is an integer float32 holds
anything else                  im2col and MatMul on int32 or int64
=============================  ==========================================================

``Weights`` keeps ``|w| <= 63``, so the pairs of products that x86 without VNNI adds in int16 stay
below 2 * 255 * 63 and never saturate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from exporters.onnx.graph import FLOAT32, INT32, INT64, UINT8, Form, Graph, wide_carrier
from exporters.onnx.profiles import store_weights
from exporters.onnx.rules.pool import pad
from runtime.ir import Node
from runtime.ops import Conv2d, Dense, Op
from runtime.types import FLOAT32_EXACT, ZERO, IntArray, Interval, TensorType
from runtime.weights import Weights

UNSIGNED_SHIFT = 64
"""Added to int8 codes, ``|w| <= 63``, to make them uint8 weights with this zero point."""


def zero_point(interval: Interval) -> int | None:
    """The smallest ``z`` for which ``x + z`` is a byte for every ``x`` and for 0, or None."""
    seen = interval.hull(ZERO)
    return -seen.lo if seen.hi - seen.lo <= 255 else None


def as_bytes(graph: Graph, value: str, zero: int) -> str:
    """The uint8 tensor of ``value + zero``."""
    if not zero:
        return graph.read(value, UINT8)
    shifted = graph.emit("Add", graph.read(value, INT32), graph.scalar(zero, INT32))
    return graph.cast(shifted, UINT8.dtype)


def largest_sum(weights: Weights, magnitude: int, shift: int = 0) -> int:
    """Bound of every partial sum of ``(|w| + shift) x`` with ``|x| <= magnitude``, over the outputs."""
    flat = np.abs(weights.codes.astype(np.int64)).reshape(weights.shape[0], -1) + shift
    return int(flat.sum(axis=1).max()) * magnitude


def fits_int32(weights: Weights, zero: int, shift: int = 0) -> bool:
    """Whether sums of byte operands stay inside int32 before their zero points are taken off."""
    return largest_sum(weights, 255 + zero, shift) < 2**31


def dense(graph: Graph, node: Node) -> tuple[str, Form]:
    """MatMulInteger on bytes, else MatMul on int32 or int64."""
    op = cast(Dense, node.op)
    (x,) = node.operands
    interval = graph.types[x].interval
    zero = zero_point(interval)
    order, shape = (1, 0), op.weights.shape[::-1]
    if zero is not None and fits_int32(op.weights, zero):
        operand = as_bytes(graph, x, zero)
        tensor, form = _matmul_bytes(graph, operand, store_weights(graph, op.weights, order, shape), zero)
    else:
        form = _sum_form(op.weights, interval)
        operand = graph.read(x, form)
        tensor = _matmul_wide(graph, operand, store_weights(graph, op.weights, order, shape), form)
    return _add_bias(graph, tensor, form, op.bias, node.type)


def conv2d(graph: Graph, node: Node) -> tuple[str, Form]:
    """The first exact form of the table above that fits."""
    op = cast(Conv2d, node.op)
    (x,) = node.operands
    type_ = graph.types[x]
    zero = zero_point(type_.interval)
    shift = UNSIGNED_SHIFT if op.groups > 1 else 0
    if zero is not None and fits_int32(op.weights, zero, shift):
        tensor, form = _conv_bytes(graph, node, zero)
    elif largest_sum(op.weights, type_.interval.magnitude) <= FLOAT32_EXACT:
        tensor, form = _conv_float32(graph, op, x)
    else:
        form = _sum_form(op.weights, type_.interval)
        patches = _patches(graph, node, graph.read(x, form), form, 0)
        product = _matmul_wide(graph, patches, _patch_weights(graph, op), form)
        tensor = _to_image(graph, product, node.type.shape)
    return _add_bias(graph, tensor, form, op.bias, node.type)


def conv_attributes(op: Conv2d) -> dict[str, Any]:
    """Attributes shared by Conv, ConvInteger and QLinearConv."""
    return {
        "kernel_shape": op.weights.shape[2:],
        "strides": op.stride,
        "pads": (*op.padding, *op.padding),
        "dilations": op.dilation,
        "group": op.groups,
    }


def _conv_bytes(graph: Graph, node: Node, zero: int) -> tuple[str, Form]:
    op = cast(Conv2d, node.op)
    image = as_bytes(graph, node.operands[0], zero)
    if op.groups == 1:
        patches = _patches(graph, node, image, UINT8, zero)
        product, form = _matmul_bytes(graph, patches, _patch_weights(graph, op), zero)
        return _to_image(graph, product, node.type.shape), form
    # int8 weights in ConvInteger are 10 times slower than uint8 weights with a zero point.
    codes = graph.profile.store(graph, op.weights.codes, op.weights.levels)
    shifted = graph.emit("Add", graph.cast(codes, INT32.dtype), graph.scalar(UNSIGNED_SHIFT, INT32))
    weights = graph.cast(shifted, UINT8.dtype)
    zeros = (graph.scalar(zero, UINT8), graph.scalar(UNSIGNED_SHIFT, UINT8))
    return graph.emit("ConvInteger", image, weights, *zeros, **conv_attributes(op)), INT32


def _conv_float32(graph: Graph, op: Conv2d, x: str) -> tuple[str, Form]:
    codes = store_weights(graph, op.weights, range(4), op.weights.shape)
    weights, image = graph.cast(codes, FLOAT32.dtype), graph.read(x, FLOAT32)
    return graph.cast(graph.emit("Conv", image, weights, **conv_attributes(op)), INT32.dtype), INT32


def _patch_weights(graph: Graph, op: Conv2d) -> str:
    """Codes as (rows * columns * inputs, outputs), or (1, groups, .., outputs of a group)."""
    outputs, inputs, rows, columns = op.weights.shape
    taps = rows * columns * inputs
    if op.groups == 1:
        return store_weights(graph, op.weights, (2, 3, 1, 0), (taps, outputs))
    grouped = op.weights.codes.reshape(op.groups, outputs // op.groups, inputs, rows, columns)
    flat = grouped.transpose(0, 3, 4, 2, 1).reshape(1, op.groups, taps, -1)
    return graph.profile.store(graph, np.ascontiguousarray(flat), op.weights.levels)


def _patches(graph: Graph, node: Node, image: str, form: Form, fill: int) -> str:
    """im2col of a Conv2d: (batch, groups, positions, rows * columns * inputs of a group)."""
    op = cast(Conv2d, node.op)
    _, inputs, rows, columns = op.weights.shape
    padded = pad(graph, image, op.padding, fill, form)
    nhwc = graph.emit("Transpose", padded, perm=(0, 2, 3, 1))
    taps = []
    for u, v in np.ndindex(rows, columns):
        start = (u * op.dilation[0], v * op.dilation[1])
        end = tuple(start[a] + (node.type.shape[1 + a] - 1) * op.stride[a] + 1 for a in (0, 1))
        tap = graph.emit(
            "Slice",
            nhwc,
            graph.shape(*start),
            graph.shape(*end),
            graph.shape(1, 2),
            graph.shape(*op.stride),
        )
        taps.append(graph.emit("Reshape", tap, graph.shape(0, -1, op.groups, inputs)))
    joined = graph.emit("Concat", *taps, axis=3) if len(taps) > 1 else taps[0]
    return graph.emit("Transpose", joined, perm=(0, 2, 1, 3))


def _to_image(graph: Graph, product: str, shape: tuple[int, ...]) -> str:
    """(batch, groups, positions, outputs of a group) as (batch, outputs, rows, columns)."""
    channels_first = graph.emit("Transpose", product, perm=(0, 1, 3, 2))
    return graph.emit("Reshape", channels_first, graph.shape(0, *shape))


def _matmul_bytes(graph: Graph, tensor: str, weights: str, zero: int) -> tuple[str, Form]:
    zeros = (graph.scalar(zero, UINT8),) if zero else ()
    return graph.emit("MatMulInteger", tensor, weights, *zeros), INT32


def _matmul_wide(graph: Graph, tensor: str, weights: str, form: Form) -> str:
    return graph.emit("MatMul", tensor, graph.cast(weights, form.dtype))


def _sum_form(weights: Weights, operand: Interval) -> Form:
    """INT32 or INT64, whichever holds the operand and every partial sum."""
    bound = largest_sum(weights, operand.magnitude)
    return wide_carrier(operand, Interval(-bound, bound))


def _add_bias(
    graph: Graph, tensor: str, form: Form, bias: IntArray | None, type_: TensorType
) -> tuple[str, Form]:
    if bias is None or not bias.any():
        return tensor, form
    wanted = wide_carrier(type_.interval, Interval.of(bias.tolist()))
    if wanted == INT64 and form != INT64:
        tensor, form = graph.cast(tensor, INT64.dtype), INT64
    return graph.emit("Add", tensor, graph.per_channel(bias, form, len(type_.shape), "bias")), form


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {Conv2d: conv2d, Dense: dense}
