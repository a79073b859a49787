"""Networks for the 8x8 digits of scikit-learn (pixels 0..16): trained in seconds."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from runtime.types import Interval
from toolchain.layers import ConvBlock, HEQClassifier, SkipBlock, set_precision
from toolchain.models import ModelRow


def build(*, skip: str, width: int, levels: int, bits: int, rule: str, twin: bool) -> nn.Module:
    """A stage of 8x8 and a stage of 4x4 positions, a skip block in each, a classifier on 2x2 positions.

    ``skip``: a row of ``SKIPS``. ``width``: channels of the first stage, doubled in the second.
    ``levels``: of the weights. ``bits``: of the activations. ``rule``: a row of ``STEP_RULES``. ``twin``:
    the float32 twin, with real weights, ReLU, and an added skip in place of a logic one.
    """
    block = {"levels": levels, "rule": rule, "bits": bits, "kind": "relu" if twin else "codes"}
    if twin and skip != "none":
        skip = "add"
    layers = {
        "stem": ConvBlock(1, width, **block),
        "stage1": SkipBlock(ConvBlock(width, width, **block), skip, bits),
        "down": ConvBlock(width, 2 * width, pool=2, **block),
        "stage2": SkipBlock(ConvBlock(2 * width, 2 * width, **block), skip, bits),
        "pool": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "classifier": HEQClassifier(2 * width * 2 * 2, 10, levels, rule, input_max=(1 << bits) - 1),
    }
    model = nn.Sequential(OrderedDict(layers))
    set_precision(model, "float" if twin else "quantized")
    return model


def _row(name: str, skip: str, summary: str) -> ModelRow:
    options = {"skip": skip, "width": 32, "levels": 3, "bits": 1, "rule": "quantile-span", "twin": False}
    return ModelRow(name, summary, build, (1, 8, 8), Interval(0, 16), "digits", options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("ornet-digits", "or", "ternary weights, binary activations, OR skips; 8x8 digits"),
        _row("muxnet-digits", "mux", "ternary weights, binary activations, multiplexed skips; 8x8 digits"),
        _row("vgg-digits", "none", "ternary weights, binary activations, no skips; 8x8 digits"),
    )
}
