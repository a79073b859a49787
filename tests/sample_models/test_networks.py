"""The networks that come with Gatefold: every row builds, learns in both phases and lowers exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exporters import executors
from runtime.errors import InputError
from runtime.interpreter import Interpreter
from sample_models import digits, images, residual, vgg
from tests.quick import BUILT
from toolchain.compare import compare
from toolchain.cost import report
from toolchain.layers import LoweringError, quantized_layers, set_precision
from toolchain.lowering import lower, reference_model
from toolchain.models import ModelRow

torch.set_num_threads(1)

ROWS = {**digits.MODELS, **images.MODELS, **residual.MODELS, **vgg.MODELS}
LARGE = {**residual.MODELS, **vgg.MODELS}


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
    x = batch(row, 4)
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


@pytest.mark.parametrize("name", [name for name in LARGE if "stl" not in name])
def test_every_executor_gives_the_same_bits(name: str) -> None:
    row = ROWS[name]
    torch.manual_seed(0)
    model = row.build(width=4, levels=5)
    x = batch(row, 2)
    with torch.no_grad():
        model.train()(torch.from_numpy(x).float())
    program = lower(model, row.input_shape, row.input_interval, name)
    table = {key: row for key, row in executors().items() if key not in BUILT}
    found = compare(program, [{"image": x}], table, strict=True)
    assert found.ok
    assert {row.samples for row in found.executors.values()} == {2}


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
    model = ROWS[name].build(levels=5, bits=2, width=4, skip="none")
    assert {layer.levels for layer in quantized_layers(model).values()} == {5}
    assert {m.bits for m in model.modules() if hasattr(m, "bits")} == {2}
    assert "NoSkip" in repr(model)


@pytest.mark.parametrize("width", [0, -5, 1931, 100_000_000])
def test_width_has_a_range(width: int) -> None:
    message = f"^width must be within 1..1930, not {width}; the default is 32$"
    with pytest.raises(InputError, match=message):
        ROWS["muxnet-digits"].build(width=width)


@pytest.mark.parametrize("name", ["ornet-digits", "muxnet-mini", "muxornet-11-cifar", "micro-fashion"])
def test_float_twin_is_a_residual_relu_network(name: str) -> None:
    row = ROWS[name]
    twin = row.build(twin=True, width=4)
    assert "AddSkip" in repr(twin)
    logits = twin.train()(torch.from_numpy(batch(row, 4)).float())
    assert bool(torch.isfinite(logits).all())
    with pytest.raises(LoweringError, match="a model must be quantized to be lowered"):
        lower(twin, row.input_shape, row.input_interval, name)


def weights_of(name: str, **options: object) -> int:
    return sum(layer.weight.numel() for layer in quantized_layers(ROWS[name].build(**options)).values())


def test_vgg_small_has_the_published_weights() -> None:
    assert weights_of("vgg-small") == 4_574_592 + 81_920


@pytest.mark.parametrize("name", [name for name in residual.MODELS if "11" in name])
def test_eleven_layer_networks_have_eleven(name: str) -> None:
    model = ROWS[name].build(width=4)
    layers = quantized_layers(model)
    assert len(layers) == 11
    assert [layer.weight.shape[0] for layer in layers.values()] == [4, 4, 8, 8, 16, 16, 32, 32, 32, 32, 10]


def test_the_eleven_layer_networks_differ_in_their_skips_alone() -> None:
    states = {name: ROWS[f"{name}-cifar"].build(width=4).state_dict() for name in residual.FAMILY}
    shapes = {name: {key: value.shape for key, value in state.items()} for name, state in states.items()}
    assert len({tuple(shape.items()) for shape in shapes.values()}) == 1
    kinds = {"vgg-11": "NoSkip", "ornet-11": "OrSkip", "muxornet-11": "MuxSkip", "addnet-11": "AddSkip"}
    for name, kind in kinds.items():
        assert repr(ROWS[f"{name}-stl"].build(width=4)).count(f"(skip): {kind}") == 5


@pytest.mark.parametrize("name", LARGE)
def test_first_and_last_layers_are_treated_as_asked(name: str) -> None:
    layers = list(
        quantized_layers(ROWS[name].build(width=4, levels=5, first_levels=127, last_levels=7)).values()
    )
    assert [layer.levels for layer in layers] == [127] + [5] * (len(layers) - 2) + [7]


@pytest.mark.parametrize("name", ["vgg-small", "micro-cifar"])
def test_raw_pixels_enter_without_normalization(name: str) -> None:
    kinds = [[type(m).__name__ for m in ROWS[name].build(width=4, normalize=n)] for n in (True, False)]
    assert kinds[0] == ["PixelNorm", *kinds[1]]


@pytest.mark.parametrize("width", [0, 1025])
def test_width_of_the_large_networks_has_a_range(width: int) -> None:
    with pytest.raises(InputError, match=f"^width must be within 1..1024, not {width}$"):
        ROWS["vgg-small"].build(width=width)


@pytest.mark.parametrize("name", ["micro-fashion", "micro-cifar"])
def test_micro_networks_fit_a_microcontroller(name: str) -> None:
    row = ROWS[name]
    torch.manual_seed(0)
    total = report(lower(row.build(), row.input_shape, row.input_interval, name), []).total
    assert total.constants.bytes <= 50 * 1024
    assert total.flash_bytes <= 70 * 1024, "as C for a Cortex-M4"
    assert total.ram_bytes <= 20 * 1024
