"""The bit-sliced kernel: lanes are positions, and a weight that is not 0 adds one row of bits.

A tap of the window moves the whole image by a constant number of lanes, so that the operand's rows are
moved once for all outputs. With a stride it moves one phase of the image, the rows and columns that the
stride leaves: docs/c99.md.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

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
from exporters.c99.moves import MOST_PHASES, Table, grid, mask_of, plan_table
from exporters.c99.targets import Target

SIXTEEN, USUAL_BITS = 16, 8
"""Rows that are added at once, and the counters for which ``Costs.row`` holds."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Instructions of what comes beside whole sixteens of rows on a machine without vectors.

    ``rest``: up to three rows that are left over, and ``carry`` for each counter above them. ``listed``:
    one list. ``turn``: one counter, doubled and inverted; ``level``: compared with a limit. ``block``: sums
    of one output in one block. ``moved``: one unit of the table. ``split``: some lanes brought to a phase.
    """

    rest: float
    carry: float
    listed: float
    turn: float
    level: float
    block: float
    moved: float
    split: float

    def times(self, pace: float) -> Steps:
        """Of instructions that take ``pace``."""
        return Steps(*(pace * value for value in astuple(self)))


SCALAR = Steps(rest=20, carry=9, listed=55, turn=16, level=17, block=220, moved=30, split=60)
"""Measured on Cortex-M0+, Cortex-M4 and RV32IMC, which differ by a third."""

TABLE_COST, SPLIT_COST = 3.0, 25.0
"""With vectors, where those of counters are few: of 32 bits of the table, of some lanes brought to their
phase."""

SPLIT_LANES = {8: 8, 32: 16}
"""How many lanes those are, by the bits of a unit."""


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
    height, width = grid(layer)
    if (
        not layer.takes_planes
        or layer.groups != 1
        or layer.stride[1] > 2
        or math.prod(layer.stride) > MOST_PHASES
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
    scratch = {
        "phases": _split_planes(layer, table) * per(height * width, target.unit) * target.unit // 8,
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
    cost = _cost(layer, target, table, bits, counts)
    if not listed:
        costs = target.costs
        cost += (costs.entry * entries.size + costs.scan * layer.codes.size) * table.tiles
    return Candidate("lanes", Form.LANES, result, cost, min(by_list, by_bits), scratch, emit)


def _split_planes(layer: Layer, table: Table) -> int:
    """Planes of all phases that are made of the image; without a stride it is read as it is."""
    return 0 if layer.stride == (1, 1) else len(table.phases) * layer.image.channels * layer.image.bits


def _cost(layer: Layer, target: Target, table: Table, bits: int, counts: np.ndarray) -> float:
    """Instructions with lists of those lengths, ``counts``, but for what it takes to make them."""
    planes, blocks = layer.image.bits, table.tiles * table.tile
    moved = table.units(layer) * table.tiles
    height, width = grid(layer)
    steps = _split_planes(layer, table) * height * per(width, SPLIT_LANES[target.unit])
    if target.vectors:
        added = int(counts.sum()) * planes * target.costs.row
        return blocks * added + TABLE_COST * moved * target.unit / 32 + SPLIT_COST * steps
    each = SCALAR.times(target.costs.pace)
    whole, rest = int((counts // SIXTEEN).sum()), -(-(counts % SIXTEEN) // 3)
    added = (
        whole * (SIXTEEN * target.costs.row + each.carry * (bits - USUAL_BITS)) + each.listed * counts.size
    )
    added += int(rest.sum()) * (each.rest + each.carry * (bits - 2))
    turned = bits * (each.turn * (planes + layer.magnitudes - 1) + each.level * layer.level_count)
    in_blocks = blocks * (planes * added + layer.outputs * (each.block + turned))
    return in_blocks + each.moved * moved + each.split * steps


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
            mask = constants.add("mask", "gf_unit", mask_of(layer, move.columns, unit))
        moves.append(f"{{{mask}, {move.first}, {move.shift}, {table.phases.index(move.phase)}}}")
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
            "units": per(math.prod(grid(layer)), unit),
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
    image = _emit_split(site, layer, table)
    scratch = f"{site.scratch['table']}, {site.scratch['list']}, {site.scratch['counters']}"
    if layer.levels is not None:
        pooled = site.scratch.get("pooled", "NULL")
        site.body.line(f"gf_lanes_run(&{name}, {image}, {site.result}, {scratch}, {pooled});")
        return
    _emit_sums(site, layer, table, name, image)


def _emit_split(site: Site, layer: Layer, table: Table) -> str:
    """What the moves read: the operand, or phases that are made of it."""
    if layer.stride == (1, 1):
        return site.operand
    channels, rows, columns = layer.image.shape
    used = sum(1 << phase for phase in table.phases)
    numbers = (channels * layer.image.bits, rows, columns, *layer.stride, used)
    phases = site.scratch["phases"]
    site.body.line(f"gf_lanes_split({site.operand}, {phases}, {', '.join(map(str, numbers))});")
    return phases


def _emit_sums(site: Site, layer: Layer, table: Table, name: str, image: str) -> None:
    """Tile by tile and output by output, sums as integers and what follows them."""
    body, lanes, size = site.body, table.tile * site.target.lane, layer.positions
    with body.block(f"for (unsigned tile = 0; tile < {table.tiles}; tile++)"):
        body.line(f"uint16_t GF_FLASH *listed = {name}.lists;")
        body.line(f"const size_t first = (size_t)tile * {lanes};")
        body.line(
            f"const unsigned count = {size} - first < {lanes} ? (unsigned)({size} - first) : {lanes};"
        )
        body.line(f"gf_lanes_table(&{name}, {image}, {site.scratch['table']}, tile);")
        with body.block(f"for (unsigned o = 0; o < {layer.outputs}; o++)"):
            body.lines(
                f"gf_lanes_integers(&{name}, o, {site.scratch['table']}, {site.scratch['list']}, listed, "
                f"{site.scratch['counters']}, sums, count);",
                f"if (!{name}.weights)",
                f"    listed += gf_listed_entries(&{name}, o);",
                "for (unsigned l = 0; l < count; l++)",
                f"    {site.result}[o * (size_t){size} + first + l] = {site.apply('sums[l]', 'o')};",
            )
