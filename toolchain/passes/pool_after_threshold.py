"""Pooling codes in place of accumulators."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exporters.legalize import unused
from runtime.ir import Node, Program
from runtime.ops import Lookup, MaxPool, Threshold
from runtime.types import INT64_LIMIT
from toolchain.passes.rewrite import producers, use_counts, with_nodes


@dataclass(frozen=True, slots=True)
class PoolAfterThreshold:
    """``MaxPool`` then ``Threshold`` becomes ``Threshold`` then ``MaxPool``.

    A count of reached thresholds grows with its operand where the direction is +1, so it commutes with the
    maximum; then bits are pooled (for one threshold an OR of the window) and no accumulator needs to be
    stored. Where the direction is -1 the complement ``K - count``, which grows, is pooled and a per-channel
    ``Lookup`` complements it back.

    ``most``: only move an activation with up to this many thresholds per channel; each is compared at
    every position before the pooling, so long rows cost more than they save.

    Precondition: a verified program. Postcondition: same results; no ``MaxPool`` of at most ``most``
    thresholds feeds only a ``Threshold``.
    """

    most: int = 3

    def __call__(self, program: Program) -> Program:
        makers = producers(program)
        uses = use_counts(program)
        names = set(program.types)
        moved: dict[str, tuple[Node, ...]] = {}
        for node in program.nodes:
            pool = makers.get(node.operands[0])
            if pool is not None and uses[pool.result] == 1 and self._applies(pool, node):
                moved[pool.result] = ()
                moved[node.result] = _swapped(pool, node, names)
        if not moved:
            return program
        nodes = (new for node in program.nodes for new in moved.get(node.result, (node,)))
        return with_nodes(program, nodes)

    def _applies(self, pool: Node, node: Node) -> bool:
        if not isinstance(pool.op, MaxPool) or not isinstance(node.op, Threshold):
            return False
        thresholds = node.op.thresholds
        return thresholds.shape[1] <= self.most and int(thresholds.max()) < INT64_LIMIT


def _swapped(pool: Node, node: Node, names: set[str]) -> tuple[Node, ...]:
    """The same function of the pool's operand, thresholds first; ``names`` gains the new value names."""
    op = node.op
    assert isinstance(op, Threshold)
    falls = op.direction < 0
    rising = np.where(falls[:, None], op.thresholds[:, ::-1] + 1, op.thresholds)
    each = unused(f"{node.result}_each", names)
    pooled = unused(f"{node.result}_pooled", names) if falls.any() else node.result
    first = replace(
        node, op=Threshold(rising, np.ones_like(op.direction)), operands=pool.operands, result=each
    )
    second = replace(pool, operands=(each,), result=pooled)
    if not falls.any():
        return first, second
    count = op.thresholds.shape[1]
    identity = np.arange(count + 1)
    table = np.where(falls[:, None], count - identity, identity)
    return first, second, replace(node, op=Lookup(table), operands=(pooled,))
