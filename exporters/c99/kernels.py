"""What a kernel of a layer with weights offers the planner, and what the kernels share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from exporters.c99.constants import Constants
from exporters.c99.epilogue import Levels
from exporters.c99.forms import Form
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from exporters.emitter import Emitter
from runtime.types import IntArray, Interval

FIELD_LIMIT = 2**16 - 1
"""Largest number in a descriptor of ``gatefold_kernels.h``."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a step is emitted: C expressions of its operand, result and scratch, and what to write to.

    ``name``: prefix of the step's own symbols. ``apply(sum, channel)``: the C expression of one element of
    the result from a sum, for layers without thresholds. ``result_type``: C type of such an element.
    """

    name: str
    target: Target
    constants: Constants
    body: Emitter
    file: Emitter
    operand: str
    result: str
    scratch: Mapping[str, str]
    apply: Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute a layer.

    ``operand``, ``result``: the forms it reads and writes. ``cost``: estimated instructions. ``flash``:
    bytes of weights. ``scratch``: bytes by name. ``biased``: whether its sums, where they are integers,
    have the bias.
    """

    kernel: str
    operand: Form
    result: Form
    cost: float
    flash: int
    scratch: Mapping[str, int]
    emit: Callable[[Site], None]
    biased: bool = False


LIST_SLACK = 8
"""Entries that may be written past the end of a list."""


def counter_bits(raw: Interval) -> int:
    """Planes of signed counters that hold ``raw``; carry-save addition needs six."""
    return max(6, Interval(min(raw.lo, -1), max(raw.hi, 0)).bits)


def counter_limits(levels: Levels, bias: np.ndarray, raw: Interval, bits: int) -> IntArray:
    """Limits of counters, (outputs, levels): reached from below, less the least counter of ``bits`` bits.

    Where a limit falls, not reaching it is what counts.
    """
    rising = levels.limits + levels.falling[:, None] - bias[:, None]
    limits: IntArray = np.clip(rising, raw.lo, raw.hi + 1) + (1 << (bits - 1))
    return limits


def descriptor(site: Site, kind: str, values: Mapping[str, object]) -> str:
    """Emit a constant ``gf_KIND_layer``; returns its name."""
    name = f"{site.name}_layer"
    with site.file.block(f"static gf_{kind}_layer GF_FLASH {name} =", "};"):
        for text in values.values():
            site.file.line(f"{text},")
    site.file.line()
    return name


def window(layer: Layer) -> str:
    """Initializer of the layer's ``gf_window``."""
    image, result = layer.image.shape, layer.result.shape
    numbers = (
        *image,
        layer.image.bits,
        *result[1:],
        *layer.kernel,
        *layer.stride,
        *layer.padding,
        *layer.dilation,
    )
    return "{" + ", ".join(map(str, numbers)) + "}"


def fits_fields(*numbers: int) -> bool:
    """Whether all numbers fit the fields of a descriptor."""
    return max(numbers) <= FIELD_LIMIT


def falling_array(site: Site, levels: Levels) -> str:
    """The constant that says per output whether its limits fall."""
    return site.constants.add("falling", "uint8_t", levels.falling.astype(np.uint8))
