"""Networks small enough for a small FPGA: few channels, few bits, and weights that are mostly zero.

Pixels become a few bits, strided convolutions shrink the image stage by stage, and a sparse classifier
reads what is left. In a circuit of one output position an addition costs look-up tables for every weight
that is not zero and for every bit of what it multiplies, so how many those are says most about the cost. A
neuron that reads four bits is a single look-up table of an FPGA, whatever its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from sample_models.options import finish
from toolchain.layers import ConvBlock, HEQClassifier, PixelBits, SkipBlock
from toolchain.models import ModelRow
from toolchain.quantizers import top_code

MAX_WIDTH, MAX_DEPTH, MAX_PIXEL_BITS, MAX_FAN_IN = 256, 4, 8, 1024

KERNEL = 5
"""Of the first convolution: with few weights that are not zero a larger window costs no more."""

OPTIONS: dict[str, Any] = {
    "width": 32,
    "growth": 1.0,
    "depth": 3,
    "skip": "none",
    "bits": 1,
    "head_bits": 0,
    "levels": 3,
    "pixel_bits": 3,
    "fan_in": 16,
    "density": 0.25,
}
"""Defaults of the options of ``build``."""


def build(
    *,
    top: int,
    size: int,
    width: int,
    growth: float,
    depth: int,
    skip: str,
    bits: int,
    head_bits: int,
    levels: int,
    pixel_bits: int,
    fan_in: int,
    density: float,
) -> nn.Sequential:
    """``bits``, ``stage1`` .. and a classifier, on ``size`` x ``size`` pixels within 0..``top``.

    ``width``: channels of the first stage, ``growth`` times as many in each that follows, of ``depth``
    stages that halve the image. ``skip``: ``none``, or a row of ``SKIPS`` around one more convolution in
    each stage but the first. ``bits``: of the activations, ``head_bits``: of those that the classifier
    reads, 0 for as many. ``levels``: of the weights, of which ``fan_in`` in each channel of a convolution
    and the share ``density`` in the classifier are not zero. ``pixel_bits``: thresholds of the pixels.
    Raises InputError.
    """
    most = {"width": MAX_WIDTH, "depth": MAX_DEPTH, "pixel_bits": MAX_PIXEL_BITS, "fan_in": MAX_FAN_IN}
    _check(most, width=width, depth=depth, pixel_bits=pixel_bits, fan_in=fan_in)
    if not 0.25 <= growth <= 4:
        raise InputError(f"growth must be within 0.25..4, not {growth}")
    thresholds = [round((top + 1) * n / (pixel_bits + 1)) for n in range(1, pixel_bits + 1)]
    layers: dict[str, nn.Module] = {"bits": PixelBits(thresholds)}
    inputs = pixel_bits
    for stage in range(depth):
        channels = max(1, round(width * growth**stage))
        kernel = 3 if stage else KERNEL
        made = (head_bits or bits) if stage == depth - 1 else bits
        block = {"levels": levels, "bits": made, "fan_in": fan_in}
        layers[f"stage{stage + 1}"] = ConvBlock(inputs, channels, kernel_size=kernel, stride=2, **block)
        if stage and skip != "none":
            layers[f"skip{stage + 1}"] = SkipBlock(ConvBlock(channels, channels, **block), skip, made)
        inputs, size = channels, (size + 1) // 2
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = HEQClassifier(
        inputs * size * size, 10, levels, input_max=top_code(made), density=density
    )
    return finish(layers, plain=False)


def _check(most: Mapping[str, int], **values: int) -> None:
    for name, value in values.items():
        if not 1 <= value <= most[name]:
            raise InputError(f"{name} must be within 1..{most[name]}, not {value}")


def _row(name: str, dataset: str, size: int, top: int) -> ModelRow:
    builder = partial(build, top=top, size=size)
    summary = f"sparse weights, few channels, pixels of few bits: for small FPGAs; {size}x{size} images"
    return ModelRow(name, summary, builder, (1, size, size), Interval(0, top), dataset, dict(OPTIONS))


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("compact-fashion", "fashion-mnist", 28, 255),
        _row("compact-digits", "digits", 8, 16),
    )
}
