"""The kernel of bytes with thresholds: four products of them are added to a sum in one instruction.

Sums of 32 positions are compared with their limits where they are, so that codes are bits at once.
"""

from __future__ import annotations

import numpy as np

from exporters.c99.forms import Form, per
from exporters.c99.integer import MOST_UNPACKED
from exporters.c99.kernels import Candidate, Site, descriptor, fits_fields, window
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.encodings import digits_per_byte, pack_digits
from runtime.types import IntArray

RUN = 32
"""Positions whose sums are in registers, ``GF_QUADS_RUN``."""

LINE = 64
"""Bytes to a multiple of which rows are aligned for speed."""

COMPARED, FILLED = 0.5, 1.0
"""Instructions for one threshold of one sum, and for four taps of one position."""


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None where operands are not bytes or the layer has no thresholds."""
    taps, image, pool = layer.codes[0].size, layer.image, int(layer.pooled)
    quads, columns = per(taps, 4), layer.result.shape[2] >> pool
    row = per(columns, RUN) * RUN
    if (
        not target.costs.quad
        or layer.levels is None
        or layer.groups != 1
        or layer.result.shape[2] == 1
        or image.interval.dtype.itemsize > 1
        or layer.outputs * quads * 4 > MOST_UNPACKED
        or not fits_fields(*layer.result.shape, *image.shape, row)
    ):
        return None
    positions = (layer.result.shape[1] >> pool) * row << 2 * pool
    multiplied = 4 * quads * target.costs.quad + layer.level_count * COMPARED
    cost = (
        positions * (layer.outputs * multiplied + quads * FILLED) + layer.codes.size * target.costs.unpack
    )
    height, width = _padded(layer)
    scratch = {
        "plain": image.channels * height * width + (row - columns) * (layer.stride[1] << pool),
        "weights": layer.outputs * quads * 4,
        "quads": (quads * row << 2 * pool) * 4 + LINE - 1,
    }

    def emit(site: Site) -> None:
        _emit(site, layer, row)

    flash = layer.outputs * per(taps, digits_per_byte(layer.value_set))
    return Candidate("quads", Form.INTEGERS, Form.LANES, cost, flash, scratch, emit)


def _padded(layer: Layer) -> tuple[int, int]:
    """Rows and columns of the image with its padding."""
    return layer.image.shape[1] + 2 * layer.padding[0], layer.image.shape[2] + 2 * layer.padding[1]


def _places(layer: Layer) -> IntArray:
    """Byte of the padded image that each tap of the first window reads, of whole quads."""
    height, width = _padded(layer)
    c, u, v = np.indices(layer.codes.shape[1:]).reshape(3, -1)
    places: IntArray = (c * height + u * layer.dilation[0]) * width + v * layer.dilation[1]
    return np.pad(places, (0, -len(places) % 4))


def _emit(site: Site, layer: Layer, row: int) -> None:
    assert layer.levels is not None
    constants, falling = site.constants, layer.levels.falling
    codes = layer.codes.reshape(layer.outputs, -1)
    codes = np.where(falling[:, None], -codes, codes)  # so that all limits are reached from below
    flip = 128 if layer.image.interval.lo < 0 else 0
    limits = layer.levels.limits - layer.bias[:, None]
    limits = np.where(falling[:, None], -limits, limits) + flip * codes.sum(axis=1, keepdims=True)
    packed = np.stack([pack_digits(one, layer.value_set) for one in codes])
    name = descriptor(
        site,
        "quads",
        {
            "window": window(layer),
            "outputs": layer.outputs,
            "taps": codes.shape[1],
            "quads": per(codes.shape[1], 4),
            "bytes": packed.shape[1],
            "row": row,
            "base": layer.value_set,
            "flip": flip,
            "levels": limits.shape[1],
            "codes": layer.levels.type.bits,
            "pool": int(layer.pooled),
            "places": constants.add("quadplaces", "uint32_t", _places(layer)),
            "weights": constants.add("digits", "uint8_t", packed),
            "limits": constants.add("quadlimits", "int32_t", np.clip(limits, -(2**31), 2**31 - 1)),
        },
    )
    scratch = ", ".join(site.scratch[key] for key in ("plain", "weights", "quads"))
    site.body.line(f"gf_quads_run(&{name}, (const uint8_t *){site.operand}, {site.result}, {scratch});")
