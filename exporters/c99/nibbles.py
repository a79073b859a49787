"""The look-up kernel: lanes are bytes of positions, four bits of channels an index into sixteen sums.

A group of channels has at most four bits at a position. Each combination of its weights has a table of
sixteen sums, which a shuffle looks up for a vector of positions: docs/c99.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from exporters.c99.forms import Form, per
from exporters.c99.kernels import Candidate, Site, descriptor, falling_array, fits_fields
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.types import IntArray
from runtime.value_sets import max_code

INDEX_BITS = 4
"""Bits of an index: a table has as many entries as a shuffle has bytes."""

MOST_TABLES = 128
"""Tables whose places, in eights, fit a byte."""

BLOCK = 4
"""Outputs side by side, ``GF_NIBBLE_OUTPUTS``."""

TABLES = 1.5
"""Table that is worth its memory, as a multiple of that of ``lanes``: its rows are read more often."""

SPILL = 3.0
"""Look-ups that take as long as to bring the sums of bytes to their positions."""

PASS, PASSES = 2, 2
"""Vectors of positions side by side, and how often a tile has as many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a layer is looked up.

    ``members``: channels of a group. ``groups``: how many. ``chunk``: groups of one table of rows.
    ``run``: groups whose sums fit a byte. ``tile``: rows of the result. ``row``: bytes of a row of the
    table. ``size``: positions of a tile in whole passes. ``above``: row of the image in front of a tile
    that the table starts at. ``across``: columns of each move. ``taps``: byte of the table of each tap.
    """

    members: int
    groups: int
    chunk: int
    run: int
    tile: int
    row: int
    size: int
    above: int
    across: tuple[int, ...]
    taps: tuple[int, ...]


def _members(layer: Layer) -> int:
    """Channels of a group: as many as an index and the tables hold, 0 if none."""
    most = INDEX_BITS // layer.image.bits
    return next((n for n in range(most, 0, -1) if _base(layer) ** n <= MOST_TABLES), 0)


def _base(layer: Layer) -> int:
    """Weights that one table tells apart: those of even value sets are odd, but what fills a group is 0."""
    return 2 * max_code(layer.value_set) + 1


def _reach(layer: Layer, members: int) -> IntArray:
    """Largest sum in each group's table, (outputs, groups, taps): codes times magnitudes."""
    magnitudes = np.abs(layer.codes.astype(np.int64)) * ((1 << layer.image.bits) - 1)
    padded = _padded(magnitudes.reshape(layer.outputs, layer.image.channels, -1), members)
    reach: IntArray = padded.sum(axis=2)
    return reach


def _padded(array: np.ndarray, members: int) -> np.ndarray:
    """(outputs, channels, taps) as (outputs, groups, members, taps), with zeros behind the last channel."""
    outputs, channels, taps = array.shape
    groups = per(channels, members)
    padded = np.zeros((outputs, groups * members, taps), array.dtype)
    padded[:, :channels] = array
    return padded.reshape(outputs, groups, members, taps)


