"""Vertical counters: the sums of a layer as bit rows, unpacked or compared as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.ops import Threshold
from runtime.packed.adders import Schedule, add_rows, schedule
from runtime.packed.lanes import Grid
from runtime.packed.planes import Bytes, Integers, Words
from runtime.packed.sparse import SparsePlan

ALL = ~np.uint64(0)


@dataclass(frozen=True, slots=True)
class Counters:
    """The sums of a layer on ``operand``, (batch, channels, H, W), counted when they are read."""

    plan: SparsePlan
    operand: Integers

    def integers(self) -> Integers:
        """The sums, (channels, batch, rows, columns), int32 or int64."""
        plan, grid = self.plan, self.plan.taps.grid
        narrow = plan.bits <= 30 and int(np.abs(plan.offset).max()) < 2**30
        result = _empty(plan, self.operand, np.int32 if narrow else np.int64)
        for tile, part in plan.tiles(self.operand):
            target, planes = result[:, part], tile.take(plan.place, axis=1)
            target[:] = _codes(planes[:8], grid, target.shape[1])
            for low in range(8, plan.bits, 8):
                octets = _codes(planes[low : low + 8], grid, target.shape[1])
                target += octets.astype(result.dtype) << low
        result -= plan.offset.astype(result.dtype)[:, None, None, None]
        return result


@dataclass(frozen=True, slots=True)
class Comparison:
    """A Threshold on the counters of one plan.

    ``clear``: (thresholds, bits + 1, outputs, 1), ones where that bit of a limit is 0.
    ``falling``: (outputs, 1), ones where the comparison is inverted.
    ``sums``: adds the comparisons of several thresholds up.
    """

    plan: SparsePlan
    clear: Words
    falling: Words
    sums: Schedule

    @staticmethod
    def of(op: Threshold, plan: SparsePlan, planes: int) -> Comparison:
        """The comparison that makes codes of ``planes`` bits; ``x <= t`` is ``not x >= t + 1``."""
        falling, offset = op.direction < 0, plan.offset[:, None]
        limits = np.clip(op.thresholds + falling[:, None], -offset, (1 << plan.bits) - offset) + offset
        bits = np.arange(plan.bits + 1)[:, None]
        clear = limits[plan.order].T[:, None] >> bits & 1 == 0
        return Comparison(
            plan,
            np.where(clear, ALL, np.uint64(0))[..., None],
            np.where(falling[plan.order], ALL, np.uint64(0))[:, None],
            schedule((limits.shape[1],), planes),
        )

    def codes(self, operand: Integers) -> Bytes:
        """Codes of the Threshold, (channels, batch, rows, columns), on the layer's operand."""
        plan = self.plan
        result = _empty(plan, operand, np.uint8)
        for tile, part in plan.tiles(operand):
            images = len(operand[part])
            codes = _codes(self._planes(tile).take(plan.place, axis=1), plan.taps.grid, images)
            if images == len(operand):
                return codes
            result[:, part] = codes
        return result

    def _planes(self, tile: Words) -> Words:
        """Codes (planes, outputs, words) of one tile of counters."""
        rows = np.empty((self.sums.rows, *tile.shape[1:]), np.uint64)
        for reached, clear in zip(rows, self.clear, strict=False):
            _reach(tile, clear, reached)
            np.bitwise_xor(reached, self.falling, reached)
        add_rows(rows.reshape(len(rows), -1), self.sums.steps)
        return rows[list(self.sums.sums)]


def _reach(counters: Words, clear: Words, reached: Words) -> None:
    """Compare from the lowest bit up: a bit decides where it differs from the limit's."""
    differ = np.empty_like(reached)
    np.bitwise_or(counters[0], clear[0], reached)
    for counter, bit_clear in zip(counters[1:], clear[1:-1], strict=True):
        np.bitwise_xor(counter, reached, differ)
        np.bitwise_and(counter, reached, reached)
        np.bitwise_and(differ, bit_clear, differ)
        np.bitwise_or(reached, differ, reached)
    np.bitwise_and(reached, clear[-1], reached)


def _codes(planes: Words, grid: Grid, images: int) -> Bytes:
    """Codes (channels, images, rows, columns) of up to 8 planes (planes, channels, words)."""
    codes = grid.spread(planes[-1], images)
    for plane in planes[-2::-1]:
        codes += codes
        codes |= grid.spread(plane, images)
    return codes


def _empty(plan: SparsePlan, operand: Integers, dtype: type[np.integer]) -> Integers:
    return np.empty((plan.order.size, len(operand), *plan.taps.grid.used), dtype)
