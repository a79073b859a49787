"""Folding of sign changes into the weights before them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import Conv2d, Dense, Requantize
from runtime.types import TensorType
from runtime.weights import Weights
from toolchain.passes.rewrite import producers, use_counts, with_nodes


@dataclass(frozen=True, slots=True)
class FoldNegation:
    """``Conv2d`` or ``Dense`` followed by a ``Requantize`` by +1 or -1 becomes one layer.

    The multiplier goes into weights and bias; the value sets are symmetric, so the codes stay inside.
    Precondition: a verified program. Postcondition: same results; no such pair is left, except where the
    accumulator is read elsewhere, the ``Requantize`` shifts, offsets or clips, or the weights are Hamilton:
    with some outputs negated they would no longer be the block matrix of which a quarter is stored.
    """

    def __call__(self, program: Program) -> Program:
        makers = producers(program)
        uses = use_counts(program)
        folded: dict[str, Node] = {}
        for node in program.nodes:
            source = makers.get(node.operands[0])
            if (
                source is not None
                and isinstance(source.op, (Conv2d, Dense))
                and not source.op.weights.is_hamilton
                and uses[source.result] == 1
                and _is_sign_change(node, source.type)
            ):
                folded[source.result] = replace(source, op=_negated(source, node), result=node.result)
        if not folded:
            return program
        removed = {node.result for node in folded.values()}
        kept = (folded.get(node.result, node) for node in program.nodes if node.result not in removed)
        return with_nodes(program, kept)


def _is_sign_change(node: Node, operand: TensorType) -> bool:
    op = node.op
    if not isinstance(op, Requantize) or op.shift.any() or op.offset.any():
        return False
    unclipped = op.lo <= -operand.interval.magnitude and operand.interval.magnitude <= op.hi
    return unclipped and bool((np.abs(op.multiplier) == 1).all())


def _negated(source: Node, node: Node) -> Conv2d | Dense:
    assert isinstance(source.op, (Conv2d, Dense)) and isinstance(node.op, Requantize)  # noqa: PT018
    op, sign = source.op, node.op.multiplier
    weights = op.weights
    codes = weights.codes * sign.reshape(-1, *(1,) * (len(weights.shape) - 1))
    bias = None if op.bias is None else op.bias * sign
    return replace(op, weights=Weights(codes, weights.levels, weights.encoding), bias=bias)
