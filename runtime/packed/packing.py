"""Several outputs in one float: ``W = w_0 + w_1 2^b + w_2 2^2b`` multiplies for all of them at once.

A float adds integers exactly while every partial sum, in whatever order, stays below 2^24 (float32) or 2^53
(float64). The intervals of the operand and the weights bound those sums, so a packing is proved before it
is used. Fewer inputs at once make smaller sums and so more outputs a float: the inputs are cut in parts,
and what each part gives is taken apart and added in int32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.packed.layout import Dtype
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, IntArray, Interval

MAX_LANES = 3
"""Most outputs a float."""

PARTS = (1, 2, 3, 4, 6, 8, 12)
"""Numbers of parts tried."""

MAC_NS = {np.dtype(np.float32): 0.022, np.dtype(np.float64): 0.044}
"""Time of one product of a large matrix product, nanoseconds: AVX2 at 3.5 GHz. AVX-512 takes a third, and
so do the kernels it is compared with."""

WEIGHT_NS = {np.dtype(np.float32): 0.2, np.dtype(np.float64): 0.4}
"""Time to bring one weight from memory, which bounds the product of few rows."""

PASS_NS = 0.2
"""Time of one accumulator in one pass that takes lanes apart."""


@dataclass(frozen=True, slots=True)
class Packing:
    """``lanes`` outputs a float of ``dtype``, ``shift`` bits apart; inputs in ``parts``.

    ``offsets``: (parts, outputs), what makes the field of an output non-negative in each part.
    """

    dtype: Dtype
    lanes: int
    shift: int
    parts: tuple[slice, ...]
    offsets: IntArray

    def __str__(self) -> str:
        lanes = f"{self.lanes} {'lane' if self.lanes == 1 else 'lanes'} of {self.dtype}"
        return lanes if len(self.parts) == 1 else f"{lanes} in {len(self.parts)} parts"

    @property
    def is_plain(self) -> bool:
        """Whether the product is the sum itself."""
        return self.lanes == 1 and len(self.parts) == 1

    def nanoseconds(self, outputs: int, rows: int) -> float:
        """Estimated time of one row of inputs in a product of ``rows``."""
        packed, parts = lane_outputs(outputs, self.lanes), len(self.parts)
        product: float = (
            self.parts[-1].stop * packed * max(MAC_NS[self.dtype], WEIGHT_NS[self.dtype] / rows)
        )
        return product + (0 if self.is_plain else PASS_NS * packed * parts * (2 + 2 * self.lanes))


def lane_outputs(outputs: int, lanes: int) -> int:
    """Outputs of every lane but the last, which may have fewer."""
    return -(-outputs // lanes)


def lanes_of(values: IntArray, lanes: int) -> list[IntArray]:
    """The last axis of ``values``, outputs, cut in lanes."""
    size = lane_outputs(values.shape[-1], lanes)
    return [values[..., start : start + size] for start in range(0, values.shape[-1], size)]


def packings(weights: IntArray, seen: Interval) -> Iterator[Packing]:
    """Exact packings of ``weights`` (groups, outputs, inputs) on inputs within ``seen``.

    For every number of lanes the one with fewest parts, in float32; else one sum a float64.
    """
    _, outputs, inputs = weights.shape
    ends = weights * seen.lo, weights * seen.hi
    terms = np.minimum(np.minimum(*ends), 0), np.maximum(np.maximum(*ends), 0)
    heaviest = np.abs(weights).max(axis=-1)
    wanted = 1
    for count in (c for c in PARTS if c <= inputs):
        starts = np.arange(0, inputs, -(-inputs // count))
        low, high = (np.add.reduceat(t, starts, axis=-1) for t in terms)
        largest = np.maximum(np.maximum(-low, high).max(axis=-1), heaviest)
        shift = max(1, int((high - low).max()).bit_length())
        parts = tuple(
            slice(a, b) for a, b in zip(starts.tolist(), [*starts[1:].tolist(), inputs], strict=True)
        )
        offsets = -np.moveaxis(low, -1, 0).reshape(len(parts), -1)
        while wanted <= min(MAX_LANES, outputs):
            bound = sum(int(lane.max()) << shift * i for i, lane in enumerate(lanes_of(largest, wanted)))
            if bound >= FLOAT32_EXACT:
                break
            yield Packing(np.dtype(np.float32), wanted, shift, parts, offsets)
            wanted += 1
        if count == 1 and wanted == 1 and int(largest.max()) < FLOAT64_EXACT:
            yield Packing(np.dtype(np.float64), 1, shift, parts, 0 * offsets)


def pack_lanes(weights: IntArray, packing: Packing) -> NDArray[np.floating]:
    """``weights`` (groups, outputs, inputs) as the matrices (groups, inputs, packed outputs)."""
    columns = weights.swapaxes(1, 2)
    packed = np.zeros((*columns.shape[:2], lane_outputs(columns.shape[2], packing.lanes)), np.int64)
    for lane, part in enumerate(lanes_of(columns, packing.lanes)):
        packed[..., : part.shape[-1]] += part << packing.shift * lane
    return packed.astype(packing.dtype)
