"""The activation-driven kernel: lanes are outputs, and an active input adds one row of weights."""

from __future__ import annotations

import numpy as np

from exporters.c99.forms import Form, bit_rows, per
from exporters.c99.kernels import (
    LIST_SLACK,
    Candidate,
    Site,
    counter_bits,
    counter_limits,
    descriptor,
    fits_fields,
    window,
)
from exporters.c99.layer import Layer
from exporters.c99.targets import Target

ACTIVE, ACTIVE_PLANE = 0.45, 0.25
"""Share of single bits that are taken to be set, and of bits of wider codes: trained networks prefer 0."""

MOST_PADDING = 1.34
"""Largest number of lanes for each output."""


TAPPED = 2
"""What it takes to find one tap of the window in another plane, in gathered integers."""


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None where it has no thresholds or too few outputs for the lanes."""
    blocks = per(layer.outputs, target.lane)
    inputs = layer.taps * layer.image.channels
    if not layer.takes_planes or layer.groups != 1 or layer.levels is None:
        return None
    bits = counter_bits(layer.raw)
    if (
        blocks * target.lane > MOST_PADDING * layer.outputs
        or bits > 30
        or not fits_fields(inputs, layer.outputs, *layer.image.shape)
    ):
        return None
    units, planes = blocks * target.lane_units, layer.image.bits
    active = (ACTIVE if planes == 1 else ACTIVE_PLANE) * inputs * planes
    rows = active * 2 * layer.magnitudes * blocks
    costs, compared = target.costs, blocks * (1 + layer.level_count)
    listed = active * costs.entry + inputs * planes * costs.active
    listed += layer.taps * (planes - 1) * TAPPED * costs.gather
    cost = layer.positions * (rows * costs.row + listed + compared * costs.block)
    flash = inputs * layer.magnitudes * 2 * units * target.unit // 8
    scratch = {"lists": 2 * (inputs * planes + LIST_SLACK), "counters": bits * target.lane // 8}
    scratch["coded"] = per(layer.outputs, target.word) * layer.levels.type.bits * target.word // 8

    def emit(site: Site) -> None:
        _emit(site, layer, bits, units)

    return Candidate("columns", Form.WORDS, Form.WORDS, cost, flash, scratch, emit)


def _rows(lanes: np.ndarray, unit: int, units: int) -> np.ndarray:
    """Units along the last axis, ``units`` of them, of 0/1 lanes."""
    padded = np.zeros((*lanes.shape[:-1], units * unit), np.uint8)
    padded[..., : lanes.shape[-1]] = lanes
    return bit_rows(padded, unit)


def _emit(site: Site, layer: Layer, bits: int, units: int) -> None:
    assert layer.levels is not None
    constants, unit = site.constants, site.target.unit
    signed = layer.signed_planes().reshape(layer.magnitudes, 2, layer.outputs, layer.image.channels, -1)
    rows = _rows(signed.transpose(0, 1, 4, 3, 2), unit, units)  # magnitude, sign, tap, channel, unit
    blocks = np.moveaxis(rows.reshape(*rows.shape[:-1], -1, site.target.lane_units), -2, 0)
    weights = constants.add("columns", "gf_unit", blocks)
    limits = counter_limits(layer.levels, layer.bias, layer.raw, bits).T  # level, output
    lanes = np.zeros((limits.shape[0], bits + 1, units * unit), np.uint8)
    lanes[:, bits] = 1  # lanes of no output reach nothing
    for bit in range(bits + 1):
        lanes[:, bit, : layer.outputs] = (limits >> bit) & 1
    falling = _rows(layer.levels.falling.astype(np.uint8), unit, units)
    name = descriptor(
        site,
        "columns",
        {
            "window": window(layer),
            "outputs": layer.outputs,
            "magnitudes": layer.magnitudes,
            "bits": bits,
            "units": units,
            "levels": limits.shape[0],
            "codes": layer.levels.type.bits,
            "pool": int(layer.pooled),
            "capacity": layer.taps * layer.image.channels,
            "weights": weights,
            "limits": constants.add("lanelimits", "gf_unit", bit_rows(lanes, unit)),
            "falling": constants.add("lanefalling", "gf_unit", falling),
        },
    )
    scratch = f"{site.scratch['lists']}, {site.scratch['counters']}, {site.scratch['coded']}"
    site.body.line(f"gf_columns_run(&{name}, {site.operand}, {site.result}, {scratch});")
