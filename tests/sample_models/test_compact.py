"""Networks for small FPGAs: what their options make, and that they keep to their densities."""

from __future__ import annotations

import pytest
import torch

from runtime.errors import InputError
from sample_models.compact import MODELS
from toolchain.data import load
from toolchain.layers import quantized_layers
from toolchain.lowering import lower
from toolchain.pipeline import check_model

DIGITS = MODELS["compact-digits"]


@pytest.mark.parametrize("skip", ["none", "or", "mux"])
def test_a_compact_network_equals_its_program(skip):
    digits = load("digits")
    torch.manual_seed(0)
    model = DIGITS.build(width=6, growth=1.5, depth=2, skip=skip, fan_in=7, density=0.3)
    with torch.no_grad():
        model.train()(torch.tensor(digits.train_images[:200]).float())
    program = lower(model.eval(), DIGITS.input_shape, DIGITS.input_interval, "compact")
    assert check_model(program, model, digits.test_images[:50]).mismatches == 0
    shapes = [node.type.shape for node in program.nodes if node.op.name == "Conv2d"]
    assert shapes == [(6, 4, 4), (9, 2, 2), *([(9, 2, 2)] if skip != "none" else [])]


def test_the_classifier_can_read_fewer_bits():
    model = DIGITS.build(width=4, depth=2, bits=2, head_bits=1)
    program = lower(model.eval(), DIGITS.input_shape, DIGITS.input_interval, "compact")
    stored = [node.type.interval.hi for node in program.nodes if node.op.name == "Threshold"]
    assert stored[-2:] == [3, 1]
    assert model.classifier.scale == DIGITS.build(width=4, depth=2).classifier.scale


def test_each_channel_keeps_its_fan_in_and_the_classifier_its_density():
    model = MODELS["compact-fashion"].build(width=16, fan_in=5, density=0.2)
    for path, layer in quantized_layers(model).items():
        kept = (layer.codes() != 0).flatten(1).sum(1)
        if path == "classifier":
            assert int(kept.sum()) == round(0.2 * layer.weight.numel())
        else:
            assert kept.tolist() == [5] * 16
        layer.weight.data.mul_(100).clamp_(-1, 1)
        layer.update_step()
        assert float(layer.step.max()) <= 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"width": 0}, "width must be within 1..256, not 0"),
        ({"depth": 5}, "depth must be within 1..4, not 5"),
        ({"pixel_bits": 9}, "pixel_bits must be within 1..8, not 9"),
        ({"growth": 0.1}, "growth must be within 0.25..4, not 0.1"),
        ({"fan_in": 0}, "fan_in must be within 1..1024, not 0"),
        ({"density": 0.0}, "the density of weights must be above 0 and at most 1, not 0.0"),
        ({"levels": 4}, "a density needs an odd number of levels and one step a layer, not 4"),
    ],
)
def test_a_wrong_option_is_told(option, message):
    with pytest.raises(InputError) as caught:
        DIGITS.build(**option)
    assert str(caught.value) == message
