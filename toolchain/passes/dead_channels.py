"""Removal of channels that no weight reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.ir import Node, Program
from runtime.ops import Dense, Lookup, Threshold
from runtime.weights import Weights
from toolchain.passes.rewrite import producers, use_counts, with_nodes


@dataclass(frozen=True, slots=True)
class DeadChannels:
    """Drops the neurons of a ``Dense`` that the next ``Dense`` gives no weight.

    Between the two stands one ``Lookup`` or ``Threshold``. From the last to the first, so that what only
    dropped neurons read goes as well; one neuron always stays.

    Precondition: a verified program. Postcondition: same results; no such neuron is left.
    """

    def __call__(self, program: Program) -> Program:
        makers, uses = producers(program), use_counts(program)
        changed: dict[str, Node] = {}
        for node in reversed(program.nodes):
            reader = changed.get(node.result, node)
            chain = _chain(reader, makers, uses)
            if not chain:
                continue
            used = _codes(reader).any(axis=0)
            used[0] |= not used.any()
            if not used.all():
                changed[reader.result] = _with_weights(reader, _codes(reader)[:, used])
                for part in chain:
                    changed[part.result] = _of_channels(part, used)
        if not changed:
            return program
        return with_nodes(program, (changed.get(node.result, node) for node in program.nodes))


def _chain(reader: Node, makers: dict[str, Node], uses: dict[str, int]) -> tuple[Node, ...]:
    """The activation in front of a ``Dense`` and the ``Dense`` before, or nothing if others read them too.

    Hamilton matrices stay: without a channel they would be none.
    """
    answer = makers.get(reader.operands[0])
    layer = makers.get(answer.operands[0]) if answer else None
    if not answer or not layer or not isinstance(answer.op, (Lookup, Threshold)):
        return ()
    plain = all(isinstance(n.op, Dense) and not n.op.weights.is_hamilton for n in (reader, layer))
    return (answer, layer) if plain and uses[answer.result] == uses[layer.result] == 1 else ()


def _codes(node: Node) -> NDArray[np.int8]:
    assert isinstance(node.op, Dense)
    return node.op.weights.codes


def _with_weights(node: Node, codes: NDArray[np.int8], **others: Any) -> Node:
    assert isinstance(node.op, Dense)
    return replace(node, op=replace(node.op, weights=Weights(codes, node.op.weights.levels), **others))


def _of_channels(node: Node, kept: NDArray[np.bool_]) -> Node:
    """``node`` with the channels of its result that are ``kept``."""
    match node.op:
        case Dense(bias=bias):
            return _with_weights(node, _codes(node)[kept], bias=None if bias is None else bias[kept])
        case Threshold(thresholds=thresholds, direction=direction):
            return replace(node, op=Threshold(thresholds[kept], direction[kept]))
        case Lookup(table=table, first=first) if len(table) > 1:
            return replace(node, op=Lookup(table[kept], first))
    return node
