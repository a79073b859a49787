"""Layers whose outputs read one channel each: a product and a sum of integers for every kernel tap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from runtime.packed.layer import Finish, Layer
from runtime.packed.layout import ALWAYS, Block, Call, Layout, Work, narrow, run_all
from runtime.packed.planes import Integers, pack_last
from runtime.packed.windows import Tiling, as_images, planes_of_tile, rows_of, tile_of
from runtime.types import Interval

TILE_BYTES = 1 << 18
"""Accumulators of one tile."""

TAP_NS, CALL_NS = 0.4, 2_000.0
"""Time of one product and sum, and of the calls of one tap, nanoseconds."""


@dataclass(frozen=True, eq=False)
class Depthwise:
    """A convolution of single channels, channels last."""

    layer: Layer
    takes_planes: bool = False
    gives_planes: str = ALWAYS
    name: str = "integer"

    @staticmethod
    def of(layer: Layer) -> Depthwise | None:
        """The kernel, or None where an output reads several channels."""
        return Depthwise(layer) if layer.groups > 1 and layer.weights.shape[1] == 1 else None

    @property
    def _loop(self) -> np.dtype[Any]:
        """Dtype of the sums; what wraps on the way is right in the end."""
        low, high = self.layer.reach
        return narrow(self.layer.x.interval, Interval(int(low.min()) - 1, int(high.max()) + 1))

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        layer, window, loop = self.layer, self.layer.window, self._loop
        tiling = window.tiling(batch, max(1, TILE_BYTES // (loop.itemsize * window.channels)))
        rows, outputs = tiling.images * tiling.rows * window.out[1], len(layer.weights)
        blocks = (
            Block((0 if window.is_point else tiling.images, *window.padded, window.channels), loop),
            Block((2, rows, window.channels), loop),
            *Finish(layer).scratch(rows, window.channels, False)[:1],
            Block((rows if planes else 0, outputs), np.dtype(np.uint8)),
        )
        tiles = -(-batch // tiling.images) * -(-window.out[0] // tiling.rows)
        factor = outputs // window.channels * window.taps
        return Work(
            Layout.planes() if planes else layer.layout(batch),
            partial(self._bind, tiling, planes),
            TAP_NS * batch * window.positions * window.channels * factor + tiles * CALL_NS * factor,
            blocks,
            tile=str(tiling),
        )

    def _bind(
        self,
        tiling: Tiling,
        planes: bool,
        operands: Sequence[Integers],
        result: Integers,
        scratch: Sequence[Integers],
    ) -> Call:
        window, (padded, work, compared, codes) = self.layer.window, scratch
        x = as_images(operands[0])
        calls: list[Call] = list(window.clear(padded))
        for tile in window.tiles(len(x), tiling):
            image = x[tile.images]
            if not window.is_point:
                image = padded[: len(image)]
                calls.append(partial(np.copyto, window.inside(image), x[tile.images], "unsafe"))
            shape = (len(image), tile.rows.stop - tile.rows.start, window.out[1])
            windows = window.windows(image, tile.rows)
            target = rows_of(codes, shape) if planes else tile_of(result, tile)
            sums, product = (rows_of(block, shape) for block in work)
            calls += self._products(windows, sums, product, target, compared)
            if planes:
                calls.append(partial(pack_last, target, planes_of_tile(result, tile)))
        return partial(run_all, calls)

    def _products(
        self, windows: Integers, sums: Integers, product: Integers, target: Integers, compared: Integers
    ) -> list[Call]:
        """Calls for one tile: windows (..., *kernel, channels) to ``target`` (..., outputs)."""
        outputs, channels = len(self.layer.weights), windows.shape[-1]
        weights = self.layer.weights.reshape(channels, -1, self.layer.window.taps).astype(sums.dtype)
        calls: list[Call] = []
        for j in range(outputs // channels):
            for tap, place in enumerate(np.ndindex(self.layer.window.kernel)):
                values, into = windows[..., *place, :], product if tap else sums
                factors = weights[:, j, tap].copy()
                calls.append(
                    partial(np.multiply, values, factors, out=into, dtype=sums.dtype, casting="unsafe")
                )
                if tap:
                    calls.append(partial(np.add, sums, product, out=sums))
            part = slice(j, outputs, outputs // channels)
            offset = np.zeros(channels, np.int64)
            calls += Finish(self.layer).calls(sums, offset, part, target, compared)
        return calls
