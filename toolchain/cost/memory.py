"""The activation arena: what each value takes, how long it lives, and where it is placed.

A value of ``n`` elements of ``b`` bits is stored as ``b`` planes of ``ceil(n / 8)`` bytes. Accumulators on
their way to where they become narrow or are summed are never stored, and a Reshape is another name of its
operand. ``runtime.arena`` places them. A buffer is born with the node that makes its value, an input at -1,
and dies with the last that reads it, an output at ``len(nodes)``; it is named by its value and the reshaped
aliases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from runtime.arena import Buffer, arena_bytes, place
from runtime.ir import Program
from runtime.ops import (
    Add,
    Clip,
    Hadamard,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    Reshape,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
    Threshold,
)
from runtime.types import TensorType
from toolchain.cost.linear import LINEAR


def stored_bytes(type_: TensorType) -> int:
    """Bytes of one value as bit planes."""
    return type_.bits * -(-type_.size // 8)


ACCUMULATED: tuple[type[Op], ...] = (
    *LINEAR,
    ReduceSum,
    Add,
    Sub,
    Hadamard,
    Mul,
    Square,
    MatMul,
    RoundDiv,
)
"""The ops whose results have more bits than what is made of them."""

CONSUMING: tuple[type[Op], ...] = (Threshold, Requantize, ShiftRight, Clip, Lookup, ReduceSum)
"""The ops that use each element of their operand once, in any order: they take it as it appears."""


def fused(program: Program) -> dict[str, int]:
    """Values that are never stored, with the index of the node that consumes them as they appear.

    They are the result of an op of ``ACCUMULATED`` that only one of ``CONSUMING`` reads, directly or
    through a MaxPool that nothing else reads; what lies between several of those in a row; and the result
    of the last of them, if only a MaxPool whose windows do not overlap reads it.
    """
    readers = program.sole_readers()
    found: dict[str, int] = {}
    for node in program.nodes:
        if isinstance(node.op, ACCUMULATED):
            chain = _consumers(program, readers, node.result)
            if chain:
                unstored = [node.result, *(program.nodes[index].result for index in chain[:-1])]
                found |= dict.fromkeys(unstored, chain[-1])
    return found


def _consumers(program: Program, readers: Mapping[str, int], value: str) -> list[int]:
    """Indices of the nodes that ``value`` passes through unstored: each alone reads the one before."""
    chain = list(_sole_readers_of(program, readers, value))
    ops = [program.nodes[index].op for index in chain]
    first = int(isinstance(ops[0], MaxPool)) if ops else 0
    end = first + sum(1 for _ in takewhile(lambda op: isinstance(op, CONSUMING), ops[first:]))
    if end == first:
        return []
    return chain[: end + (end < len(ops) and _pools_disjoint(ops[end]))]


def _sole_readers_of(program: Program, readers: Mapping[str, int], value: str) -> Iterator[int]:
    """Indices of the MaxPools and consuming ops that ``value`` passes through, each the only reader."""
    while (index := readers.get(value)) is not None and isinstance(
        program.nodes[index].op, (MaxPool, *CONSUMING)
    ):
        yield index
        value = program.nodes[index].result


def _pools_disjoint(op: Op) -> bool:
    return isinstance(op, MaxPool) and all(s >= k for s, k in zip(op.stride, op.kernel, strict=True))


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Placed buffers; ``arena_bytes`` holds them all.

    ``live_bytes``: the most that is live at one time, which no plan can go below. ``peak``: name of the
    node (or input) that runs then.
    """

    buffers: tuple[Buffer, ...]
    arena_bytes: int
    live_bytes: int
    peak: str


def _lifetimes(program: Program) -> list[Buffer]:
    """One buffer per stored value, not yet placed, in order of birth."""
    unstored, last = fused(program), program.last_uses()
    for node in program.nodes:
        if node.result in unstored:  # what feeds it is read until it is consumed
            for operand in node.operands:
                last[operand] = max(last[operand], unstored[node.result])
    types = program.types
    owner = {v.name: v.name for v in program.inputs}
    births = {v.name: -1 for v in program.inputs}
    for index, node in enumerate(program.nodes):
        if isinstance(node.op, Reshape):
            owner[node.result] = owner[node.operands[0]]
        else:
            owner[node.result] = node.result
            births[node.result] = index
    names: dict[str, list[str]] = {}
    for name, first in owner.items():
        names.setdefault(first, []).append(name)
    return [
        Buffer(
            tuple(names[first]),
            stored_bytes(types[first]),
            birth,
            max(birth, *(last[name] for name in names[first])),
        )
        for first, birth in births.items()
        if first not in unstored
    ]


def _busiest(buffers: list[Buffer], steps: int) -> tuple[int, int]:
    """Most bytes live at one time, and the first step (-1 for the inputs) when they are."""
    changes = [0] * (steps + 3)
    for buffer in buffers:
        changes[buffer.birth + 1] += buffer.size
        changes[buffer.death + 2] -= buffer.size
    most, at, live = 0, -1, 0
    for step, change in enumerate(changes):
        live += change
        if live > most:
            most, at = live, step - 1
    return most, at


def plan(program: Program) -> MemoryPlan:
    """The arena of a program."""
    waiting = _lifetimes(program)
    placed = place(waiting)
    live, step = _busiest(waiting, len(program.nodes))
    peak = program.inputs[0].name if step < 0 else program.nodes[step].result
    return MemoryPlan(
        tuple(placed),
        arena_bytes(placed),
        live,
        peak,
    )
