"""Sums of sparse weights: per output a list of bit rows, added up by carry-save adders.

A weight of 0 costs nothing here, where other kernels spend the same on every weight. Activation plane ``p``
and magnitude bit ``i`` of a weight make one row of weight ``2^(p + i)``. A negative weight takes inverted
rows, ``-w a = w (2^planes - 1 - a) - w (2^planes - 1)``, and the constants make the offset of the counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from runtime.packed.chunks import Column, Cut, Index, cut_outputs
from runtime.packed.lanes import Taps
from runtime.packed.layer import Layer
from runtime.packed.layout import Block, Call
from runtime.packed.planes import WORD, Bytes, Integers, Words
from runtime.types import IntArray
from runtime.weights import HAMILTON, Weights

UINT64 = np.dtype(np.uint64)

TABLE_BYTES = 1 << 20
"""Largest table of bit rows of one tile, unless one image needs more."""

ROW_NS = 0.6
"""Time to make one word of the table, nanoseconds."""

TILE_NS = 25_000
"""Time of the other calls that one tile takes, nanoseconds."""


Listed = tuple[int, Index, Index]
"""Weight ``2^c`` of rows, the outputs that add them, and the rows of a table."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The weights that are not zero: output, channel, kernel tap (row-major) and value of each."""

    output: Index
    channel: Index
    tap: Index
    value: Index

    def times(self, direction: IntArray) -> Entries:
        """The same with the values of every output times its direction."""
        return replace(self, value=self.value * direction[self.output])


def nonzeros(layer: Layer) -> Entries:
    """Entries of the weights of a layer.

    Those of Hamilton weights come from the components alone: each is once in all four block rows.
    """
    if not layer.op.weights.is_hamilton:
        output, channel, tap = np.nonzero(layer.weights)
        return Entries(output, channel, tap, layer.weights[output, channel, tap].astype(np.intp))
    entries = _hamilton(layer.op.weights)
    return entries if layer.threshold is None else entries.times(layer.threshold.direction)


def _rows_of_weights(entries: Entries, taps: Taps, planes: int) -> Iterator[Listed]:
    """Rows of weights of one bit each, of one plane of their operands each."""
    magnitude, inverse = np.abs(entries.value), taps.rows_of(planes) // 2
    for bit in range(int(magnitude.max(initial=0)).bit_length()):
        chosen = magnitude >> bit & 1 == 1
        output, channel, tap = entries.output[chosen], entries.channel[chosen], entries.tap[chosen]
        for plane in range(planes):
            row = (tap * planes + plane) * taps.channels + channel
            yield bit + plane, output, row + inverse * (entries.value[chosen] < 0)


def _rows_of_constants(constants: IntArray, bits: int, one: int) -> Iterator[Listed]:
    """The row ``one`` for every bit that is set in an output's constant."""
    for bit in range(bits):
        (outputs,) = np.nonzero(constants >> bit & 1)
        yield bit, outputs, np.full(outputs.size, one)


def _hamilton(weights: Weights) -> Entries:
    components = weights.components.reshape(*weights.components.shape[:3], -1)
    outputs, inputs = components.shape[1:3]
    component, output, channel, tap = np.nonzero(components)
    value = components[component, output, channel, tap].astype(np.intp)
    blocks = []
    for row, line in enumerate(HAMILTON):
        column = np.argsort([c for c, _ in line])
        sign = np.array([line[j][1] for j in column])
        blocks.append(
            (output + row * outputs, channel + column[component] * inputs, tap, value * sign[component])
        )
    output, channel, tap, value = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Entries(output, channel, tap, value)


