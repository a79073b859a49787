"""What follows a layer and is computed with it: a chain of ops that read each element once.

A monotone chain that ends in few levels is a threshold, whatever its ops: requantization to two bits, a
rising table. Its limits are found by searching the chain itself, so the result is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import Clip, FloorSqrt, Lookup, Not, Op, Requantize, ShiftRight, Square, Threshold
from runtime.types import IntArray, Interval, TensorType

ELEMENTWISE: tuple[type[Op], ...] = (
    Threshold,
    Requantize,
    ShiftRight,
    Clip,
    Lookup,
    Not,
    Square,
    FloorSqrt,
)
"""Ops of one operand that treat each element by itself, by its channel at most."""

MAX_LEVELS = 15
"""Most levels of a chain that becomes thresholds."""


def chain_after(program: Program, index: int, readers: Mapping[str, int]) -> tuple[Node, ...]:
    """The elementwise nodes behind node ``index``, each the only reader of the one before."""
    found: list[Node] = []
    value = program.nodes[index].result
    while (reader := readers.get(value)) is not None:
        node = program.nodes[reader]
        if not isinstance(node.op, ELEMENTWISE):
            break
        found.append(node)
        value = node.result
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """A chain as thresholds: code = number of ``limits`` that a sum has reached.

    ``limits``: (channels, levels); reached from below where ``falling`` (channels,) is False (``>=``), from
    above where it is True (``<=``).
    """

    limits: IntArray
    falling: np.ndarray
    type: TensorType


def _directions(op: Op, channels: int) -> IntArray | None:
    """+1 where ``op`` never falls, -1 where it never rises, per channel; None if it may do both."""
    ones = np.ones(channels, np.int64)
    match op:
        case Threshold():
            return op.direction
        case Requantize():
            return np.where(op.multiplier < 0, -1, 1)
        case ShiftRight() | Clip() | FloorSqrt():
            return ones
        case Not():
            return -ones
        case Lookup():
            steps = np.diff(op.table, axis=1)
            rises, falls = (steps >= 0).all(axis=1), (steps <= 0).all(axis=1)
            return np.where(rises, 1, -1) * ones if (rises | falls).all() else None
    return None


def as_levels(chain: tuple[Node, ...], operand: TensorType, most: int = MAX_LEVELS) -> Levels | None:
    """The chain on ``operand`` as thresholds, or None where it is none."""
    if not chain or not operand.shape:
        return None
    type_ = chain[-1].type
    if type_.interval.signed or not 1 <= type_.interval.hi <= most:
        return None
    channels = operand.channels
    direction = np.ones(channels, np.int64)
    for node in chain:
        own = _directions(node.op, channels)
        if own is None:
            return None
        direction = direction * own
    falling = direction < 0
    return Levels(_limits(chain, operand.interval, falling, type_.interval.hi), falling, type_)


def _limits(chain: tuple[Node, ...], interval: Interval, falling: np.ndarray, levels: int) -> IntArray:
    """Per channel and level the first sum, on the way up or down, whose code is at least that level.

    One past the interval where there is none.
    """
    level = np.arange(1, levels + 1)[:, None]
    shape = (levels, falling.size)
    beyond, before = (interval.lo - 1, interval.hi + 1), (interval.hi + 1, interval.lo - 1)
    reached = np.broadcast_to(np.where(falling, *beyond), shape)  # sums known to reach, or beyond all
    missed = np.broadcast_to(np.where(falling, *before), shape)
    while (open_ := np.abs(reached - missed) > 1).any():
        middle = np.where(open_, missed + (reached - missed) // 2, reached)
        code = inside = np.clip(middle, interval.lo, interval.hi)
        for node in chain:
            code = node.op.evaluate(code)
        good = (code >= level) & (middle == inside)
        reached = np.where(open_ & good, middle, reached)
        missed = np.where(open_ & ~good, middle, missed)
    return np.ascontiguousarray(reached.T)
