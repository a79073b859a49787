"""Bit rows of a convolution's operand: one row a channel and kernel tap, one lane an output position.

The lanes of a tile are its images' positions one after the other on one grid, 64 to a word. A kernel tap is
then the whole row moved by a constant number of lanes, without those lanes that would come from outside the
image. A stride splits the image into phases, the images of every ``stride``-th row and column, and each tap
moves one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from runtime.packed.layout import Block, Call
from runtime.packed.planes import WORD, Bytes, Integers, Words

Pair = tuple[int, int]
Inside = NDArray[np.bool_]

MASK_WORDS = 2048
"""Run of words that a mask is repeated to, so that NumPy's loops stay long."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Lanes of ``images`` images: ``size`` lanes each, of which the first ``used`` of each axis count."""

    size: Pair
    used: Pair

    @property
    def lanes(self) -> int:
        """Lanes of one image."""
        return self.size[0] * self.size[1]

    def words(self, images: int) -> int:
        """Words of one row."""
        return -(-images * self.lanes // WORD)

    def spread(self, rows: Words, images: int) -> Bytes:
        """0/1 bytes (..., images, *used) of bit rows (..., words)."""
        octets, lanes = np.ascontiguousarray(rows).view(np.uint8), images * self.lanes
        if lanes == 8 * octets.shape[-1]:
            bits = np.unpackbits(octets.reshape(-1), bitorder="little")
        else:
            bits = np.unpackbits(octets, axis=-1, count=lanes, bitorder="little")
        bits = bits.reshape(*rows.shape[:-1], images, *self.size)
        return bits[..., : self.used[0], : self.used[1]]


@dataclass(frozen=True, slots=True)
class Tap:
    """A kernel tap: output position ``i`` reads lane ``i + shift`` of one phase.

    ``rows``, ``columns``: (height,) and (width,), which of the grid read inside the image.
    """

    phase: Pair
    shift: int
    rows: Inside
    columns: Inside


@dataclass(frozen=True, slots=True)
class Moves:
    """The taps in bytes, for tiles of one size.

    ``sources``: (phase, lanes moved down by, 0 to 7), the phases as they are first. ``taps``: (source,
    first byte, mask of ``run`` bytes or None where every lane counts).
    """

    sources: tuple[tuple[Pair, int], ...]
    taps: tuple[tuple[int, int, Bytes | None], ...]
    run: int


@dataclass(frozen=True, slots=True)
class Taps:
    """How the bit rows of every tap come from the images of an operand with ``channels`` channels."""

    channels: int
    stride: Pair
    grid: Grid
    taps: tuple[Tap, ...]
    moves: Callable[[int], Moves]

    @staticmethod
    def of(
        shape: tuple[int, ...],
        used: Pair,
        kernel: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Taps:
        """The taps of a convolution of operand ``shape``, (channels, H, W), with ``used`` positions."""
        height, rows = _axis(shape[1], used[0], kernel[0], stride[0], padding[0], dilation[0])
        width, columns = _axis(shape[2], used[1], kernel[1], stride[1], padding[1], dilation[1])
        taps = tuple(
            Tap((p0, p1), s0 * width + s1, inside0, inside1)
            for p0, s0, inside0 in rows
            for p1, s1, inside1 in columns
        )
        grid = Grid((height, width), used)
        return Taps(
            shape[0], stride, grid, taps, lru_cache(maxsize=8)(partial(_moves, shape[0], grid, taps))
        )

    def rows_of(self, planes: int) -> int:
        """Rows of a table of operands of ``planes`` bits."""
        return 2 * (len(self.taps) * planes * self.channels + 1)

    def blocks(self, planes: int, images: int) -> tuple[Block, Block]:
        """Working memory: codes with channels first, and every source between margins of 0.

        One source more holds what a move leaves over.
        """
        words = 2 * _margin(self.taps) + planes * self.channels * self.grid.words(images)
        return (
            Block((self.channels, images, *self.grid.size), np.dtype(np.uint8)),
            Block((len(self.moves(images).sources) + 1, words), np.dtype(np.uint64)),
        )

    def transient(self, planes: int, images: int) -> int:
        """Bytes that the calls allocate: the bits of one plane before and after they are packed."""
        codes = self.channels * images * self.grid.lanes
        return (codes if planes > 1 else 0) + codes // 8 + self.channels

    def load(self, array: Integers, planes: int, codes: Bytes, sources: Words) -> Iterator[Call]:
        """Calls that write the phases of an operand (images, channels, H, W) to memory of ``blocks``."""
        margin = _margin(self.taps)
        for place, (phase, bits) in enumerate(self.moves(len(array)).sources):
            if not bits:
                rows = sources[place, margin:-margin].reshape(planes, self.channels, -1)
                yield from self._phase(array, phase, codes, rows)

    def calls(self, images: int, planes: int, sources: Words, table: Words) -> Iterator[Call]:
        """Calls that write the bit rows of phases that are loaded to a table (rows, words).

        Row ``(tap * planes + plane) * channels + channel``; then one of 0; then all of them inverted.
        Unused lanes may hold anything.
        """
        half, moves, margin = len(table) // 2, self.moves(images), _margin(self.taps)
        yield partial(sources[:, :margin].fill, 0)
        yield partial(sources[:, -margin:].fill, 0)
        for place, (phase, bits) in enumerate(moves.sources):
            if bits:
                source = sources[moves.sources.index((phase, 0))]
                yield from _moved(source, bits, sources[place], sources[-1])
        size = 8 * (half - 1) * table.shape[1] // len(self.taps)
        shape = (size,) if moves.run == size else (-1, moves.run)
        targets = table[: half - 1].view(np.uint8).reshape(len(self.taps), *shape)
        octets = sources.view(np.uint8)
        for target, (place, start, mask) in zip(targets, moves.taps, strict=True):
            window = octets[place, start : start + size].reshape(target.shape)
            if mask is None:
                yield partial(np.copyto, target, window)
            else:
                yield partial(np.bitwise_and, window, mask, target)
        yield partial(table[half - 1].fill, 0)
        yield partial(np.invert, table[:half], table[half:])

    def _phase(self, array: Integers, phase: Pair, codes: Bytes, rows: Words) -> Iterator[Call]:
        """Calls that write one phase of an operand to ``rows`` (planes, channels, words)."""
        part = array[:, :, phase[0] :: self.stride[0], phase[1] :: self.stride[1]].swapaxes(0, 1)
        if part.dtype != np.uint8 or not part.flags.c_contiguous or part.shape != codes.shape:
            if part.shape != codes.shape:
                yield partial(codes.fill, 0)
            yield partial(np.copyto, codes[:, :, : part.shape[2], : part.shape[3]], part, "unsafe")
            part = codes
        flat = part.reshape(self.channels, -1)
        for plane, target in enumerate(rows.view(np.uint8)):
            yield partial(_pack, flat, plane if len(rows) > 1 else None, target)


def _pack(codes: Bytes, plane: int | None, target: Bytes) -> None:
    """Write one bit of codes (channels, lanes), or the only one, to ``target`` (channels, bytes)."""
    bits = codes if plane is None else codes & np.uint8(1 << plane)
    if bits.shape[1] == 8 * target.shape[1]:
        target.reshape(-1)[:] = np.packbits(bits.reshape(-1), bitorder="little")
        return
    octets = np.packbits(bits, axis=-1, bitorder="little")
    target[:, : octets.shape[1]] = octets
    target[:, octets.shape[1] :] = 0


def _moved(source: Words, bits: int, target: Words, rest: Words) -> Iterator[Call]:
    """Calls that write bit rows moved down by 1 to 7 lanes; ``rest`` holds what crosses words."""
    yield partial(np.right_shift, source, np.uint64(bits), target)
    yield partial(np.left_shift, source[1:], np.uint64(WORD - bits), rest[1:])
    yield partial(np.bitwise_or, target[:-1], rest[1:], target[:-1])


def _axis(
    size: int, used: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[int, list[tuple[int, int, Inside]]]:
    """Lanes along one axis, and phase, shift and lanes inside it of every kernel tap."""
    starts = [divmod(dilation * tap - padding, stride) for tap in range(kernel)]
    lengths = [-(-(size - phase) // stride) for _, phase in starts]
    lanes = max(used, *lengths)
    taps = []
    for (shift, phase), length in zip(starts, lengths, strict=True):
        read = np.arange(lanes) + shift
        taps.append((phase, shift, (read >= 0) & (read < length)))
    return lanes, taps


def _margin(taps: Sequence[Tap]) -> int:
    """Words on both sides of the rows that taps may read past their ends."""
    return 2 + max(abs(tap.shift) for tap in taps) // WORD


def _moves(channels: int, grid: Grid, taps: Sequence[Tap], images: int) -> Moves:
    """A mask is repeated for as many channels as divide all of them and keep it short."""
    words = grid.words(images)
    group = max(
        g for g in range(1, channels + 1) if channels % g == 0 and (g == 1 or g * words <= MASK_WORDS)
    )
    phases = dict.fromkeys((tap.phase, 0) for tap in taps)  # those not moved come first
    sources = (*phases, *dict.fromkeys((t.phase, t.shift % 8) for t in taps if t.shift % 8))
    moves = []
    for tap in taps:
        inside = np.logical_and.outer(tap.rows, tap.columns)
        lanes = np.packbits(np.tile(inside.reshape(-1), images), bitorder="little")
        mask = np.concatenate([lanes, np.zeros(8 * words - lanes.size, np.uint8)])
        keep = None if inside.all() else np.tile(mask, group)
        moves.append((sources.index((tap.phase, tap.shift % 8)), 8 * _margin(taps) + tap.shift // 8, keep))
    return Moves(sources, tuple(moves), 8 * words * group)
