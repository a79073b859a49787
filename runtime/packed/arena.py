"""One block of memory for all values and working memory of a run, placed by lifetime."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.packed.layout import ALIGNMENT, Block
from runtime.packed.planes import Bytes, Integers


@dataclass(frozen=True, slots=True)
class Span:
    """A block in use from step ``first`` to step ``last``, both included."""

    block: Block
    first: int
    last: int


def place(spans: Sequence[Span]) -> tuple[list[int], int]:
    """Where each block starts, and the bytes of all: blocks that are in use at once never overlap.

    The largest blocks go first, each to the lowest gap that holds it (greedy by size, arXiv 2001.03288).
    """
    starts = [0] * len(spans)
    placed: list[int] = []
    for index in sorted(range(len(spans)), key=lambda i: -spans[i].block.bytes):
        span, start = spans[index], 0
        for other in sorted(placed, key=lambda i: starts[i]):
            rival = spans[other]
            if rival.last < span.first or span.last < rival.first:
                continue
            if start + span.block.bytes <= starts[other]:
                break
            start = max(start, starts[other] + rival.block.bytes)
        starts[index] = start
        placed.append(index)
    return starts, max((s + span.block.bytes for s, span in zip(starts, spans, strict=True)), default=0)


class Arena(threading.local):
    """Memory that is kept between runs, as large as it was ever asked for; every thread has its own.

    A block that is allocated anew for every layer costs more in page faults than the layer takes to run.
    """

    def __init__(self) -> None:
        self._memory: Bytes = np.empty(0, np.uint8)

    def reserve(self, size: int) -> Bytes:
        """At least ``size`` bytes with any content, aligned. It moves when it grows."""
        if self._memory.size < size:
            raw = np.empty(size + ALIGNMENT, np.uint8)
            skip = -raw.ctypes.data % ALIGNMENT
            self._memory = raw[skip : skip + size]
        return self._memory


def carve(memory: Bytes, start: int, block: Block) -> Integers:
    """The array of a block that starts at byte ``start``."""
    size = math.prod(block.shape) * block.dtype.itemsize
    return memory[start : start + size].view(block.dtype).reshape(block.shape)
