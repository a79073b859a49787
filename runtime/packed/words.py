"""Convolution and matrix product on bit planes: xor, and, count.

For a weight of sign bit ``neg`` and magnitude planes ``m_i`` and an activation plane ``a``:
``sum_k w_k a_k = sum_i 2^i (popcount((a ^ neg) & m_i) - popcount(neg & m_i))``. A plane ``m_i`` that every
weight has, as ``m_0`` with an even number of levels, need not mask: unused bits of ``a`` and ``neg`` are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from runtime.ops.base import window_taps
from runtime.packed.layer import BYTE, Finish, Layer
from runtime.packed.layout import (
    ALWAYS,
    Block,
    Call,
    Layout,
    Work,
    fits_planes,
    run_all,
)
from runtime.packed.planes import WORD, Integers, Words, pack_bits, pack_last, words_for
from runtime.packed.windows import Tiling, as_images, planes_of_tile, rows_in_order, rows_of
from runtime.types import IntArray
from runtime.weights import max_code, planes_of

UINT64, UINT16, INT32, INT64 = (np.dtype(t) for t in (np.uint64, np.uint16, np.int32, np.int64))

TILE_WORDS = 1 << 15
"""Words of one tile of the product: a quarter of a megabyte, so that it stays in the second-level cache."""

PATCH_BYTES = 1 << 19
"""A tile of images has patches of about so many bytes."""

BYTE_COUNTS = 3
"""Counts of 64 that a byte adds up."""

WORD_NS, COUNT_NS = 0.5, 1.7
"""Time of one word of one position and output: the xor, and what every magnitude bit adds, nanoseconds."""

CALL_NS, PATCH_TAP_NS, TILE_NS = 1_000, 6_000, 30_000
"""Time of one call, of the calls for a kernel tap of a patch, and of the others of a tile, nanoseconds."""

PACK_NS = 0.4
"""Time to pack one element of the operand to planes, nanoseconds."""


def patch_words(channels: int, taps: int) -> int:
    """Words of one patch: taps of up to 32 channels share a word; wider ones lie one after the other."""
    return taps * words_for(channels) if channels > WORD // 2 else -(-taps // (WORD // channels))


def join_taps(taps: Sequence[Words], channels: int, joined: Words) -> None:
    """Write whole patches, (words, *rest), from the words of their taps, each (words, *rest)."""
    if channels > WORD // 2:
        for tap, target in zip(taps, np.split(joined, len(taps)), strict=True):
            np.copyto(target, tap)
        return
    per_word = WORD // channels
    joined.fill(0)
    for index, tap in enumerate(taps):
        joined[index // per_word] |= tap[0] << np.uint64(channels * (index % per_word))


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Weight planes in patch order: ``neg`` and every magnitude plane are (words, outputs).

    A magnitude plane is None where every weight has its bit. ``offset``: (outputs,), what one activation
    plane of weight 1 counts too much.
    """

    neg: Words
    magnitudes: tuple[Words | None, ...]
    offset: IntArray


def pack_weights(codes: Integers, levels: int) -> PackedWeights:
    """Pack ``codes`` of shape (outputs, channels, taps)."""
    outputs, channels, taps = codes.shape
    planes = planes_of(codes, levels)
    packed = np.empty((len(planes), patch_words(channels, taps), outputs), np.uint64)
    for plane, target in zip(planes, packed, strict=True):
        join_taps([pack_bits(plane[:, :, t].T) for t in range(taps)], channels, target)
    flat = planes.reshape(len(planes), outputs, -1)
    negative = np.stack([(flat[0] & m).sum(axis=1) for m in flat[1:]]).astype(np.int64)
    offset = (negative << np.arange(len(negative))[:, None]).sum(axis=0)
    magnitudes = (None if p.all() else m for p, m in zip(planes[1:], packed[1:], strict=True))
    return PackedWeights(packed[0], tuple(magnitudes), offset)


