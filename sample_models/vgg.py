"""VGG-Small for CIFAR-10 (LQ-Nets, arXiv 1807.10029; with HEQ weights: arXiv 2501.04517).

128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-FC10 at its own width: 4,574,592 weights in convolutions
and 81,920 in the classifier.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from runtime.types import Interval
from sample_models.options import OPTIONS, Options, finish
from sample_models.pixels import pixel_norm
from toolchain.models import ModelRow

POSITIONS = 4 * 4


def build(**options: Any) -> nn.Sequential:
    """``conv1`` .. ``conv6`` and a classifier on 4x4 positions. ``options``: the fields of ``Options``."""
    chosen = Options(**options)
    width = chosen.width
    layers: dict[str, nn.Module] = {"pixels": pixel_norm("cifar-10")} if chosen.normalize else {}
    inputs = 3
    for number, factor in enumerate((1, 1, 2, 2, 4, 4), 1):
        layers[f"conv{number}"] = chosen.conv(
            inputs, factor * width, first=number == 1, pool=2 if number % 2 == 0 else 0
        )
        inputs = factor * width
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = chosen.classifier(inputs * POSITIONS, chosen.top)
    return finish(layers, plain=chosen.twin)


MODELS: dict[str, ModelRow] = {
    "vgg-small": ModelRow(
        "vgg-small",
        "VGG-Small: ternary weights, 2-bit activations; CIFAR-10",
        build,
        (3, 32, 32),
        Interval(0, 255),
        "cifar-10",
        {"width": 128, "bits": 2, **OPTIONS},
    )
}
