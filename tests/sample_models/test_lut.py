"""Networks for parallel logic: their sizes, that they learn, and what their programs leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ops import Dense
from sample_models.lut import MODELS
from toolchain.config import load_recipe
from toolchain.cost import report
from toolchain.layers import latent_layers, quantized_layers
from toolchain.lowering import lower, reference_model
from toolchain.models import model_row

torch.set_num_threads(1)

RECIPES = ("mnist-lut", "mnist-lut-small", "fashion-lut")


def blocks(count: int, seed: int = 0) -> torch.Tensor:
    """Random images with some structure: blocks of one shade."""
    coarse = torch.randint(0, 256, (count, 1, 7, 7), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse.float(), (28, 28))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build_their_models(name: str) -> None:
    recipe = load_recipe(name)
    row = model_row(recipe.model)
    assert MODELS[recipe.model] is row
    assert recipe.dataset == row.dataset
    row.build(**recipe.options)


@pytest.mark.parametrize("name", MODELS)
def test_the_classifier_has_as_many_weights_as_the_density_says(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name].build(neurons=300, density=0.1)
    (classifier,) = quantized_layers(model).values()
    assert int((classifier.codes() != 0).sum()) == 300


@pytest.mark.parametrize("name", MODELS)
def test_neurons_that_the_classifier_does_not_choose_are_no_part_of_the_program(name: str) -> None:
    torch.manual_seed(0)
    row = MODELS[name]
    model = row.build(neurons=300, density=0.05)
    program = lower(model, row.input_shape, row.input_interval, name)
    chosen = int((model.classifier.codes() != 0).any(0).sum())
    assert 0 < chosen < 300
    assert [n.type.shape[0] for n in program.nodes if isinstance(n.op, Dense)] == [chosen, 10]
    pixels = np.random.default_rng(0).integers(0, 256, (20, *row.input_shape)).astype(np.uint8)
    with torch.no_grad():
        reference = reference_model(model)
        logits = reference(torch.from_numpy(pixels).double())
    scores = torch.from_numpy(Interpreter(program).run({"image": pixels})["scores"]).double()
    assert torch.equal(scores * reference[-1].scale.detach(), logits)


def test_numbering_patterns_takes_no_gates() -> None:
    torch.manual_seed(0)
    row = MODELS["lut-mnist"]
    program = lower(row.build(neurons=50), row.input_shape, row.input_interval, "wires")
    dense = next(n.result for n in program.nodes if isinstance(n.op, Dense))
    (found,) = (layer for layer in report(program).layers if layer.name == dense)
    assert not found.circuits.parallel.counts


def test_they_learn() -> None:
    torch.manual_seed(0)
    model = MODELS["lut-mnist"].build(neurons=200, density=0.1)
    images = blocks(64)
    labels = images[:, 0, 14, 10].div(26, rounding_mode="floor").long()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for layer in latent_layers(model):
            layer.clamp_latent()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": 0}, "neurons must be within 1..65536"),
        ({"thresholds": "1,two"}, "whole numbers separated by commas"),
        ({"thresholds": "9,3"}, "must rise within 1..255"),
        ({"density": 0.0}, "density of weights must be above 0"),
        ({"levels": 2}, "density needs an odd number of levels"),
        ({"fan_in": 7}, "fan_in must be within 1..6"),
        ({"window": 2}, "at most the 4 bits"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MODELS["lut-mnist"].build(**options)
