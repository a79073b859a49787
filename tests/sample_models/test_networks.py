"""The networks that come with Gatefold: every row builds, learns in both phases and lowers exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from sample_models import digits, images
from toolchain.layers import LoweringError, quantized_layers, set_precision
from toolchain.lowering import lower, reference_model
from toolchain.models import ModelRow

torch.set_num_threads(1)

ROWS = {**digits.MODELS, **images.MODELS}


def batch(row: ModelRow, count: int) -> np.ndarray:
    interval = row.input_interval
    return np.random.default_rng(0).integers(interval.lo, interval.hi + 1, (count, *row.input_shape))


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_named_after_themselves(name: str) -> None:
    assert ROWS[name].name == name
    assert "\n" not in ROWS[name].summary


@pytest.mark.parametrize("name", ROWS)
def test_program_equals_the_model(name: str) -> None:
    row = ROWS[name]
    torch.manual_seed(0)
    model = row.build(width=8)
    x = batch(row, 8)
    with torch.no_grad():
        for _ in range(20):
            model.train()(torch.from_numpy(x).float())
    program = lower(model, row.input_shape, row.input_interval, name)
    with torch.no_grad():
        reference = reference_model(model)
        logits = reference(torch.from_numpy(x).double())
    out = Interpreter(program).run({"image": x})
    assert torch.equal(torch.from_numpy(out["scores"]).double() * reference[-1].scale.detach(), logits)
    assert np.array_equal(out["class"], logits.argmax(1).numpy())
    assert len(np.unique(out["scores"])) > 10


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("precision", ["float", "quantized"])
def test_gradients_reach_every_parameter(name: str, precision: str) -> None:
    row = ROWS[name]
    torch.manual_seed(0)
    model = row.build(width=8)
    set_precision(model, precision)
    x = torch.from_numpy(batch(row, 8)).float()
    F.cross_entropy(model.train()(x), torch.arange(8)).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize("name", ["muxnet-digits", "ornet-mini"])
def test_options_reach_the_layers(name: str) -> None:
    model = ROWS[name].build(levels=5, bits=2, rule="least-squares", width=4, skip="none")
    assert {(layer.levels, layer.rule) for layer in quantized_layers(model).values()} == {
        (5, "least-squares")
    }
    assert {m.bits for m in model.modules() if hasattr(m, "bits")} == {2}
    assert "NoSkip" in repr(model)


@pytest.mark.parametrize("width", [0, -5, 1931, 100_000_000])
def test_width_has_a_range(width: int) -> None:
    message = f"^width must be within 1..1930, not {width}; the default is 32$"
    with pytest.raises(InputError, match=message):
        ROWS["muxnet-digits"].build(width=width)


@pytest.mark.parametrize("name", ["ornet-digits", "muxnet-mini"])
def test_float_twin_is_a_residual_relu_network(name: str) -> None:
    row = ROWS[name]
    twin = row.build(twin=True, width=4)
    assert "AddSkip" in repr(twin)
    logits = twin.train()(torch.from_numpy(batch(row, 4)).float())
    assert bool(torch.isfinite(logits).all())
    with pytest.raises(LoweringError, match="a model must be quantized to be lowered"):
        lower(twin, row.input_shape, row.input_interval, name)