@dataclass(frozen=True, eq=False)
class SparsePlan:
    """A layer with sparse weights on activations of ``planes`` bits.

    ``order``: outputs, the one with most rows first; everything but ``offset`` is in this order.
    ``columns[c]``: the rows of weight ``2^c``. ``largest``: (outputs,), of each counter.
    ``offset``: (outputs,), what to subtract from a counter to get the sum without bias.
    ``lowest``: the first bit of the counters that is kept.

    A single threshold is added as a constant, after which the highest bit tells whether it is reached, and
    no other is kept.
    """

    taps: Taps
    planes: int
    order: Index
    columns: tuple[Column, ...]
    largest: IntArray
    offset: IntArray
    lowest: int

    @staticmethod
    def of(layer: Layer) -> SparsePlan:
        """The plan of a layer."""
        window, planes = layer.window, layer.x.bits
        shape = (window.channels, *window.size)
        taps = Taps.of(shape, window.out, window.kernel, window.stride, window.padding, window.dilation)
        entries, outputs, top = nonzeros(layer), len(layer.weights), (1 << planes) - 1
        magnitude, inverted = np.abs(entries.value), entries.value < 0
        largest = _sums(entries.output, magnitude, outputs) * top
        offset = _sums(entries.output, magnitude * inverted, outputs) * top
        order = np.argsort(-_sums(entries.output, np.bitwise_count(magnitude), outputs), kind="stable")
        listed, lowest = [*_rows_of_weights(entries, taps, planes)], 0
        one = taps.rows_of(planes) - 1
        if layer.limits is not None and layer.limits.shape[1] == 1:
            lowest = max(1, int(largest.max()).bit_length())
            added = (1 << lowest) - shifted(layer.limits, offset, lowest)[:, 0]
            largest = largest + added
            listed += _rows_of_constants(added, lowest + 1, one)
        rank = np.argsort(order)
        columns = []
        for column in range(1 + max((c for c, _, _ in listed), default=-1)):
            pairs = np.hstack(
                [np.stack([rank[outputs], rows]) for c, outputs, rows in listed if c == column]
            )
            columns.append(Column.of(pairs, order.size, one // 2))
        return SparsePlan(taps, planes, order, tuple(columns), largest[order], offset, lowest)

    @cached_property
    def place(self) -> Index:
        """Where each output is in ``order``."""
        return np.argsort(self.order)

    @cached_property
    def bits(self) -> int:
        """Bits of a counter."""
        return max(self.lowest + 1, int(self.largest.max()).bit_length())

    @cached_property
    def cut(self) -> Callable[[int], Cut]:
        """The chunks for rows of so many words."""
        return lru_cache(maxsize=4)(partial(cut_outputs, self.columns, self.largest))

    def blocks(self, images: int) -> tuple[Block, ...]:
        """Working memory for so many images: codes and sources of the taps, bit rows, adders, counters."""
        words = self.taps.grid.words(images)
        adders = max(chunk.rows * (chunk.stop - chunk.start) for chunk in self.cut(words).chunks)
        return (
            *self.taps.blocks(self.planes, images),
            Block((self.taps.rows_of(self.planes), words), UINT64),
            Block((adders * words,), UINT64),
            Block((self.bits - self.lowest, self.order.size, words), UINT64),
        )

    def load(self, operand: Integers, codes: Bytes, sources: Words) -> Iterator[Call]:
        """Calls that bring an operand (images, channels, H, W) to the first two of ``blocks``."""
        return self.taps.load(operand, self.planes, codes, sources)

    def calls(
        self, images: int, sources: Words, table: Words, adders: Words, counters: Words
    ) -> Iterator[Call]:
        """Calls that write the sums of an operand that is loaded to ``counters`` (bits, outputs, words).

        They are the same for all tiles of so many images: all but the first of ``blocks``.
        """
        yield from self.taps.calls(images, self.planes, sources, table)
        for chunk in self.cut(table.shape[1]).chunks:
            yield from chunk.calls(table, adders, counters, self.lowest)

    def transient(self, images: int) -> int:
        """Bytes that the calls allocate."""
        return self.taps.transient(self.planes, images)

    def nanoseconds(self, batch: int) -> float:
        """Estimated time of a batch."""
        images = self.images(batch)
        words = self.taps.grid.words(images)
        rows = ROW_NS * self.taps.rows_of(self.planes) * words
        return -(-batch // images) * (TILE_NS + rows + self.cut(words).nanoseconds)

    def images(self, batch: int) -> int:
        """Images of one tile."""
        row_bytes = 8 * self.taps.rows_of(self.planes)
        return max(1, min(batch, TABLE_BYTES // row_bytes * WORD // self.taps.grid.lanes))


def shifted(limits: IntArray, offset: IntArray, bits: int) -> IntArray:
    """Limits (outputs, thresholds) of sums as limits of their counters of ``bits`` bits."""
    least = -offset[:, None]
    reached: IntArray = np.clip(limits, least, (1 << bits) + least) - least
    return reached


def _sums(groups: Index, values: NDArray[np.integer], count: int) -> IntArray:
    return np.bincount(groups, values, count).astype(np.int64)
