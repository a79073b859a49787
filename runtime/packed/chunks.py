"""Lists of bit rows to add, cut into chunks of outputs that are added at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.packed.adders import Schedule, schedule
from runtime.types import IntArray

Index = NDArray[np.intp]

WORKSPACE_BYTES = 1 << 22
"""Largest workspace of one chunk, unless a single output needs more."""

CHUNKS = 32
"""Largest number of chunks, where no workspace is too large."""

FETCH_NS, WORD_NS = 0.6, 1.0
"""Time to find one row, and to fetch and add one word of it, nanoseconds."""

CHUNK_NS = 30_000
"""Time of the calls that one chunk takes, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """Rows of weight ``2^c``. ``rows``: (entries, outputs) in the table, its zero row where an output has
    fewer. ``counts``: (outputs,)."""

    rows: Index
    counts: Index

    @staticmethod
    def of(pairs: Index, total: int, zero: int) -> Column:
        """From (2, entries): an output, of ``total``, and one of its rows each."""
        outputs, rows = pairs
        order = np.argsort(outputs, kind="stable")
        counts = np.bincount(outputs, minlength=total)
        place = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.full((int(counts.max()), total), zero, np.intp)
        table[place, outputs[order]] = rows[order]
        return Column(table, counts)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Outputs ``start .. stop`` with the rows of each column, padded to the longest list among them.

    The rows are views, so that cuts for several sizes of tile share their lists.
    """

    start: int
    stop: int
    rows: tuple[Index, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Cut:
    """All outputs in chunks, and the estimated time of one tile in nanoseconds."""

    chunks: tuple[Chunk, ...]
    nanoseconds: float


def cut_outputs(columns: Sequence[Column], largest: IntArray, words: int) -> Cut:
    """The chunks that take least time on rows of ``words`` words, for outputs in order of falling lengths.

    ``largest``: (outputs,), of each sum. Few chunks pad many lists, many chunks make many calls: dynamic
    programming over where chunks may end finds the best cut.
    """
    outputs = largest.size
    step = WORKSPACE_BYTES // max(1, _workspace(columns, 0, outputs, words) // outputs)
    ends = [*range(0, outputs, max(1, min(step, -(-outputs // CHUNKS)))), outputs]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(ends)):
        options: list[tuple[float, int]] = []
        for start in range(stop - 1, -1, -1):
            size = _workspace(columns, ends[start], ends[stop], words)
            if options and size > WORKSPACE_BYTES:
                break
            options.append((best[start][0] + CHUNK_NS + size / 16 * (WORD_NS + FETCH_NS / words), start))
        best.append(min(options))
    chunks: list[Chunk] = []
    stop = len(ends) - 1
    while stop:
        start = best[stop][1]
        chunks.append(_chunk(columns, largest, ends[start], ends[stop]))
        stop = start
    return Cut(tuple(chunks), best[-1][0])


def _longest(columns: Sequence[Column], start: int, stop: int) -> list[int]:
    return [int(column.counts[start:stop].max()) for column in columns]


def _workspace(columns: Sequence[Column], start: int, stop: int, words: int) -> int:
    """Bytes of a chunk's workspace: its rows, and as many for carries."""
    return 16 * sum(_longest(columns, start, stop)) * (stop - start) * words


def _chunk(columns: Sequence[Column], largest: IntArray, start: int, stop: int) -> Chunk:
    longest = _longest(columns, start, stop)
    rows = tuple(c.rows[:count, start:stop] for c, count in zip(columns, longest, strict=True))
    return Chunk(start, stop, rows, schedule(tuple(longest), int(largest[start:stop].max()).bit_length()))
