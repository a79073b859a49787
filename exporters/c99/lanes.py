"""The bit-sliced kernel: lanes are positions, and a weight that is not 0 adds one row of bits.

A tap of the window moves the whole image by a constant number of lanes, so that the operand's rows are
moved once for all outputs: docs/c99.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporters.c99.forms import Form, per
from exporters.c99.kernels import (
    LIST_SLACK,
    Candidate,
    Site,
    counter_bits,
    counter_limits,
    descriptor,
    falling_array,
    fits_fields,
)
from exporters.c99.layer import Layer
from exporters.c99.targets import Target

TABLE_COST = 3.0
"""Instructions to move one unit of the table."""


@dataclass(frozen=True, slots=True)
class Move:
    """A distinct move of the image: columns it is moved by, lanes within a unit, and its first unit."""

    columns: int
    shift: int
    first: int


@dataclass(frozen=True, slots=True)
class Table:
    """Moves, and for each tap of the window its move and first unit; ``row``, ``tile``, ``step``: see the
    header. ``tiles``: how many there are. ``pool_rows``: rows of a tile that is pooled, else 0."""

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


def _moves(layer: Layer, unit: int) -> tuple[tuple[Move, ...], tuple[tuple[int, int], ...], int]:
    """Moves, taps as (move, unit within its row), and most units by which the taps of one move differ."""
    columns = layer.image.shape[2]
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, (u, v) in enumerate(np.ndindex(*layer.kernel)):
        across = v * layer.dilation[1] - layer.padding[1]
        offset = (u * layer.dilation[0] - layer.padding[0]) * columns + across
        first, shift = divmod(offset, unit)
        found.setdefault((across, shift), []).append((index, first))
    moves: list[Move] = []
    taps: dict[int, tuple[int, int]] = {}
    span = 0
    for number, ((across, shift), members) in enumerate(found.items()):
        first = min(f for _, f in members)
        moves.append(Move(across, shift, first))
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
    return Table(moves, taps, tile * target.lane_units + span, tile, tiles, step, high)


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


def _mask(layer: Layer, across: int, unit: int) -> np.ndarray:
    """Units of the image, ones where a lane that is read ``across`` columns away is in the same row."""
    _, rows, columns = layer.image.shape
    column = np.arange(columns) - across
    inside = np.tile((column >= 0) & (column < columns), rows)
    padded = np.zeros(per(inside.size, unit) * unit, np.uint8)
    padded[: inside.size] = inside
    return np.packbits(padded, bitorder="little").view(f"<u{unit // 8}")


def _entries(layer: Layer, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (outputs, magnitudes, 2) of the lists of table rows, and the lists one after the other."""
    signed = layer.signed_planes()  # magnitudes, sign, outputs, inputs, rows, columns
    magnitudes, _, outputs, inputs = signed.shape[:4]
    ordered = signed.reshape(magnitudes, 2, outputs, inputs, -1).transpose(2, 0, 1, 4, 3)
    bases = _tap_bases(layer, table)
    rows = bases[:, None] + np.arange(inputs) * table.row
    index = np.nonzero(ordered)
    return ordered.sum(axis=(3, 4)), rows[index[3], index[4]]


def _tap_bases(layer: Layer, table: Table) -> np.ndarray:
    """Unit of a plane of the table at which each tap's row of the first channel starts."""
    move_units = layer.image.channels * table.row
    return np.array([move * move_units + first for move, first in table.taps])


