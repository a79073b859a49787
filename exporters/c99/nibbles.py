"""The look-up kernel: lanes are bytes of positions, four bits of channels an index into sixteen sums.

A group of channels has at most four bits at a position, or six where a shuffle takes as many. Each
combination of its weights has a table of sums, which a shuffle looks up for a vector of positions:
docs/c99.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from exporters.c99.forms import Form, per
from exporters.c99.kernels import FIELD_LIMIT, Candidate, Site, descriptor, falling_array, fits_fields
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.types import IntArray
from runtime.value_sets import max_code

SPILL = 3.0
"""Look-ups that take as long as to bring the sums of bytes to their positions."""

PASS = 2
"""Vectors of positions side by side."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """What a shuffle of bytes looks up, and how the kernel goes about it.

    ``index``: bits of an index. ``octets``: bytes at once. ``place``: bytes by which the place of a table,
    itself a byte, counts. ``block``: outputs side by side, ``GF_NIBBLE_OUTPUTS``. ``least``: fewest vectors
    of positions; one by itself takes ``alone`` times as long as one of a pair. ``passes``: pairs of vectors
    in a tile. ``rows``: table of rows that is worth its memory, as a multiple of that of ``lanes``: it is
    read more often. ``line``: bytes to a multiple of which tables and sums are aligned for speed.
    """

    index: int
    octets: int
    place: int
    block: int
    least: int
    alone: float
    passes: int
    rows: float
    line: int

    @property
    def entries(self) -> int:
        """Sums of a table."""
        return 1 << self.index

    @property
    def tables(self) -> int:
        """Tables that a byte tells apart."""
        return 256 * self.place // self.entries


def shuffle(target: Target) -> Shuffle:
    """The shuffle of ``target``; with six bits of index a vector is as long as a table."""
    if target.index == 6:
        return Shuffle(6, octets=64, place=64, block=8, least=1, alone=1.2, passes=1, rows=4.5, line=64)
    octets = target.lane // 8
    return Shuffle(4, octets, place=8, block=4, least=2, alone=1, passes=2, rows=1.5, line=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a layer is looked up.

    ``shuffle``: of the target. ``members``: channels of a group. ``groups``: how many. ``chunk``: groups
    of one table of rows. ``run``: groups whose sums fit a byte. ``tile``: rows of the result. ``row``:
    bytes of a row of the table. ``size``: positions of a tile in whole vectors. ``above``: row of the image
    in front of a tile that the table starts at. ``across``: columns of each move. ``taps``: byte of the
    table of each tap.
    """

    shuffle: Shuffle
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


def _members(layer: Layer, how: Shuffle) -> int:
    """Channels of a group: as many as an index and the tables hold, 0 if none."""
    most = how.index // layer.image.bits
    return next((n for n in range(most, 0, -1) if _base(layer) ** n <= how.tables), 0)


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
    how, columns = shuffle(target), layer.image.shape[2]
    members = _members(layer, how)
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
    tile = _tile_rows(layer, how)
    row = (tile + span) * columns
    chunk = max(1, int(how.rows * target.table_bytes) // (len(right) * row))
    if len(right) > 1:  # the last tap is a field of 16 bits
        chunk = max(1, min(chunk, (FIELD_LIMIT - span * columns) // ((len(right) - 1) * row)))
    chunk = per(groups, per(groups, chunk))
    step = how.least * how.octets
    taps = tuple(v * chunk * row + (u - min(down)) * columns for u in down for v in range(len(right)))
    return Plan(
        how,
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


def _tile_rows(layer: Layer, how: Shuffle) -> int:
    """Rows of the result that fill some passes, a pair of them at least where they are pooled."""
    rows = max(1, how.passes * PASS * how.octets // layer.image.shape[2])
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
        or layer.image.bits > target.index
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
    how = plan.shuffle
    outputs = per(layer.outputs, how.block) * how.block
    tiles = per(layer.result.shape[1], plan.tile)
    vectors = plan.size // how.octets
    looks = outputs * plan.groups * layer.taps * (vectors + (how.alone - 1) * (vectors % PASS)) * tiles
    cost = looks * target.costs.look * (1 + SPILL / plan.run)
    flash = outputs * plan.groups * layer.taps
    if how.index == 6:  # sixteen sums of a combination are little, sixty-four are not
        flash += how.entries * _base(layer) ** plan.members
    scratch = {
        "indices": len(plan.across) * plan.chunk * plan.row + PASS * how.octets,
        "plain": plan.row + 2 * layer.image.shape[2],
        "totals": 2 * plan.size * (outputs if plan.chunk < plan.groups else how.block) + how.line - 1,
        "codes": plan.size,
    }

    def emit(site: Site) -> None:
        _emit(site, layer, plan)

    return Candidate("nibbles", Form.LANES, Form.LANES, cost, flash, scratch, emit)


def _tables(layer: Layer, plan: Plan) -> IntArray:
    """(combinations, entries) sums of codes times weights, each table from 0 on."""
    top, bits = max_code(layer.value_set), layer.image.bits
    weights = np.array(list(product(range(-top, top + 1), repeat=plan.members)))
    index = np.arange(plan.shuffle.entries)
    codes = np.stack([(index >> (bits * m)) & ((1 << bits) - 1) for m in range(plan.members)])
    least = np.minimum(weights, 0).sum(axis=1) * ((1 << bits) - 1)
    tables: IntArray = weights @ codes - least[:, None]
    return tables


def _places(layer: Layer, plan: Plan) -> np.ndarray:
    """[chunk][block][tap][group][output of the block] places of tables, flat."""
    top, block = max_code(layer.value_set), plan.shuffle.block
    outputs = per(layer.outputs, block) * block
    codes = layer.codes.reshape(layer.outputs, layer.image.channels, -1).astype(np.int64)
    digits = np.full((outputs, plan.groups, plan.members, layer.taps), top)
    digits[: layer.outputs] = _padded(codes, plan.members) + top
    powers = _base(layer) ** np.arange(plan.members)[::-1]
    tables = np.tensordot(digits, powers, axes=(2, 0))  # output, group, tap
    places = tables * plan.shuffle.entries // plan.shuffle.place
    blocks = places.reshape(-1, block, plan.groups, layer.taps).transpose(0, 3, 2, 1)
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
    tables = "GF_LINE uint8_t" if plan.shuffle.line > 1 else "uint8_t"
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
            "tables": constants.add("tables", tables, _tables(layer, plan).astype(np.uint8)),
            "limits": constants.add("nibblelimits", "int16_t", limits),
            "falling": falling_array(site, layer.levels),
        },
    )
    scratch = ", ".join(site.scratch[key] for key in ("indices", "plain", "totals", "codes"))
    site.body.line(f"gf_nibbles_run(&{name}, {site.operand}, {site.result}, {scratch}, {plan.size});")
