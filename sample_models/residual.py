"""Networks of stages with one skip each: ORNet-11, MUXORNet-11, VGG-11 and smaller ones (arXiv 2501.04517).

The paper names the 11-layer networks without their widths. Ours: five stages of two 3x3 convolutions (64,
128, 256, 512, 512 channels), the skip around the second, which keeps its shape; 2x2 max pooling between
stages, global pooling, and a classifier. VGG-11 is the same without skips.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from runtime.types import Interval
from sample_models.options import OPTIONS, Options, finish
from sample_models.pixels import STATISTICS, pixel_norm
from toolchain.layers import GlobalSumPool, SkipBlock
from toolchain.models import ModelRow

ELEVEN = (1, 2, 4, 8, 8)
"""Channels of the stages of an 11-layer network, in units of its width."""

MICRO = (1, 3, 8)
"""Those of a network for microcontrollers: few where the images, and so the activations, are large."""

MICRO_OPTIONS = {"width": 16, "bits": 2, "first_levels": 3, "last_levels": 3}

SIZES = {"cifar-10": 32, "stl-10": 96, "fashion-mnist": 28}


def build(*, dataset: str, factors: Sequence[int], skip: str, **options: Any) -> nn.Sequential:
    """``stage1`` .. and a classifier on the sums of the last stage's channels.

    ``dataset``: a key of ``SIZES``. ``factors``: channels of each stage in units of the width. ``skip``: a
    row of ``SKIPS``. ``options``: the fields of ``Options``. Raises InputError for bad options.
    """
    chosen = Options(**options)
    if chosen.twin and skip != "none":
        skip = "add"
    inputs, size = len(STATISTICS[dataset][0]), SIZES[dataset]
    layers: dict[str, nn.Module] = {"pixels": pixel_norm(dataset)} if chosen.normalize else {}
    for number, factor in enumerate(factors, 1):
        channels = factor * chosen.width
        if number > 1:
            layers[f"pool{number - 1}"] = nn.MaxPool2d(2)
            size //= 2
        layers[f"stage{number}"] = nn.Sequential(
            chosen.conv(inputs, channels, first=number == 1),
            SkipBlock(chosen.conv(channels, channels), skip, chosen.bits),
        )
        inputs = channels
    layers["pool"] = GlobalSumPool()
    layers["classifier"] = chosen.classifier(inputs, chosen.top * size * size)
    return finish(layers, plain=chosen.twin)


SKIP_WORDS = {
    "or": "OR skips",
    "mux": "multiplexed skips",
    "add": "added integer skips",
    "none": "no skips",
}


def _row(name: str, dataset: str, factors: Sequence[int], skip: str, **defaults: Any) -> ModelRow:
    channels = len(STATISTICS[dataset][0])
    size = SIZES[dataset]
    options = {"skip": skip, "bits": 1, **OPTIONS, **defaults}
    kind = "binary" if options["bits"] == 1 else f"{options['bits']}-bit"
    summary = f"ternary weights, {kind} activations, {SKIP_WORDS[skip]}; {dataset} at {size}x{size}"
    builder = partial(build, dataset=dataset, factors=factors)
    return ModelRow(name, summary, builder, (channels, size, size), Interval(0, 255), dataset, options)


FAMILY = {"vgg-11": "none", "ornet-11": "or", "muxornet-11": "mux", "addnet-11": "add"}
"""The 11-layer networks and their skips."""

MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        *(
            _row(f"{name}-{suffix}", dataset, ELEVEN, skip, width=64, bits=bits)
            for name, skip in FAMILY.items()
            for suffix, dataset, bits in (("cifar", "cifar-10", 2), ("stl", "stl-10", 1))
        ),
        _row("micro-fashion", "fashion-mnist", MICRO, "or", **MICRO_OPTIONS),
        _row("micro-cifar", "cifar-10", MICRO, "or", **MICRO_OPTIONS),
    )
}
