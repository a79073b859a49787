"""Whether circuits of one position, at all positions, are the ops of a program.

What a position reads is found with numbers in place of bits, so that it holds for every input. That the op
of one position on what is read there is the op on the whole is asked of ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporters.netlist.rules.words import Nets
from exporters.netlist.stages import Stage, Stages, Wires
from runtime.ir import Node
from runtime.ops import MaxPool, Op, SumPool
from runtime.types import IntArray, TensorType
from toolchain.proof.exhaustive import BY_CHANNEL
from toolchain.proof.forms import LINEAR, PRODUCTS

SPREAD = 1 << 20
"""Values that stand in for an element. Two polynomials of degree 2 that differ agree on one random input
with a chance of at most 2 / SPREAD."""

POLYNOMIAL_SAMPLES = 8
"""Random inputs of sums and products: a chance of 2^-152 that a difference is missed."""

POOL_SAMPLES = 64
"""Random inputs of a MaxPool, times the elements of a window. A wrong element is the largest of all that
either reads, of at most twice as many: a chance of e^-32 that it is missed."""

ELEMENTWISE: tuple[type[Op], ...] = tuple(op for op in BY_CHANNEL if op not in (MaxPool, SumPool))
"""Ops that make an element of the same element of every operand, alike at all positions of a channel."""


class _MovedError(Exception):
    """Bits that are no word of an element."""


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Words of one shape: the ``elements`` that they are, -1 for a constant, and what those are."""

    elements: IntArray
    constants: IntArray

    def of(self, values: IntArray) -> IntArray:
        """The words where the elements have ``values``, ``(samples, size)``."""
        found: IntArray = np.where(self.elements < 0, self.constants, values[:, self.elements])
        return found


def misplaced(parts: Stages) -> str | None:
    """What is wrong with the positions of a step of ``parts``; None: every step is an op of the program."""
    nodes, types = {node.result: node for node in parts.program.nodes}, parts.program.types
    for step in parts.steps:
        own = [nodes[name] for name in (step.nodes if isinstance(step, Stage) else (step.value,))]
        operands = tuple(types[name] for name in own[0].operands)
        try:
            right = _is_node(step, own) and (
                _moves(step, own[0], operands)
                if isinstance(step, Wires)
                else _is_local(step, own[0].op, operands)
            )
        except _MovedError:
            right = False
        if not right:
            return f"the positions of {step.value!r} are not those of its {own[0].op.name}"
    return None


def _is_node(step: Stage | Wires, nodes: Sequence[Node]) -> bool:
    """Whether ``step`` reads and makes what ``nodes`` do, an op and perhaps the Threshold behind it."""
    same = step.operands == nodes[0].operands and (step.value, step.type) == (
        nodes[-1].result,
        nodes[-1].type,
    )
    if len(nodes) == 1 or isinstance(step, Wires):
        return same and len(nodes) == 1
    return same and nodes[1].operands == (nodes[0].result,) and step.threshold is nodes[1].op


def _moves(step: Wires, node: Node, types: tuple[TensorType, ...]) -> bool:
    tags, first = [], 2
    for type_ in types:
        tags.append(_tags(type_, first))
        first += tags[-1].size
    read = _decoded(step.move(tags), tags, types, step.type)
    sizes = np.cumsum([0, *(type_.size for type_ in types)])
    numbers = [
        np.arange(start, start + type_.size).reshape(1, *type_.shape)
        for start, type_ in zip(sizes.tolist(), types, strict=False)
    ]
    return bool(np.array_equal(node.op.evaluate(*numbers)[0], read.elements))


def _is_local(stage: Stage, op: Op, types: tuple[TensorType, ...]) -> bool:
    """Whether ``stage``, without its Threshold, at all positions is ``op``."""
    local, positions = stage.local, stage.positions
    if not _is_scattered(stage):
        return False
    reads = [
        _decoded(gather(_tags(type_)), [_tags(type_)], [type_], seen)
        for gather, type_, seen in zip(local.gathers, types, local.types, strict=True)
    ]
    if any(len(read.elements) != positions for read in reads):
        return False
    if isinstance(op, (*LINEAR, *PRODUCTS)):
        return _agree(stage, op, types, reads, POLYNOMIAL_SAMPLES)
    if isinstance(op, MaxPool):
        return _agree(stage, op, types, reads, POOL_SAMPLES * op.kernel[0] * op.kernel[1])
    return local.op is op and all(
        np.array_equal(read.elements.reshape(positions, -1), _expected(stage, op, type_, seen))
        for read, type_, seen in zip(reads, types, local.types, strict=True)
    )