def plan_nibbles(layer: Layer, target: Target) -> Plan | None:
    """The plan, or None where sums exceed bytes or rows do not start in whole bytes of lanes."""
    members, columns = _members(layer), layer.image.shape[2]
    if not members or columns % 8:
        return None
    down = [u * layer.dilation[0] - layer.padding[0] for u in range(layer.kernel[0])]
    right = [v * layer.dilation[1] - layer.padding[1] for v in range(layer.kernel[1])]
    if max(map(abs, right)) >= columns:
        return None  # a tap that reads nothing
    reach = _reach(layer, members)
    if reach.sum(axis=(1, 2)).max() >= 2**15 - 1 or reach.max() >= 2**8:
        return None
    groups, span = reach.shape[1], max(down) - min(down)
    tile = _tile_rows(layer, target)
    row = (tile + span) * columns
    chunk = max(1, int(TABLES * target.table_bytes) // (len(right) * row))
    chunk = per(groups, per(groups, chunk))
    step = PASS * target.lane // 8
    taps = tuple(v * chunk * row + (u - min(down)) * columns for u in down for v in range(len(right)))
    return Plan(
        members,
        groups,
        chunk,
        _run(reach, chunk),
        tile,
        row,
        per(tile * columns, step) * step,
        min(down),
        tuple(right),
        taps,
    )


def _tile_rows(layer: Layer, target: Target) -> int:
    """Rows of the result that fill some passes, a pair of them at least where they are pooled."""
    rows = max(1, PASSES * PASS * target.lane // 8 // layer.image.shape[2])
    rows = min(layer.result.shape[1], rows)
    return rows + rows % 2 if layer.pooled else rows


def _run(reach: IntArray, chunk: int) -> int:
    """Most groups, counted from the start of each chunk, whose sums of one tap fit a byte."""
    groups = reach.shape[1]
    for count in range(1, chunk):
        run = per(chunk, count)
        chunks = [range(first, min(first + chunk, groups), run) for first in range(0, groups, chunk)]
        starts = [start for some in chunks for start in some]
        if np.add.reduceat(reach, starts, axis=1).max() < 2**8:
            return run
    return 1


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None where vectors cannot look up or the layer has no thresholds."""
    if (
        not target.costs.look
        or not layer.takes_planes
        or layer.image.bits > INDEX_BITS
        or layer.levels is None
        or layer.groups != 1
        or layer.stride != (1, 1)
        or layer.result.shape[2] != layer.image.shape[2]
    ):
        return None
    plan = plan_nibbles(layer, target)
    if plan is None or not fits_fields(
        layer.outputs, layer.image.channels * layer.image.bits, *layer.image.shape, plan.row, max(plan.taps)
    ):
        return None
    outputs = per(layer.outputs, BLOCK) * BLOCK
    tiles = per(layer.result.shape[1], plan.tile)
    vectors = per(plan.size, target.lane // 8)
    looks = outputs * plan.groups * layer.taps * vectors * tiles
    cost = looks * target.costs.look * (1 + SPILL / plan.run)
    flash = outputs * plan.groups * layer.taps
    scratch = {
        "indices": len(plan.across) * plan.chunk * plan.row + PASS * target.lane // 8,
        "plain": plan.row + 2 * layer.image.shape[2],
        "totals": 2 * plan.size * (outputs if plan.chunk < plan.groups else BLOCK),
        "codes": plan.size,
    }

    def emit(site: Site) -> None:
        _emit(site, layer, plan)

    return Candidate("nibbles", Form.LANES, Form.LANES, cost, flash, scratch, emit)


def _tables(layer: Layer, members: int) -> IntArray:
    """(combinations, 16) sums of codes times weights, each table from 0 on."""
    top, bits = max_code(layer.value_set), layer.image.bits
    weights = np.array(list(product(range(-top, top + 1), repeat=members)))
    index = np.arange(1 << INDEX_BITS)
    codes = np.stack([(index >> (bits * m)) & ((1 << bits) - 1) for m in range(members)])
    least = np.minimum(weights, 0).sum(axis=1) * ((1 << bits) - 1)
    tables: IntArray = weights @ codes - least[:, None]
    return tables


def _places(layer: Layer, plan: Plan) -> np.ndarray:
    """[chunk][four outputs][tap][group][output] places of tables, flat."""
    top = max_code(layer.value_set)
    outputs = per(layer.outputs, BLOCK) * BLOCK
    codes = layer.codes.reshape(layer.outputs, layer.image.channels, -1).astype(np.int64)
    digits = np.full((outputs, plan.groups, plan.members, layer.taps), top)
    digits[: layer.outputs] = _padded(codes, plan.members) + top
    powers = _base(layer) ** np.arange(plan.members)[::-1]
    places = 2 * np.tensordot(digits, powers, axes=(2, 0))  # output, group, tap
    blocks = places.reshape(-1, BLOCK, plan.groups, layer.taps).transpose(0, 3, 2, 1)
    chunks = [
        blocks[:, :, start : start + plan.chunk].reshape(-1) for start in range(0, plan.groups, plan.chunk)
    ]
    return np.concatenate(chunks).astype(np.uint8)


def _limits(layer: Layer) -> IntArray:
    """Limits (outputs, levels) of sums that start at 0, reached from below."""
    assert layer.levels is not None
    codes = layer.codes.astype(np.int64).reshape(layer.outputs, -1)
    most = (1 << layer.image.bits) - 1
    least = np.minimum(codes, 0).sum(axis=1) * most
    reach = np.abs(codes).sum(axis=1) * most
    rising = layer.levels.limits + layer.levels.falling[:, None] - (layer.bias + least)[:, None]
    limits: IntArray = np.clip(rising, 0, reach[:, None] + 1)
    return limits


def _emit(site: Site, layer: Layer, plan: Plan) -> None:
    assert layer.levels is not None
    constants = site.constants
    limits = _limits(layer)
    name = descriptor(
        site,
        "nibbles",
        {
            "outputs": layer.outputs,
            "taps": layer.taps,
            "groups": plan.groups,
            "chunk": plan.chunk,
            "run": plan.run,
            "members": plan.members * layer.image.bits,
            "total": layer.image.channels * layer.image.bits,
            "rows": layer.image.shape[1],
            "columns": layer.image.shape[2],
            "tile": plan.tile,
            "moves": len(plan.across),
            "row": plan.row,
            "above": plan.above,
            "out_rows": layer.result.shape[1],
            "levels": limits.shape[1],
            "codes": layer.levels.type.bits,
            "pool": int(layer.pooled),
            "across": constants.add("across", "int16_t", np.array(plan.across)),
            "tap": constants.add("taps", "uint16_t", np.array(plan.taps)),
            "weights": constants.add("places", "uint8_t", _places(layer, plan)),
            "tables": constants.add("tables", "uint8_t", _tables(layer, plan.members).astype(np.uint8)),
            "limits": constants.add("nibblelimits", "int16_t", limits),
            "falling": falling_array(site, layer.levels),
        },
    )
    scratch = ", ".join(site.scratch[key] for key in ("indices", "plain", "totals", "codes"))
    site.body.line(f"gf_nibbles_run(&{name}, {site.operand}, {site.result}, {scratch}, {plan.size});")
