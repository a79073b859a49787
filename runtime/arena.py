"""Placing buffers with lifetimes in one arena.

Offsets are planned once, largest buffer first, each into the smallest gap that holds it (greedy by size:
Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, algorithm 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes ``offset .. offset + size`` while steps ``birth .. death`` run, both included.

    ``names``: what is kept there.
    """

    names: tuple[str, ...]
    size: int
    birth: int
    death: int
    offset: int = 0

    def lives_with(self, other: Buffer) -> bool:
        """Whether both are live at one time."""
        return self.birth <= other.death and other.birth <= self.death


def place(buffers: Sequence[Buffer]) -> list[Buffer]:
    """The buffers with offsets, in order of birth; none overlaps another that lives with it."""
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.birth, b.names)):
        placed.append(replace(buffer, offset=_gap(buffer, placed)))
    return sorted(placed, key=lambda b: (b.birth, b.names))


def arena_bytes(placed: Sequence[Buffer]) -> int:
    """Bytes that hold all placed buffers."""
    return max((b.offset + b.size for b in placed), default=0)


def _gap(buffer: Buffer, placed: Sequence[Buffer]) -> int:
    """Start of the smallest gap between the live neighbours, or after them."""
    neighbours = sorted((b for b in placed if b.lives_with(buffer)), key=lambda b: b.offset)
    end, gaps = 0, []
    for other in neighbours:
        if other.offset - end >= buffer.size:
            gaps.append((other.offset - end, end))
        end = max(end, other.offset + other.size)
    return min(gaps)[1] if gaps else end
