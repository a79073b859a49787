"""One block of memory for all values and working memory of a run, placed by lifetime."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime import arena
from runtime.arena import Buffer
from runtime.packed.layout import ALIGNMENT, Block
from runtime.packed.planes import Bytes, Integers


@dataclass(frozen=True, slots=True)
class Span:
    """A block in use from step ``first`` to step ``last``, both included."""

    block: Block
    first: int
    last: int


def place(spans: Sequence[Span]) -> tuple[list[int], int]:
    """Where each block starts, and the bytes of all: blocks that are in use at once never overlap."""
    buffers = [Buffer((str(i),), s.block.bytes, s.first, s.last) for i, s in enumerate(spans)]
    placed = arena.place(buffers)
    starts = {int(buffer.names[0]): buffer.offset for buffer in placed}
    return [starts[i] for i in range(len(spans))], arena.arena_bytes(placed)


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
