"""Networks for the 8x8 digits of scikit-learn (pixels 0..16): trained in seconds.

Stages of 8x8 and 4x4 positions, a classifier on 2x2.
"""

from __future__ import annotations

from functools import partial

from runtime.types import Interval
from sample_models import two_stage
from toolchain.models import ModelRow


def _row(name: str, skip: str, summary: str) -> ModelRow:
    builder = partial(two_stage.build, stem_pool=0, last=2)
    options = {"skip": skip, **two_stage.OPTIONS}
    return ModelRow(name, summary, builder, (1, 8, 8), Interval(0, 16), "digits", options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("ornet-digits", "or", "ternary weights, binary activations, OR skips; 8x8 digits"),
        _row("muxnet-digits", "mux", "ternary weights, binary activations, multiplexed skips; 8x8 digits"),
        _row("vgg-digits", "none", "ternary weights, binary activations, no skips; 8x8 digits"),
    )
}