@dataclass(frozen=True, eq=False)
class XorCount:
    """A layer by xor, and, count on words of 64 channels."""

    layer: Layer
    takes_planes: bool = True
    gives_planes: str = ALWAYS
    name: str = "xor-count"

    @staticmethod
    def of(layer: Layer) -> XorCount | None:
        """The kernel, or None for operands that are no planes and for groups."""
        return XorCount(layer) if fits_planes(layer.x) and layer.groups == 1 else None

    @cached_property
    def weights(self) -> PackedWeights:
        """The weights as planes."""
        return pack_weights(self.layer.weights, self.layer.op.weights.levels)

    @cached_property
    def _total(self) -> np.dtype[Any]:
        """Dtype of the sums of all planes."""
        largest = np.abs(self.layer.weights.astype(np.int64)).sum(axis=(1, 2)).max() << self.layer.x.bits
        return INT32 if int(largest) < 2**31 else INT64

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        layer, window, (operand,) = self.layer, self.layer.window, operands
        outputs, bits, words = len(layer.weights), layer.x.bits, patch_words(window.channels, window.taps)
        tiling = window.tiling(batch, max(1, PATCH_BYTES // (8 * bits * words), window.positions))
        images, rows = tiling.images, tiling.images * window.positions
        step = max(1, min(rows, TILE_WORDS // outputs))
        magnitudes = max_code(layer.op.weights.levels).bit_length()
        channel_words, packs = words_for(window.channels), 0 if operand.is_planes else images
        padded = 0 if window.is_point else images
        blocks = (
            Block((packs, *window.size, window.channels), BYTE),
            Block((bits, channel_words, packs, *window.size), UINT64),
            Block((bits, channel_words, padded, *window.padded), UINT64),
            Block((bits, words, rows), UINT64),
            Block((2, outputs * step), UINT64),
            Block((1 + magnitudes, outputs * step), BYTE),
            Block((magnitudes, outputs * step), UINT16 if words < 1024 else INT32),
            Block((2, outputs * step), self._total),
            *Finish(layer).scratch(step, outputs, False),
            Block((rows if planes else 0, outputs), BYTE),
        )
        each = outputs * (WORD_NS + COUNT_NS * magnitudes) * words * bits
        calls = TILE_NS + bits * (
            PATCH_TAP_NS * window.taps + CALL_NS * (1 + 4 * magnitudes) * words * -(-rows // step)
        )
        packing = 0 if operand.is_planes else PACK_NS * bits * layer.x.size * batch
        layout = Layout.planes() if planes else layer.layout(batch)
        return Work(
            layout,
            partial(self._bind, tiling, layout, operand.is_planes, step),
            batch * window.positions * each + -(-batch // images) * calls + packing,
            blocks,
            transient=images * layer.x.size,
            tile=f"{tiling}, {step} positions",
        )

    def _bind(
        self,
        tiling: Tiling,
        layout: Layout,
        given_planes: bool,
        step: int,
        operands: Sequence[Integers],
        result: Integers,
        scratch: Sequence[Integers],
    ) -> Call:
        window = self.layer.window
        x, planes = operands[0], layout.is_planes
        codes, packed, padded, patches, *work, compared, _, ready = scratch
        batch = x.shape[2] if given_planes else len(x)
        calls: list[Call] = [partial(padded.fill, 0)] if padded.size else []
        for tile in window.tiles(batch, tiling):
            count = tile.images.stop - tile.images.start
            if given_planes:
                words = (x if x.ndim == 5 else x[..., None, None])[:, :, tile.images]
            else:
                words = packed[:, :, :count]
                calls.append(partial(np.copyto, codes[:count], as_images(x)[tile.images], "unsafe"))
                calls.append(partial(pack_last, codes[:count], words))
            rows = count * window.positions
            target = patches[:, :, :rows]
            calls.append(partial(self._patches, words, padded[:, :, :count], target))
            if planes:
                calls += self._products(target, ready[:rows], step, work, compared)
                done = rows_of(ready, (count, *window.out))
                calls.append(partial(pack_last, done, planes_of_tile(result, tile)))
            else:
                into = rows_in_order(layout.memory(result), layout, tile)
                calls += self._products(target, into, step, work, compared)
        return partial(run_all, calls)

    def _patches(self, words: Words, padded: Words, patches: Words) -> None:
        """Write patches (planes, words, positions) of (planes, words, images, rows, columns)."""
        window = self.layer.window
        image = words
        if padded.size:
            (h, w), (p0, p1) = window.size, window.padding
            np.copyto(padded[..., p0 : p0 + h, p1 : p1 + w], words)
            image = padded
        taps = [
            image[..., *tap]
            for tap in window_taps(
                window.size, window.kernel, window.stride, window.padding, window.dilation
            )
        ]
        shape = (patches.shape[1], *taps[0].shape[2:])
        for plane, target in enumerate(patches):
            join_taps([tap[plane] for tap in taps], window.channels, target.reshape(shape))

    def _products(
        self, patches: Words, target: Integers, step: int, work: Sequence[Integers], compared: Integers
    ) -> list[Call]:
        """Calls that finish ``target`` (positions, outputs) from patches, ``step`` positions at once.

        The longer of the two axes is the inner one, so that NumPy's loops stay long at any batch size.
        """
        outputs, finish = len(self.layer.weights), Finish(self.layer)
        offset = self.weights.offset * ((1 << self.layer.x.bits) - 1)
        calls: list[Call] = []
        for start in range(0, target.shape[0], step):
            tile, into = patches[:, :, start : start + step], target[start : start + step]
            wide = tile.shape[2] >= outputs
            shape = (outputs, tile.shape[2]) if wide else (tile.shape[2], outputs)
            views = [block[:, : outputs * tile.shape[2]].reshape(len(block), *shape) for block in work]
            calls.append(partial(self._count, tile, wide, *views))
            sums = views[-1][0].T if wide else views[-1][0]
            calls += finish.calls(sums, offset, slice(0, outputs), into, compared)
        return calls

    def _count(
        self, tile: Words, wide: bool, words: Words, ones: Integers, counts: Integers, totals: Integers
    ) -> None:
        """Write the weighted counts of one tile to ``totals[0]``."""
        planes, size = tile.shape[:2]
        outer, inner = ((slice(None), None), (None, slice(None)))[:: 1 if wide else -1]
        last = size - 1
        for plane in range(planes):
            for word in range(size):
                np.bitwise_xor(tile[plane, word][inner], self.weights.neg[word][outer], out=words[0])
                for i, magnitude in enumerate(self.weights.magnitudes):
                    masked = words[0]
                    if magnitude is not None:
                        masked = np.bitwise_and(words[0], magnitude[word][outer], out=words[1])
                    place = word % BYTE_COUNTS
                    np.bitwise_count(masked, out=ones[0 if place else 1 + i])
                    if place:
                        np.add(ones[1 + i], ones[0], out=ones[1 + i])
                    if word == last or place == BYTE_COUNTS - 1:
                        _add(counts[i], ones[1 + i], first=word < BYTE_COUNTS)
            for i, count in enumerate(counts):
                first = plane == i == 0
                np.left_shift(count, plane + i, out=totals[0 if first else 1], dtype=totals.dtype)
                if not first:
                    np.add(totals[0], totals[1], out=totals[0])


def _add(total: Integers, part: Integers, first: bool) -> None:
    """Add ``part``, or with ``first`` set it."""
    if first:
        np.copyto(total, part)
    else:
        np.add(total, part, out=total)
