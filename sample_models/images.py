"""Networks for 28x28 grey images, Fashion-MNIST and MNIST (pixels 0..255): trained in minutes on a CPU.

Stages of 14x14 and 7x7 positions, a classifier on 3x3.
"""

from __future__ import annotations

from functools import partial

from runtime.types import Interval
from sample_models import two_stage
from toolchain.models import ModelRow


def _row(name: str, skip: str, summary: str) -> ModelRow:
    builder = partial(two_stage.build, stem_pool=2, last=3)
    options = {"skip": skip, **two_stage.OPTIONS}
    return ModelRow(name, summary, builder, (1, 28, 28), Interval(0, 255), "fashion-mnist", options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("ornet-mini", "or", "ternary weights, binary activations, OR skips; 28x28 images"),
        _row("muxnet-mini", "mux", "ternary weights, binary activations, multiplexed skips; 28x28 images"),
    )
}
