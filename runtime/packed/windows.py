"""Windows of a convolution over images with channels last: padding, patches, tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from runtime.ops import Conv2d, Dense
from runtime.packed.layout import CHANNELS_FIRST, Call, Layout
from runtime.packed.planes import Integers
from runtime.types import TensorType

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """Images and output rows computed at once, as slices of a batch."""

    images: slice
    rows: slice


@dataclass(frozen=True, slots=True)
class Tiling:
    """A batch in tiles of at most ``images`` images and ``rows`` output rows."""

    images: int
    rows: int

    def __str__(self) -> str:
        return f"{self.images} x {self.rows} rows"


@dataclass(frozen=True, slots=True)
class Window:
    """Operand (channels, *size), result (*, *out); a Dense is a 1x1 window on a 1x1 image."""

    channels: int
    size: Pair
    out: Pair
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @staticmethod
    def of(op: Conv2d | Dense, x: TensorType, result: TensorType) -> Window:
        """The windows of a layer with weights."""
        if isinstance(op, Dense):
            return Window(x.channels, (1, 1), (1, 1))
        kernel = (op.weights.shape[2], op.weights.shape[3])
        size, out = (x.shape[1], x.shape[2]), (result.shape[1], result.shape[2])
        return Window(x.channels, size, out, kernel, op.stride, op.padding, op.dilation)

    @property
    def taps(self) -> int:
        """Elements of a window in one channel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> int:
        """Windows of one image."""
        return self.out[0] * self.out[1]

    @property
    def is_point(self) -> bool:
        """Whether every window is one position of the operand, in order."""
        return self.taps == 1 and self.stride == (1, 1) and self.padding == (0, 0)

    @property
    def padded(self) -> Pair:
        """Rows and columns of an image with its padding."""
        (h, w), (p0, p1) = self.size, self.padding
        return h + 2 * p0, w + 2 * p1

    def tiling(self, batch: int, positions: int) -> Tiling:
        """Tiles of about ``positions`` windows: whole images, or even bands of one."""
        if self.positions <= positions or self.out[0] == 1:
            images = max(1, min(batch, positions // self.positions))
            return Tiling(-(-batch // -(-batch // images)) if batch else 1, self.out[0])
        bands = -(-self.out[0] // max(1, positions // self.out[1]))
        return Tiling(1, -(-self.out[0] // bands))

    def tiles(self, batch: int, tiling: Tiling) -> Iterator[Tile]:
        """The tiles of a batch, all bands of an image in a row."""
        for first in range(0, batch, tiling.images):
            for row in range(0, self.out[0], tiling.rows):
                yield Tile(
                    slice(first, min(first + tiling.images, batch)),
                    slice(row, min(row + tiling.rows, self.out[0])),
                )

    def inside(self, padded: Integers) -> Integers:
        """The part of (images, *padded, channels) that is the image."""
        (h, w), (p0, p1) = self.size, self.padding
        return padded[:, p0 : p0 + h, p1 : p1 + w]

    def windows(self, padded: Integers, rows: slice) -> Integers:
        """(images, rows, columns, *kernel, channels) of (images, *padded, channels): a view."""
        image, line, column, channel = padded.strides
        (s0, s1), (d0, d1) = self.stride, self.dilation
        shape = (len(padded), rows.stop - rows.start, self.out[1], *self.kernel, padded.shape[3])
        strides = (image, line * s0, column * s1, line * d0, column * d1, channel)
        return as_strided(padded[:, rows.start * s0 :], shape, strides, writeable=False)

    def clear(self, padded: Integers) -> Iterator[Call]:
        """Calls that write 0 around the image of (images, *padded, channels)."""
        (h, w), (p0, p1) = self.size, self.padding
        borders = (
            padded[:, :p0],
            padded[:, p0 + h :],
            padded[:, p0 : p0 + h, :p1],
            padded[:, p0 : p0 + h, p1 + w :],
        )
        return (partial(border.fill, 0) for border in borders if border.size)


def as_images(values: Integers) -> Integers:
    """(batch, channels, rows, columns) or (batch, channels) as (batch, rows, columns, channels): a view."""
    return np.moveaxis(values, 1, -1) if values.ndim > 2 else values[:, None, None, :]


def tile_of(result: Integers, tile: Tile) -> Integers:
    """The part of a result that a tile writes, channels last."""
    return as_images(result)[tile.images, tile.rows]


def planes_of_tile(words: Integers, tile: Tile) -> Integers:
    """The part of planes (planes, words, batch, ...) that a tile writes."""
    images = words if words.ndim > 3 else words[..., None, None]
    return images[:, :, tile.images, tile.rows]


def rows_of(rows: Integers, shape: tuple[int, ...]) -> Integers:
    """The first rows of (rows, channels) as (*shape, channels)."""
    return rows[: math.prod(shape)].reshape(*shape, -1)


def rows_in_order(memory: Integers, layout: Layout, tile: Tile) -> Integers:
    """The images of a tile as (positions, channels), from the memory of a result: a view."""
    if layout.order == CHANNELS_FIRST:
        part = memory[:, tile.images]
        return part.reshape(len(part), -1).T
    part = memory[tile.images]
    return part.reshape(-1, part.shape[-1])
