"""The kernel of lists: a matrix with few weights that are not 0, and quaternion matrices stored once."""

from __future__ import annotations

import numpy as np

from exporters.c99.forms import Form, c_type
from exporters.c99.integer import is_dot, kernel_suffix, sum_type
from exporters.c99.kernels import Candidate, Site, descriptor, fits_fields
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.ops import Conv2d, Dense
from runtime.weights import HAMILTON

SKIP, SKIPPED = 254, 127
"""Entry that stands for zeros alone, and for how many."""


def _components(layer: Layer) -> np.ndarray:
    """Codes (components, outputs, inputs): of a quaternion matrix the four, else the whole matrix."""
    op = layer.node.op
    assert isinstance(op, Conv2d | Dense)
    if op.weights.is_hamilton and isinstance(op, Dense):
        return op.weights.components
    return layer.codes.reshape(1, layer.outputs, -1)


def _lists(components: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Starts of all lists and the end, entries, magnitudes, and the first magnitude of each list."""
    entries: list[int] = []
    starts, first = [0], []
    magnitudes: list[int] = []
    for row in components.reshape(-1, components.shape[-1]):
        places = np.flatnonzero(row)
        first.append(len(magnitudes))
        for gap, value in zip(np.diff(places, prepend=-1) - 1, row[places].tolist(), strict=True):
            skips, rest = divmod(int(gap), SKIPPED)
            entries += [SKIP] * skips + [2 * rest + (value < 0)]
            magnitudes.append(abs(value))
        starts.append(len(entries))
    return np.array(starts), np.array(entries, np.int64), np.array(magnitudes, np.int64), np.array(first)


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None for convolutions and matrices too large for its offsets."""
    if not is_dot(layer):
        return None
    components = _components(layer)
    nonzero = int(np.count_nonzero(components))
    if not nonzero or nonzero + components.size // SKIPPED > 2**16 - 1:
        return None
    if not fits_fields(components.shape[1], components.shape[2]):
        return None
    starts, entries, magnitudes, first = _lists(components)
    flash = 2 * starts.size + entries.size
    costs, each = target.costs, target.costs.item
    if magnitudes.max() > 1:
        flash += magnitudes.size + 2 * first.size
        each += costs.mac
    cost = (entries.size * each + layer.outputs * costs.sum) * len(components)

    def emit(site: Site) -> None:
        _emit(site, layer, components, (starts, entries, magnitudes, first))

    return Candidate("listed", Form.INTEGERS, Form.INTEGERS, cost, flash, {}, emit)


def _emit(
    site: Site,
    layer: Layer,
    components: np.ndarray,
    lists: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    starts, entries, magnitudes, first = lists
    weighted = int(magnitudes.max()) > 1
    blocks = len(components)
    layout = [[2 * c + (sign < 0) for c, sign in row] for row in HAMILTON] if blocks == 4 else [[0]]
    constants = site.constants
    name = descriptor(
        site,
        "listed",
        {
            "inputs": components.shape[2],
            "outputs": components.shape[1],
            "blocks": blocks,
            "starts": constants.add("starts", "uint16_t", starts),
            "entries": constants.add("entries", "uint8_t", entries),
            "magnitudes": constants.add("magnitudes", "uint8_t", magnitudes) if weighted else "NULL",
            "first": constants.add("first", "uint16_t", first) if weighted else "NULL",
            "layout": constants.add("layout", "uint8_t", np.array(layout)),
        },
    )
    function = f"gf_listed_{kernel_suffix(c_type(layer.image.interval), sum_type(layer))}"
    site.body.line(f"for (unsigned o = 0; o < {layer.outputs}; o++)")
    site.body.line(f"    {site.result}[o] = {site.apply(f'{function}(&{name}, {site.operand}, o)', 'o')};")
