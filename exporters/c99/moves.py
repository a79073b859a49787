"""The table of moved rows: what every tap of a window reads, for all positions at once.

With a stride a tap moves one phase of the image, the rows and columns that the stride leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporters.c99.forms import per
from exporters.c99.layer import Layer
from exporters.c99.targets import Target

MOST_PHASES = 16
"""Most phases of a stride: bits that say which are read."""


@dataclass(frozen=True, slots=True)
class Move:
    """A distinct move of a phase of the image: columns it is moved by, lanes within a unit, and its first
    unit."""

    phase: int
    columns: int
    shift: int
    first: int


@dataclass(frozen=True, slots=True)
class Table:
    """Moves, and for each tap of the window its move and first unit; ``row``, ``tile``, ``step``: see the
    header. ``phases``: those that are read, in order. ``tiles``: how many there are. ``pool_rows``: rows of
    a tile that is pooled, else 0."""

    phases: tuple[int, ...]
    moves: tuple[Move, ...]
    taps: tuple[tuple[int, int], ...]
    row: int
    tile: int
    tiles: int
    step: int
    pool_rows: int

    def plane_units(self, layer: Layer) -> int:
        """Units of one plane."""
        return len(self.moves) * layer.image.channels * self.row

    def units(self, layer: Layer) -> int:
        """Units of the whole table."""
        return layer.image.bits * self.plane_units(layer)


def grid(layer: Layer) -> tuple[int, int]:
    """Rows and columns of a phase; of the image where there is no stride."""
    _, rows, columns = layer.image.shape
    return per(rows, layer.stride[0]), per(columns, layer.stride[1])


def _moves(layer: Layer, unit: int) -> tuple[tuple[Move, ...], tuple[tuple[int, int], ...], int]:
    """Moves, taps as (move, unit within its row), and most units by which the taps of one move differ."""
    columns = grid(layer)[1]
    found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for index, (u, v) in enumerate(np.ndindex(*layer.kernel)):
        down, row = divmod(u * layer.dilation[0] - layer.padding[0], layer.stride[0])
        across, column = divmod(v * layer.dilation[1] - layer.padding[1], layer.stride[1])
        first, shift = divmod(down * columns + across, unit)
        phase = row * layer.stride[1] + column
        found.setdefault((phase, across, shift), []).append((index, first))
    moves: list[Move] = []
    taps: dict[int, tuple[int, int]] = {}
    span = 0
    for number, (move, members) in enumerate(found.items()):
        first = min(f for _, f in members)
        moves.append(Move(*move, first))
        taps |= {index: (number, f - first) for index, f in members}
        span = max(span, *(f - first for _, f in members))
    return tuple(moves), tuple(taps[i] for i in range(layer.taps)), span


def plan_table(layer: Layer, target: Target) -> Table | None:
    """The table with the largest tile that is worth its memory; None where no tile can be pooled."""
    moves, taps, span = _moves(layer, target.unit)
    blocks = per(per(layer.positions, target.unit), target.lane_units)
    rows = len(moves) * layer.image.channels

    def fits(tile: int) -> bool:
        units = rows * (tile * target.lane_units + span)
        return units <= 2**16 and layer.image.bits * units * target.unit // 8 <= target.table_bytes

    most = max((t for t in range(1, blocks + 1) if fits(t)), default=1)
    options = [_tile(layer, target, tile, blocks) for tile in range(1, blocks + 1)]
    found = [(tiles * tile, -tile, tile, tiles, step, high) for tile, tiles, step, high in options if step]
    if not found:
        return None
    # the fewest blocks in all; of equals the largest tile, which decodes weights the least often
    small = [row for row in found if row[2] <= most] or [min(found, key=lambda row: row[2])]
    _, _, tile, tiles, step, high = min(small)
    phases = tuple(sorted({move.phase for move in moves}))
    return Table(phases, moves, taps, tile * target.lane_units + span, tile, tiles, step, high)


def _tile(layer: Layer, target: Target, tile: int, blocks: int) -> tuple[int, int, int, int]:
    """Tile, number of tiles, units from one to the next (0 if impossible) and rows that are pooled."""
    if not layer.pooled:
        tiles = per(blocks, tile)
        tile = per(blocks, tiles)
        return tile, tiles, tile * target.lane_units, 0
    _, height, columns = layer.result.shape
    if tile >= blocks:
        return tile, 1, tile * target.lane_units, height
    high = tile * target.lane // columns // 2 * 2
    while high and high * columns % target.unit:
        high -= 2
    return tile, per(height, high) if high else 0, high * columns // target.unit, high


def mask_of(layer: Layer, across: int, unit: int) -> np.ndarray:
    """Units of a phase, ones where a lane that is read ``across`` columns away is in the same row."""
    rows, columns = grid(layer)
    column = np.arange(columns) - across
    inside = np.tile((column >= 0) & (column < columns), rows)
    padded = np.zeros(per(inside.size, unit) * unit, np.uint8)
    padded[: inside.size] = inside
    return np.packbits(padded, bitorder="little").view(f"<u{unit // 8}")