def _weight_bytes(layer: Layer) -> np.ndarray:
    """Bits (outputs, magnitudes, 2, taps, inputs / 8) of the weights above and below 0."""
    signed = layer.signed_planes()
    magnitudes, _, outputs, inputs = signed.shape[:4]
    ordered = signed.reshape(magnitudes, 2, outputs, inputs, -1).transpose(2, 0, 1, 4, 3)
    return np.packbits(ordered, axis=-1, bitorder="little")


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None where windows do not map positions to positions one to one."""
    _, height, width = layer.image.shape
    if (
        not layer.takes_planes
        or layer.groups != 1
        or layer.stride != (1, 1)
        or layer.result.shape[2] != width
    ):
        return None
    bits = counter_bits(layer.raw)
    table = plan_table(layer, target)
    if (
        table is None
        or bits > 30
        or table.plane_units(layer) > 2**16
        or not fits_fields(
            layer.outputs, layer.image.channels, layer.taps, layer.positions, height * width, table.row
        )
    ):
        return None
    counts, entries = _entries(layer, table)
    longest = int(counts.sum(axis=(1, 2)).max())
    if not fits_fields(longest):
        return None
    by_list = 2 * entries.size + 2 * counts.size
    by_bits = layer.outputs * layer.magnitudes * 2 * layer.taps * per(layer.image.channels, 8)
    listed = by_list <= by_bits
    costs, planes = target.costs, layer.image.bits
    adds = entries.size * planes * table.tiles * table.tile * costs.row
    decode = 0.0 if listed else (costs.entry * entries.size + costs.scan * layer.codes.size) * table.tiles
    moved = TABLE_COST * table.units(layer) * table.tiles * target.unit / 32
    scratch = {
        "table": table.units(layer) * target.unit // 8,
        "list": 0 if listed else 2 * (longest + LIST_SLACK),
        "counters": bits * target.lane // 8,
    }
    if layer.pooled and layer.levels is not None:
        scratch["pooled"] = layer.levels.type.bits * table.tile * target.lane // 8
    if layer.levels is None:
        scratch["sums"] = 4 * table.tile * target.lane

    def emit(site: Site) -> None:
        _emit(site, layer, table, bits, counts, entries if listed else None)

    result = Form.INTEGERS if layer.levels is None else Form.LANES
    return Candidate(
        "lanes", Form.LANES, result, adds + decode + moved, min(by_list, by_bits), scratch, emit
    )


def _emit(
    site: Site,
    layer: Layer,
    table: Table,
    bits: int,
    counts: np.ndarray,
    entries: np.ndarray | None,
) -> None:
    constants, unit, target = site.constants, site.target.unit, site.target
    moves = []
    for move in table.moves:
        mask = "NULL"
        if move.columns:
            mask = constants.add("mask", "gf_unit", _mask(layer, move.columns, unit))
        moves.append(f"{{{mask}, {move.first}, {move.shift}}}")
    with site.file.block(f"static gf_move GF_FLASH {site.name}_moves[] =", "};"):
        site.file.lines(*(f"{text}," for text in moves))
    taps = constants.add("taps", "uint16_t", _tap_bases(layer, table))
    if entries is None:
        weights, lengths, lists = constants.add("weights", "uint8_t", _weight_bytes(layer)), "NULL", "NULL"
    else:
        weights = "NULL"
        lengths = constants.add("counts", "uint16_t", counts)
        # vectors read on behind a list
        slack = np.zeros(LIST_SLACK if target.lane >= 128 else 0, entries.dtype)
        rows = np.concatenate([entries, slack])
        lists = constants.add("lists", "uint16_t", rows) if rows.size else lengths
    limits, falling, levels, codes = "NULL", "NULL", 0, 0
    if layer.levels is not None:
        array = counter_limits(layer.levels, layer.bias, layer.raw, bits)
        limits = constants.add("limits", "gf_limit", array)
        falling = falling_array(site, layer.levels)
        levels, codes = array.shape[1], layer.levels.type.bits
    name = descriptor(
        site,
        "lanes",
        {
            "channels": layer.image.channels,
            "planes": layer.image.bits,
            "taps": layer.taps,
            "outputs": layer.outputs,
            "magnitudes": layer.magnitudes,
            "bits": bits,
            "moves": len(table.moves),
            "row": table.row,
            "tile": table.tile * target.lane_units,
            "step": table.step,
            "units": per(layer.image.shape[1] * layer.image.shape[2], unit),
            "positions": layer.positions,
            "levels": levels,
            "codes": codes,
            "columns": layer.result.shape[2],
            "pool": table.pool_rows,
            "move": f"{site.name}_moves",
            "tap": taps,
            "weights": weights,
            "counts": lengths,
            "lists": lists,
            "limits": limits,
            "falling": falling,
        },
    )
    scratch = f"{site.scratch['table']}, {site.scratch['list']}, {site.scratch['counters']}"
    if layer.levels is not None:
        pooled = site.scratch.get("pooled", "NULL")
        site.body.line(f"gf_lanes_run(&{name}, {site.operand}, {site.result}, {scratch}, {pooled});")
        return
    _emit_sums(site, layer, table, name)


def _emit_sums(site: Site, layer: Layer, table: Table, name: str) -> None:
    """Tile by tile and output by output, sums as integers and what follows them."""
    body, lanes, size = site.body, table.tile * site.target.lane, layer.positions
    with body.block(f"for (unsigned tile = 0; tile < {table.tiles}; tile++)"):
        body.line(f"uint16_t GF_FLASH *listed = {name}.lists;")
        body.line(f"const size_t first = (size_t)tile * {lanes};")
        body.line(
            f"const unsigned count = {size} - first < {lanes} ? (unsigned)({size} - first) : {lanes};"
        )
        body.line(f"gf_lanes_table(&{name}, {site.operand}, {site.scratch['table']}, tile);")
        with body.block(f"for (unsigned o = 0; o < {layer.outputs}; o++)"):
            body.lines(
                f"gf_lanes_integers(&{name}, o, {site.scratch['table']}, {site.scratch['list']}, listed, "
                f"{site.scratch['counters']}, sums, count);",
                f"if (!{name}.weights)",
                f"    listed += gf_listed_entries(&{name}, o);",
                "for (unsigned l = 0; l < count; l++)",
                f"    {site.result}[o * (size_t){size} + first + l] = {site.apply('sums[l]', 'o')};",
            )
