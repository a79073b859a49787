"""The small network that both image sizes share: two stages, a skip block in each, a classifier."""

from __future__ import annotations

import math

from torch import nn

from runtime.errors import InputError
from runtime.types import ELEMENT_LIMIT
from sample_models.options import finish
from toolchain.layers import ConvBlock, HEQClassifier, SkipBlock

OPTIONS = {"width": 32, "levels": 3, "bits": 1, "twin": False}
"""Defaults of the options of ``build``, the skip excepted."""

MAX_WIDTH = math.isqrt(ELEMENT_LIMIT // 36)
"""The widest convolution, 3x3 in the second stage, has ``9 * (2 * width)**2`` weights."""


def build(
    *, stem_pool: int, last: int, skip: str, width: int, levels: int, bits: int, twin: bool
) -> nn.Module:
    """``stem``, ``stage1``, ``down``, ``stage2``, ``classifier`` on ``last`` x ``last`` positions.

    ``stem_pool``: window of the max pooling in the stem, 0 for none. ``skip``: a row of ``SKIPS``.
    ``width``: channels of the first stage, doubled in the second; 1..``MAX_WIDTH``. ``levels``: of
    the weights. ``bits``: of the activations. ``twin``: float32 twin, with real weights, ReLU, and an added
    skip in place of a logic one. Raises InputError for bad options.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise InputError(
            f"width must be within 1..{MAX_WIDTH}, not {width}; the default is {OPTIONS['width']}"
        )
    block = {"levels": levels, "bits": bits, "kind": "relu" if twin else "codes"}
    if twin and skip != "none":
        skip = "add"
    layers = {
        "stem": ConvBlock(1, width, pool=stem_pool, **block),
        "stage1": SkipBlock(ConvBlock(width, width, **block), skip, bits),
        "down": ConvBlock(width, 2 * width, pool=2, **block),
        "stage2": SkipBlock(ConvBlock(2 * width, 2 * width, **block), skip, bits),
        "pool": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "classifier": HEQClassifier(2 * width * last * last, 10, levels, input_max=(1 << bits) - 1),
    }
    return finish(layers, plain=twin)
