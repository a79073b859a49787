"""Networks for fully parallel logic: one layer of table neurons, and a sparse ternary classifier.

Each neuron reads six bits of a small window of the image, drawn once, and is one LUT6 of an FPGA, whatever
its table. There are more of them than needed: the classifier's few weights choose, and what they do not
read is no part of the program.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from sample_models.options import finish
from toolchain.layers import HEQClassifier, LookupNeurons, PixelBits
from toolchain.layers.lookup_neurons import draw_inputs
from toolchain.models import ModelRow

SIZE = 28

MAX_NEURONS = 65536

OPTIONS: dict[str, Any] = {"neurons": 4000, "fan_in": 6, "window": 7, "density": 0.05, "levels": 3}
"""Defaults of the options that do not depend on the data set."""


def build(
    *, neurons: int, fan_in: int, window: int, density: float, levels: int, thresholds: str
) -> nn.Sequential:
    """``bits``, ``neurons`` and ``classifier`` on 28x28 images.

    ``neurons``: how many the classifier chooses from. ``fan_in``: bits that each reads, of ``window`` x
    ``window`` positions. ``density``: share of the classifier's weights that are not zero. ``levels``: of
    the classifier. ``thresholds``: of the pixels, a bit each, rising and separated by commas. Raises
    InputError.
    """
    if not 1 <= neurons <= MAX_NEURONS:
        raise InputError(f"neurons must be within 1..{MAX_NEURONS}, not {neurons}")
    bits = PixelBits(_numbers(thresholds))
    channels = len(bits.thresholds)
    inputs = draw_inputs((channels, SIZE, SIZE), neurons, fan_in, window)
    layers = {
        "bits": bits,
        "flatten": nn.Flatten(),
        "neurons": LookupNeurons(channels * SIZE * SIZE, inputs),
        "classifier": HEQClassifier(neurons, 10, levels, density=density),
    }
    return finish(layers, plain=False)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"thresholds must be whole numbers separated by commas, not {text!r}") from None


def _row(name: str, dataset: str, thresholds: str, summary: str) -> ModelRow:
    options = {**OPTIONS, "thresholds": thresholds}
    return ModelRow(name, summary, build, (1, SIZE, SIZE), Interval(0, 255), dataset, options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("lut-mnist", "mnist", "128", "a layer of LUT6 neurons and a sparse classifier; 28x28 images"),
        _row("lut-fashion", "fashion-mnist", "16,128,192", "the same on pixels of three bits"),
    )
}
