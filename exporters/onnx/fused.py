"""The fast form: Conv2d, perhaps MaxPool, and Threshold as one QLinearConv that stays in uint8.

QLinearConv computes ``saturate(round((acc + bias) * x_scale * w_scale / y_scale))``. With the first
step ``s`` of a channel in the bias and unit input scales:

* One step: ``bias = f (1 - s)`` for an operand held as ``f x`` (``f`` is 1, or 255 for a mask), so
  ``f acc + bias`` is at least ``f`` where ``acc >= s`` and at most 0 elsewhere. A multiplier of 256 / f
  rounded up to a power of two (256 or 1) lifts the former to 255 or more: the result is exactly a
  mask, 0 or 255. Float32 rounding of large accumulators is monotonic and cannot cross either end.
* K steps: ``y_scale = f`` yields ``v = clip(acc - s + 1, 0, 255)`` exactly, because the integers that
  are not clipped are small. ``acc >= s_k`` is then ``v >= s_k - s + 1``, while ``s_K - s <= 254``.

MaxPool commutes with both, as clipping is monotonic. A falling channel without a MaxPool in between
gets negated weights; with one, its bits are inverted after pooling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from exporters.onnx.graph import INT32, MASK, UINT8, Form, Graph
from exporters.onnx.profiles import store_weights
from exporters.onnx.rules.compare import Steps, count_reached
from exporters.onnx.rules.linear import as_bytes, conv_attributes, largest_sum, zero_point
from exporters.onnx.rules.pool import max_pool_bytes
from runtime.ir import Node, Program
from runtime.ops import Conv2d, MaxPool, Threshold
from runtime.types import IntArray, Interval, TensorType
from runtime.weights import Weights

SPAN = 254
"""Largest distance of a channel's first and last step that a byte can tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class FusedConv:
    """A Conv2d, the MaxPool that follows if there is one, and their Threshold, ready to emit.

    ``sign``: per output, -1 where a falling channel is not pooled and gets negated weights, else 1.
    ``steps``: on the sums of the weights times their signs. ``zero``: zero point of the operand.
    """

    conv: Node
    pool: Node | None
    threshold: Node
    sign: IntArray
    steps: Steps
    zero: int

    @property
    def absorbed(self) -> tuple[str, ...]:
        """Values that no longer appear in the graph."""
        return (self.conv.result, *((self.pool.result,) if self.pool else ()))


def find_fused(program: Program) -> dict[str, FusedConv]:
    """Every chain that the fast form computes exactly, by the Threshold's result."""
    types = program.types
    uses = Counter(name for node in program.nodes for name in node.operands)
    uses.update(program.outputs)
    private = {n.result: n for n in program.nodes if uses[n.result] == 1}
    found = {}
    for node in program.nodes:
        if isinstance(node.op, Threshold) and (chain := _chain(node, private, types)):
            found[node.result] = chain
    return found


def _chain(
    threshold: Node, private: Mapping[str, Node], types: Mapping[str, TensorType]
) -> FusedConv | None:
    pool = None
    conv = private.get(threshold.operands[0])
    if conv and isinstance(conv.op, MaxPool):
        pool, conv = conv, private.get(conv.operands[0])
    if not conv or not isinstance(conv.op, Conv2d):
        return None
    operand = types[conv.operands[0]].interval
    zero = zero_point(operand)
    if zero is None:
        return None
    sign, steps = _steps(conv, pool, cast(Threshold, threshold.op), operand)
    factor = MASK.factor if operand.is_binary else 1
    offsets = 1 - steps.steps[:, 0]
    reach = largest_sum(conv.op.weights, 255 + zero) + factor * int(np.abs(offsets).max())
    span = int((steps.steps[:, -1] - steps.steps[:, 0]).max())
    if reach >= 2**31 or span > SPAN:
        return None
    return FusedConv(conv, pool, threshold, sign, steps, zero)


def _steps(
    conv: Node, pool: Node | None, threshold: Threshold, operand: Interval
) -> tuple[IntArray, Steps]:
    """Signs of the weights, and steps, that make every channel rise, or be inverted last if pooled."""
    op = cast(Conv2d, conv.op)
    sign: IntArray = np.ones_like(threshold.direction) if pool else threshold.direction
    bias = np.zeros_like(sign) if op.bias is None else op.bias
    thresholds = (threshold.thresholds - bias[:, None]) * sign[:, None]
    bound = largest_sum(op.weights, operand.magnitude)
    turned = Threshold(thresholds, threshold.direction * sign)
    return sign, Steps.of(turned, Interval(-bound, bound))


def emit_fused(graph: Graph, fused: FusedConv) -> tuple[str, Form]:
    """QLinearConv, MaxPool, and the comparisons or inversions that are left."""
    op = cast(Conv2d, fused.conv.op)
    (x,) = fused.conv.operands
    held = MASK if graph.held(x) == MASK else UINT8
    image = graph.read(x, MASK) if held == MASK else as_bytes(graph, x, fused.zero)
    one_step = fused.steps.count == 1
    first = fused.steps.steps[:, 0]
    y_scale = held.factor if not one_step else (1.0 if held == MASK else 2.0**-8)

    unit = graph.constant(np.array(1, np.float32), "float32")
    tensor = graph.emit(
        "QLinearConv",
        image,
        unit,
        graph.scalar(fused.zero, UINT8),
        _signed_weights(graph, op.weights, fused.sign),
        unit,
        graph.constant(np.array(0, np.int8), "int8"),
        graph.constant(np.array(y_scale, np.float32), "float32"),
        graph.scalar(0, UINT8),
        graph.constant((held.factor * (1 - first)).astype(np.int32), "bias"),
        **conv_attributes(op),
    )
    if fused.pool:
        tensor = max_pool_bytes(graph, tensor, cast(MaxPool, fused.pool.op))
    if one_step:
        return _invert_falling(graph, tensor, fused.steps), MASK
    relative = Steps(fused.steps.steps - first[:, None] + 1, fused.steps.falling)
    form = graph.arithmetic(Interval(0, 255))
    if form != UINT8:
        tensor = graph.cast(tensor, form.dtype)
    return count_reached(graph, tensor, form, relative, 3)


def _signed_weights(graph: Graph, weights: Weights, sign: IntArray) -> str:
    """The codes times the sign of their output; by an operator where the components alone are stored."""
    signs = sign[:, None, None, None]
    if not weights.is_hamilton:
        return graph.profile.store(graph, weights.codes * signs.astype(np.int8), weights.levels)
    codes = store_weights(graph, weights, range(4), weights.shape)
    if (sign == 1).all():
        return codes
    factors = graph.constant(signs.astype(INT32.dtype), "signs")
    return graph.cast(graph.emit("Mul", graph.cast(codes, INT32.dtype), factors), np.dtype(np.int8))


def _invert_falling(graph: Graph, tensor: str, steps: Steps) -> str:
    if not steps.falling.any():
        return tensor
    ones = graph.per_channel(np.where(steps.falling, 255, 0), UINT8, 3, "falling")
    return graph.emit("BitwiseXor", tensor, ones)
