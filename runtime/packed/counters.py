"""Vertical counters: the sums of a layer as bit rows, compared as they are or unpacked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from runtime.packed.adders import Schedule, schedule
from runtime.packed.lanes import Grid
from runtime.packed.layer import Finish, Layer
from runtime.packed.layout import (
    ALWAYS,
    BATCH_FIRST,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Block,
    Call,
    Layout,
    Work,
    fits_planes,
    narrow,
    run_all,
)
from runtime.packed.planes import Bytes, Integers, Words, pack_last
from runtime.packed.sparse import UINT64, SparsePlan, shifted
from runtime.types import IntArray

ALL = ~np.uint64(0)

VERTICAL_THRESHOLDS = 3
"""Up to so many thresholds a channel are compared without unpacking the counters."""

MAX_TABLE_BYTES = 1 << 26
"""Largest table of bit rows of one image."""

MAX_DENSITY = 0.5
"""Largest share of weights that are not 0 in lists, which take 8 bytes for each and row of it."""

UNPACK_NS = 0.5
"""Time to unpack one bit of one sum, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Thresholds on the counters of one plan.

    ``clear``: (bits + 1, thresholds, outputs, 1), ones where that bit of a limit is 0.
    ``sums``: adds the comparisons of several thresholds up.
    """

    clear: Words
    sums: Schedule

    @staticmethod
    def of(limits: IntArray, plan: SparsePlan, planes: int) -> Comparison:
        """The comparison with ``limits`` (outputs, thresholds) that makes codes of ``planes`` bits."""
        bits = np.arange(plan.bits + 1)[:, None, None]
        clear = shifted(limits, plan.offset, plan.bits)[plan.order].T >> bits & 1 == 0
        return Comparison(
            np.where(clear, ALL, np.uint64(0))[..., None], schedule((limits.shape[1],), planes)
        )

    @property
    def rows(self) -> int:
        """Rows of working memory of ``calls``, each as long as one bit of all counters."""
        return self.sums.rows + self.sums.spare + len(self.clear[0])

    def calls(self, counters: Words, rows: Words, planes: Words) -> Iterator[Call]:
        """Calls that write the codes of counters, ``planes`` (planes, outputs, words)."""
        reached, spare, differ = np.split(rows, [self.sums.rows, self.sums.rows + self.sums.spare])

        def fetch(column: int, first: int) -> Sequence[Call]:
            return [*_reach(counters, self.clear, reached[first : first + len(differ)], differ)]

        return self.sums.calls(reached, spare, planes, fetch)


def _reach(counters: Words, clear: Words, reached: Words, differ: Words) -> Iterator[Call]:
    """Compare from the lowest bit up: a bit decides where it differs from the limit's."""
    yield partial(np.bitwise_or, counters[0], clear[0], reached)
    for counter, bit_clear in zip(counters[1:], clear[1:-1], strict=True):
        yield partial(np.bitwise_xor, counter, reached, differ)
        yield partial(np.bitwise_and, counter, reached, reached)
        yield partial(np.bitwise_and, differ, bit_clear, differ)
        yield partial(np.bitwise_or, reached, differ, reached)
    yield partial(np.bitwise_and, reached, clear[-1], reached)


def _codes(planes: Words, grid: Grid, images: int) -> Bytes:
    """Codes (channels, images, rows, columns) of up to 8 planes (planes, channels, words)."""
    codes = grid.spread(planes[-1], images)
    for plane in planes[-2::-1]:
        codes += codes
        codes |= grid.spread(plane, images)
    return codes


def unpack(planes: Words, plan: SparsePlan, sums: Integers) -> None:
    """Write counters (bits, outputs, words), sums plus the offset, to ``sums`` (outputs, images, ...)."""
    ordered = planes.take(plan.place, axis=1)
    sums[:] = _codes(ordered[:8], plan.taps.grid, sums.shape[1])
    for low in range(8, plan.bits, 8):
        octets = _codes(ordered[low : low + 8], plan.taps.grid, sums.shape[1])
        sums += octets.astype(sums.dtype) << low


def _largest(*choices: Sequence[Block]) -> list[Block]:
    """The larger of the blocks that tiles of different sizes need."""
    return [max(blocks, key=lambda block: block.bytes) for blocks in zip(*choices, strict=True)]


class Tile(NamedTuple):
    """What all tiles of so many images share: memory that the operand is loaded to, the calls that follow,
    and the bit rows that they make, which are codes or counters."""

    operand: tuple[Bytes, Words]
    calls: Sequence[Call]
    rows: Words


