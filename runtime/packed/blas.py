"""Layers as matrix products of floats where that is proved exact: several outputs a float (``packing``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from runtime.packed.layer import Finish, Layer
from runtime.packed.layout import ALWAYS, CHANNELS_FIRST, Block, Call, Layout, Work, run_all
from runtime.packed.packing import Packing, lane_outputs, lanes_of, pack_lanes, packings
from runtime.packed.planes import Integers, pack_last
from runtime.packed.windows import Tiling, as_images, planes_of_tile, rows_of, tile_of
from runtime.types import IntArray

INT32 = np.dtype(np.int32)

PATCH_BYTES, PATCH_ROWS = 1 << 20, 256
"""A tile has patches of about so many bytes, but no fewer rows than make a product efficient."""

COPY_NS, COMPARE_NS, CALL_NS = 0.3, 0.2, 1_000.0
"""Time to copy one element of a patch, to compare one sum, and of one call, nanoseconds."""


@dataclass(frozen=True, eq=False)
class Blas:
    """A layer by matrix products, channels last.

    ``options``: the exact packings of its weights.
    """

    layer: Layer
    options: tuple[Packing, ...]
    name: str = "blas"
    takes_planes: bool = False
    gives_planes: str = ALWAYS

    @staticmethod
    def of(layer: Layer) -> Blas | None:
        """The kernel, or None where no float holds every partial sum."""
        options = tuple(packings(_by_groups(layer), layer.seen))
        return Blas(layer, options) if options else None

    @cached_property
    def _matrices(self) -> dict[int, NDArray[np.floating]]:
        return {}

    def _matrix(self, packing: Packing) -> NDArray[np.floating]:
        """Packed weights (groups, inputs, packed outputs), made when first needed."""
        if packing.lanes not in self._matrices:
            self._matrices[packing.lanes] = pack_lanes(_by_groups(self.layer), packing)
        return self._matrices[packing.lanes]

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size, with the packing that is estimated fastest there."""
        layer, window = self.layer, self.layer.window
        groups, outputs, inputs = layer.groups, len(layer.weights) // layer.groups, layer.fan_in
        tiling = window.tiling(batch, max(PATCH_ROWS, PATCH_BYTES // (4 * inputs)))
        rows = tiling.images * tiling.rows * window.out[1]
        packing = min(self.options, key=lambda p: rows * p.nanoseconds(outputs, rows) + CALL_NS * _calls(p))
        packed, finish = lane_outputs(outputs, packing.lanes), Finish(layer)
        result = layer.layout(batch)
        order = Order(operands[0].order == CHANNELS_FIRST, result.order == CHANNELS_FIRST)
        padded = 0 if window.is_point else tiling.images
        fields = 0 if packing.is_plain else rows
        blocks = (
            Block((padded * window.padded[0] * window.padded[1] * window.channels,), packing.dtype),
            Block((rows * inputs,), packing.dtype),
            Block((rows * packed,), packing.dtype),
            Block((2 + packing.lanes, fields * packed), INT32),
            *finish.scratch(rows, packed, planes),
        )
        counted = 1 if layer.limits is None else 2 * layer.limits.shape[1]
        each = groups * packing.nanoseconds(outputs, rows) + COPY_NS * inputs * groups
        each += COMPARE_NS * outputs * groups * counted
        tiles = -(-batch // tiling.images) * -(-window.out[0] // tiling.rows)
        calls = 4 + groups * _calls(packing)
        copied = COPY_NS * batch * window.channels * window.size[0] * window.size[1]
        return Work(
            Layout.planes() if planes else result,
            partial(self._bind, packing, tiling, order, planes),
            batch * window.positions * each + copied + tiles * CALL_NS * calls,
            blocks,
            tile=f"{tiling}, {packing}",
        )

    def _bind(
        self,
        packing: Packing,
        tiling: Tiling,
        order: Order,
        planes: bool,
        operands: Sequence[Integers],
        result: Integers,
        scratch: Sequence[Integers],
    ) -> Call:
        window, (padded, *work, codes) = self.layer.window, scratch
        x = as_images(operands[0])
        count = 0 if window.is_point else tiling.images
        images = order.operand(padded, 3, (count, *window.padded, window.channels))
        calls: list[Call] = [] if window.is_point else list(window.clear(images))
        previous = slice(-1, -1)
        for tile in window.tiles(len(x), tiling):
            image = x[tile.images]
            if not window.is_point:
                image = images[: len(image)]
                if tile.images != previous:
                    calls.append(partial(np.copyto, window.inside(image), x[tile.images], "unsafe"))
                previous = tile.images
            source = window.windows(image, tile.rows)
            target = rows_of(codes, source.shape[:3]) if planes else tile_of(result, tile)
            for group in range(self.layer.groups):
                calls += self._product(packing, order, work, group, source, target)
            if planes:
                calls.append(partial(pack_last, target, planes_of_tile(result, tile)))
        return partial(run_all, calls)

    def _product(
        self,
        packing: Packing,
        order: Order,
        work: Sequence[Integers],
        group: int,
        source: Integers,
        target: Integers,
    ) -> list[Call]:
        """Calls for one tile and group: copy patches, multiply, take lanes apart, finish.

        ``source``: windows (images, rows, columns, *kernel, all channels). ``target``: (images, rows,
        columns, all outputs). ``work``: flat blocks for patches, products, fields and a comparison.
        """
        groups, finish, shape = self.layer.groups, Finish(self.layer), source.shape[:3]
        size, outputs = source.shape[-1] // groups, len(self.layer.weights) // groups
        matrix, (patches, products, fields, compared) = self._matrix(packing)[group], work
        windows = order.operand(patches, 3, (*shape, *source.shape[3:5], size))
        patch = order.operand(patches, 1, (math.prod(shape), len(matrix)))
        product = order.result(products, (len(patch), matrix.shape[1]))
        calls: list[Call] = [
            partial(np.copyto, windows, source[..., group * size : (group + 1) * size], "unsafe")
        ]
        offsets = packing.offsets[:, group * outputs : (group + 1) * outputs]
        if packing.is_plain:
            calls.append(order.matmul(patch, matrix, product))
            lanes, offsets = [products], 0 * offsets
        else:
            places = [order.result(field, product.shape) for field in fields]
            lanes = list(fields[2:])
            for index, part in enumerate(packing.parts):
                calls.append(order.matmul(patch[:, part], matrix[part], product))
                calls += take_apart(packing, product, places, offsets[index], first=index == 0)
        start = group * outputs
        for lane, offset in zip(lanes, lanes_of(offsets.sum(axis=0), packing.lanes), strict=True):
            accumulators = order.result(lane, (*shape, product.shape[1]))[..., : len(offset)]
            part = slice(start, start + len(offset))
            calls += finish.calls(accumulators, offset, part, target, compared)
            start = part.stop
        return calls


@dataclass(frozen=True, slots=True)
class Order:
    """Whether channels, or inputs, of the operand and outputs of the result lie outermost in memory.

    The longer loops are then over positions: those of a NumPy call on few channels would be too short.
    """

    operand_first: bool
    result_first: bool

    def operand(self, flat: Integers, positions: int, shape: tuple[int, ...]) -> Integers:
        """The first elements of a block as ``shape``: axes of positions, then of inputs."""
        return _shaped(flat, shape, positions if self.operand_first else 0)

    def result(self, flat: Integers, shape: tuple[int, ...]) -> Integers:
        """The first elements of a block as ``shape``: positions, then outputs."""
        return _shaped(flat, shape, len(shape) - 1 if self.result_first else 0)

    def matmul(self, patch: Integers, matrix: Integers, product: Integers) -> Call:
        """A call that writes ``patch @ matrix`` to ``product``."""
        if self.result_first:
            return partial(np.matmul, matrix.T, patch.T, out=product.T)
        return partial(np.matmul, patch, matrix, out=product)


def _shaped(flat: Integers, shape: tuple[int, ...], lead: int) -> Integers:
    """The first elements of ``flat`` as ``shape`` whose first ``lead`` axes are innermost in memory."""
    memory = flat[: math.prod(shape)].reshape(*shape[lead:], *shape[:lead])
    axes = np.roll(np.arange(len(shape)), lead)
    return memory.transpose(*axes)


def _calls(packing: Packing) -> int:
    """Calls of one product and what takes it apart."""
    return 2 if packing.is_plain else (3 + 3 * packing.lanes) * len(packing.parts)


def _by_groups(layer: Layer) -> IntArray:
    """Weights (groups, outputs, inputs), inputs in the order of patches: channels innermost."""
    codes = layer.weights.astype(np.int64).swapaxes(1, 2)
    return codes.reshape(layer.groups, -1, layer.fan_in)


def take_apart(
    packing: Packing, product: Integers, work: Sequence[Integers], offsets: IntArray, first: bool
) -> list[Call]:
    """Calls that add the lanes of ``product`` to the fields ``work[2:]``, or with ``first`` set them."""
    whole, spare, fields = work[0], work[1], work[2:]
    mask = np.int32((1 << packing.shift) - 1)
    bias = np.zeros(whole.shape[1], np.int32)
    for lane, part in enumerate(lanes_of(offsets, packing.lanes)):
        bias[: len(part)] += (part << packing.shift * lane).astype(np.int32)
    calls: list[Call] = [
        partial(np.copyto, whole, product, "unsafe"),
        partial(np.add, whole, bias, out=whole),
    ]
    for lane, field in enumerate(fields):
        target, shift = field if first else spare, np.int32(packing.shift * lane)
        last = lane == packing.lanes - 1
        if lane or last:
            calls.append(partial(np.right_shift, whole, shift, out=target))
        if not last:
            calls.append(partial(np.bitwise_and, target if lane else whole, mask, out=target))
        if not first:
            calls.append(partial(np.add, field, spare, out=field))
    return calls
