"""Lists of bit rows to add, cut into chunks of outputs that are added at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from runtime.packed.adders import Schedule, schedule
from runtime.packed.layout import Call
from runtime.packed.planes import Words
from runtime.types import IntArray

Index = NDArray[np.intp]

WORKSPACE_BYTES = 5 << 18
"""Largest workspace of one chunk, unless a single output needs more."""

CHUNKS = 32
"""Largest number of chunks, where no workspace is too large."""

FETCH_NS, WORD_NS = 0.6, 1.6
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
    """Outputs ``start .. stop`` with the rows of each column, padded to the longest list among them."""

    start: int
    stop: int
    lists: tuple[Index, ...]
    schedule: Schedule

    @property
    def rows(self) -> int:
        """Rows of its workspace, for each output."""
        return self.schedule.rows + self.schedule.spare

    def calls(self, table: Words, workspace: Words, counters: Words, lowest: int) -> Iterator[Call]:
        """Calls that write the sums of rows of a table (rows, words) to counters (bits, outputs, words).

        Their bits from ``lowest`` on.
        """
        outputs, words = self.stop - self.start, table.shape[1]
        rows = workspace[: self.rows * outputs * words].reshape(self.rows, outputs, words)
        totals = counters[:, self.start : self.stop]

        def fetch(column: int, first: int) -> list[Call]:
            chosen = self.lists[column]
            return [partial(table.take, chosen, 0, rows[first : first + len(chosen)], "clip")]

        yield from self.schedule.calls(rows, rows[self.schedule.rows :], totals, fetch, lowest)
        if above := len(totals) + lowest - len(self.schedule.columns):
            yield partial(totals[-above:].fill, 0)


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
            options.append((best[start][0] + CHUNK_NS + size / 11 * (WORD_NS + FETCH_NS / words), start))
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
    """Bytes of a chunk's workspace: its rows, and a third of them for what lies between."""
    return 8 * (4 * sum(_longest(columns, start, stop)) // 3 + 1) * (stop - start) * words


def _chunk(columns: Sequence[Column], largest: IntArray, start: int, stop: int) -> Chunk:
    longest = _longest(columns, start, stop)
    lists = (c.rows[:count, start:stop] for c, count in zip(columns, longest, strict=True))
    bits = int(largest[start:stop].max()).bit_length()
    return Chunk(start, stop, tuple(map(np.ascontiguousarray, lists)), schedule(tuple(longest), bits))