def _expected(stage: Stage, op: Op, type_: TensorType, seen: TensorType) -> IntArray:
    """The elements of an operand that every position reads: those that are broadcast to it, or all."""
    numbers = np.arange(type_.size).reshape(type_.shape)
    if isinstance(op, ELEMENTWISE) and type_.shape:
        spread = np.broadcast_to(numbers, (type_.shape[0], *stage.type.shape[1:]))
        return spread.reshape(type_.shape[0], -1).T
    if stage.positions > 1 or seen != type_:
        raise _MovedError
    return numbers.reshape(1, -1)


def _is_scattered(stage: Stage) -> bool:
    """Whether what the positions make lands where it belongs: all of a channel together, in order."""
    result, positions = stage.result, stage.positions
    made = TensorType((positions, *result.shape), result.interval)
    read = _decoded(stage.scatter(_tags(made)), [_tags(made)], [made], stage.type)
    wanted = np.arange(made.size).reshape(positions, -1).T
    return bool(np.array_equal(read.elements.reshape(-1), wanted.reshape(-1)))


def _agree(stage: Stage, op: Op, types: tuple[TensorType, ...], reads: list[_Read], samples: int) -> bool:
    """Whether ``op`` and that of one position give the same on random operands, of any size of values."""
    rng, local, positions = np.random.default_rng(0), stage.local, stage.positions
    whole = [t.interval.lo + rng.integers(0, SPREAD, (samples, t.size)) for t in types]
    parts = [
        read.of(values).reshape(samples * positions, *seen.shape)
        for read, values, seen in zip(reads, whole, local.types, strict=True)
    ]
    found = np.moveaxis(local.op.evaluate(*parts).reshape(samples, positions, -1), 1, 2)
    wanted = op.evaluate(*(v.reshape(samples, *t.shape) for v, t in zip(whole, types, strict=True)))
    return bool(np.array_equal(found.reshape(samples, -1), wanted.reshape(samples, -1)))


# --- numbers in place of bits ----------------------------------------------------------------------------


def _tags(type_: TensorType, first: int = 2) -> Nets:
    """A number for every bit of a value: ``(*shape, bits)``."""
    return np.arange(first, first + type_.size * type_.bits).reshape(*type_.shape, type_.bits)


def _decoded(nets: Nets, tags: Sequence[Nets], types: Sequence[TensorType], seen: TensorType) -> _Read:
    """``nets``, words of ``seen``, as elements of the operands that have ``tags``, counted through.

    Raises _MovedError for a word that is neither an element, with its sign where it is longer, nor
    constant.
    """
    bits = nets.shape[-1]
    if bits != seen.bits:
        raise _MovedError
    table = np.concatenate([_lengthened(x, t, bits) for x, t in zip(tags, types, strict=True)])
    words = nets.reshape(-1, bits)
    constant = (words < 2).all(axis=1)
    rows = np.searchsorted(table[:, 0], words[:, 0], "right") - 1
    if not (constant | (table[rows] == words).all(axis=1)).all():
        raise _MovedError
    weights = np.array([1 << bit for bit in range(bits)], np.int64)
    if seen.interval.signed:
        weights[-1] = -weights[-1]
    shape = nets.shape[:-1]
    return _Read(
        np.where(constant, -1, rows).reshape(shape), np.where(constant, words @ weights, 0).reshape(shape)
    )


def _lengthened(tags: Nets, type_: TensorType, bits: int) -> Nets:
    """Words of a value with so many bits: its sign repeated, or cut."""
    words = tags.reshape(-1, type_.bits)
    last = words[:, -1:] if type_.interval.signed else np.zeros_like(words[:, -1:])
    return np.concatenate([words, np.repeat(last, max(0, bits - type_.bits), axis=1)], axis=1)[:, :bits]