@dataclass(frozen=True, eq=False)
class BitSliced:
    """A layer with sparse weights, by lists of bit rows."""

    layer: Layer
    plan: SparsePlan
    takes_planes: bool = False
    gives_planes: str = ALWAYS
    name: str = "bit-sliced"

    @staticmethod
    def of(layer: Layer) -> BitSliced | None:
        """The kernel, or None for operands that are no planes, groups, and too many weights."""
        codes = layer.op.weights.codes
        if not fits_planes(layer.x) or layer.groups != 1:
            return None
        if np.count_nonzero(codes) > MAX_DENSITY * codes.size:
            return None
        plan = SparsePlan.of(layer)
        large = 8 * plan.taps.rows_of(plan.planes) * plan.taps.grid.words(1) > MAX_TABLE_BYTES
        return None if large or plan.bits > 62 else BitSliced(layer, plan)

    @cached_property
    def _comparison(self) -> Comparison | None:
        """Two thresholds or more on the counters as they are, unless there are too many."""
        limits = self.layer.limits
        if limits is None or not 1 < limits.shape[1] <= VERTICAL_THRESHOLDS:
            return None
        return Comparison.of(limits, self.plan, self.layer.result.bits)

    @property
    def _vertical(self) -> bool:
        """Whether thresholds are compared before anything is unpacked."""
        return bool(self._comparison or self.plan.lowest)

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        plan, layer, compare = self.plan, self.layer, self._comparison
        images = plan.images(batch)
        outputs, words, result = plan.order.size, plan.taps.grid.words(images), layer.result
        last = CHANNELS_LAST if len(layer.sums.shape) > 1 else BATCH_FIRST
        layout = Layout(last if planes else CHANNELS_FIRST, narrow(result.interval))
        sums = Layout(CHANNELS_FIRST, np.dtype(np.int32 if plan.bits <= 30 else np.int64))
        vertical = self._vertical
        blocks = (
            *_largest(plan.blocks(images), plan.blocks(batch % images or images)),
            Block((compare.rows + result.bits if compare else 0, outputs, words), UINT64),
            sums.block(layer.sums, 0 if vertical else images),
            *Finish(layer).scratch(images * layer.window.positions, outputs, False)[:1],
            layout.block(result, batch if planes else 0),
        )
        unpacked = result.bits if vertical else plan.bits
        lanes = 64 * outputs * words * -(-batch // images)
        return Work(
            Layout.planes() if planes else layout,
            partial(self._bind, images, planes, layout, sums),
            plan.nanoseconds(batch) + UNPACK_NS * unpacked * lanes,
            blocks,
            transient=plan.transient(images) + 2 * outputs * 64 * words,
            tile=f"{images} images, {len(plan.cut(words).chunks)} chunks",
        )

    def _bind(
        self,
        images: int,
        planes: bool,
        layout: Layout,
        sums: Layout,
        operands: Sequence[Integers],
        result: Integers,
        scratch: Sequence[Integers],
    ) -> Call:
        (x,), (*memory, rows, totals, compared, codes) = operands, scratch
        image = x if x.ndim == 4 else x[:, :, None, None]
        target = layout.view(codes) if planes else result
        calls: list[Call] = []
        tiles: dict[int, Tile] = {}
        for start in range(0, len(x), images):
            part = slice(start, min(start + images, len(x)))
            size = part.stop - start
            if size not in tiles:
                tiles[size] = self._tile(size, memory, rows)
            tile = tiles[size]
            calls += self.plan.load(image[part], *tile.operand)
            calls.append(partial(run_all, tile.calls))
            if self._vertical:
                into = target[part].swapaxes(0, 1)
                calls.append(
                    partial(self._write, tile.rows, into if x.ndim == 4 else into[..., None, None])
                )
                continue
            total = totals[:, :size]
            whole = total if x.ndim == 4 else total[..., None, None]
            calls.append(partial(unpack, tile.rows, self.plan, whole))
            finished = np.moveaxis(target[part], 1, -1)
            outputs = slice(0, self.plan.order.size)
            sums_last = np.moveaxis(total, 0, -1)
            calls += Finish(self.layer).calls(sums_last, self.plan.offset, outputs, finished, compared)
        if planes:
            calls.append(partial(pack_last, codes, result))
        return partial(run_all, calls)

    def _tile(self, images: int, memory: Sequence[Integers], rows: Words) -> Tile:
        """Tiles of so many images, in the first elements of the plan's ``memory`` and of ``rows``."""
        shapes = (block.shape for block in self.plan.blocks(images))
        cut = [b.reshape(-1)[: math.prod(s)].reshape(s) for b, s in zip(memory, shapes, strict=True)]
        (codes, sources, *rest), counters = cut, cut[-1]
        calls = [*self.plan.calls(images, sources, *rest)]
        if not self._comparison:
            return Tile((codes, sources), calls, counters)
        work = rows.reshape(-1)[: len(rows) * counters[0].size].reshape(len(rows), *counters.shape[1:])
        planes, free = np.split(work, [self.layer.result.bits])
        return Tile((codes, sources), [*calls, *self._comparison.calls(counters, free, planes)], planes)

    def _write(self, planes: Words, target: Integers) -> None:
        ordered = planes.take(self.plan.place, axis=1)
        np.copyto(target, _codes(ordered, self.plan.taps.grid, target.shape[1]), casting="unsafe")
