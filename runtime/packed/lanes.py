"""Bit rows of a convolution's operand: one row a channel and kernel tap, one lane an output position.

The lanes of a tile are its images' positions one after the other on one grid, 64 to a word. A kernel tap is
then the whole row moved by a constant number of lanes, without those lanes that would come from outside the
image. A stride splits the image into phases, the images of every ``stride``-th row and column, and each tap
moves one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

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
        octets = np.ascontiguousarray(rows).view(np.uint8)
        bits = np.unpackbits(octets, axis=-1, count=images * self.lanes, bitorder="little")
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

    ``sources``: (phase, lanes moved down by, 0 to 7). ``taps``: (source, first byte, mask of ``run`` bytes
    or None where every lane counts).
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
        return 2 * len(self.taps) * planes * self.channels + 1

    def fill(self, table: Words, array: Integers, planes: int) -> None:
        """Write the bit rows of an operand (images, channels, H, W) to a table (rows, words).

        Row ``(tap * planes + plane) * channels + channel``; then the same inverted; the last row is 0.
        Unused lanes may hold anything.
        """
        half, moves = len(table) // 2, self.moves(len(array))
        size = 8 * half * table.shape[1] // len(self.taps)
        shape = (size,) if moves.run == size else (-1, moves.run)
        targets = table[:half].view(np.uint8).reshape(len(self.taps), *shape)
        phases = {
            phase: self._phase(array, phase, planes) for phase in {phase for phase, _ in moves.sources}
        }
        sources = [_moved(phases[phase], bits) for phase, bits in moves.sources]
        for target, (source, start, mask) in zip(targets, moves.taps, strict=True):
            window = sources[source][start : start + size].reshape(target.shape)
            if mask is None:
                np.copyto(target, window)
            else:
                np.bitwise_and(window, mask, target)
        np.invert(table[:half], table[half : 2 * half])
        table[2 * half] = 0

    def _phase(self, array: Integers, phase: Pair, planes: int) -> Bytes:
        """The bit rows of one phase end to end, planes outermost, with a margin of 0 on both sides."""
        images = len(array)
        part = array[:, :, phase[0] :: self.stride[0], phase[1] :: self.stride[1]].swapaxes(0, 1)
        if part.shape[2:] == self.grid.size:
            codes = np.ascontiguousarray(part, np.uint8)
        else:
            codes = np.zeros((self.channels, images, *self.grid.size), np.uint8)
            codes[:, :, : part.shape[2], : part.shape[3]] = part
        codes = codes.reshape(self.channels, -1)
        margin = 8 * _margin(self.taps)
        rows = np.zeros(2 * margin + 8 * planes * self.channels * self.grid.words(images), np.uint8)
        for plane, target in enumerate(rows[margin:-margin].reshape(planes, self.channels, -1)):
            bits = codes if planes == 1 else codes & np.uint8(1 << plane)
            octets = np.packbits(bits, axis=-1, bitorder="little")
            target[:, : octets.shape[1]] = octets
        return rows


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
    sources = tuple(dict.fromkeys((tap.phase, tap.shift % 8) for tap in taps))
    moves = []
    for tap in taps:
        inside = np.logical_and.outer(tap.rows, tap.columns)
        lanes = np.packbits(np.tile(inside.reshape(-1), images), bitorder="little")
        mask = np.concatenate([lanes, np.zeros(8 * words - lanes.size, np.uint8)])
        keep = None if inside.all() else np.tile(mask, group)
        moves.append((sources.index((tap.phase, tap.shift % 8)), 8 * _margin(taps) + tap.shift // 8, keep))
    return Moves(sources, tuple(moves), 8 * words * group)


def _moved(rows: Bytes, bits: int) -> Bytes:
    """Bit rows moved down by 0 to 7 lanes."""
    if not bits:
        return rows
    words = rows.view("<u8")
    moved = words >> np.uint64(bits)
    moved[:-1] |= words[1:] << np.uint64(WORD - bits)
    return moved.view(np.uint8)
