"""Vision transformers: what they compute, that they learn, and that they lower bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.serialize import dumps, loads
from sample_models.vit import MODELS, PIXEL_STEP
from tests.quick import NETWORKS
from toolchain.compare import compare
from toolchain.config import load_recipe
from toolchain.layers import ResidualConnection, quantized_layers, set_connection, set_precision
from toolchain.lowering import lower, reference_model
from toolchain.models import model_row

torch.set_num_threads(1)

SMALL = {"depth": 2, "width": 12, "heads": 2, "mlp": 2}


def digits(count: int, size: int = 28, channels: int = 1) -> np.ndarray:
    """Real images of the size that a network wants: handwritten digits, enlarged and framed."""
    images = load_digits().images[:count].astype(np.int64) * 15
    edge = (size - 24) // 2
    framed = np.pad(images.repeat(3, 1).repeat(3, 2), ((0, 0), (edge, edge), (edge, edge)))
    return framed[:, None].repeat(channels, 1)


def labels(count: int) -> Tensor:
    return torch.from_numpy(load_digits().target[:count]).long()


def train(model: nn.Module, images: np.ndarray, steps: int, rate: float = 0.01) -> list[float]:
    """Losses of some steps on one batch of digits."""
    x, target = torch.from_numpy(images).float(), labels(len(images))
    optimizer, losses = torch.optim.Adam(model.parameters(), rate), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model.train()(x), target)
        loss.backward()
        optimizer.step()
        for layer in quantized_layers(model).values():
            layer.clamp_latent()
        losses.append(loss.item())
    return losses


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"connection": "orthogonal"},
    {"connection": "orthogonal-global", "activation": "relu"},
    {"quadratic": "1"},
    {"connection": "orthogonal", "quadratic": "1,2", "levels": 15, "last_levels": 3},
    {"bits": 4, "quadratic": "1", "activation": "relu"},
    {"bits": 3, "levels": 64},
)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())) or "default")
def test_program_equals_the_model_on_every_executor(options: dict[str, Any]) -> None:
    row = MODELS["vit-tiny-fashion"]
    torch.manual_seed(0)
    model = row.build(**SMALL, **options)
    real = digits(16)
    train(model, real, steps=3)
    noise = np.random.default_rng(0).integers(0, 256, real.shape)
    images = np.concatenate([real, noise])
    program = lower(model, row.input_shape, row.input_interval, row.name)
    with torch.no_grad():
        reference = reference_model(model)
        logits = reference(torch.from_numpy(images).double())
    out = Interpreter(program).run({"image": images})
    assert torch.equal(torch.from_numpy(out["scores"]).double() * reference[-1].scale.detach(), logits)
    assert np.array_equal(out["class"], logits.argmax(1).numpy())
    assert len(np.unique(out["scores"])) > 100
    assert dumps(loads(dumps(program))) == dumps(program)
    found = compare(program, [{"image": images[14:18]}], NETWORKS, strict=True)
    assert found.ok
    assert {"interpreter", "packed", "onnx", "onnx-modern"} <= set(found.executors)


@pytest.mark.parametrize("name", MODELS)
def test_rows_lower_exactly(name: str) -> None:
    row = MODELS[name]
    assert row.name == name
    assert model_row(name) is row
    torch.manual_seed(0)
    model = row.build(**SMALL)
    images = np.random.default_rng(0).integers(0, 256, (3, *row.input_shape))
    program = lower(model, row.input_shape, row.input_interval, name)
    reference = reference_model(model)
    with torch.no_grad():
        logits = reference(torch.from_numpy(images).double())
    scores = Interpreter(program).run({"image": images})["scores"]
    assert torch.equal(torch.from_numpy(scores).double() * reference[-1].scale.detach(), logits)


def test_values_of_the_large_network_stay_within_46_bits() -> None:
    """At the widths of ViT-S; blocks are alike, so one tells for all."""
    row = MODELS["vit-s-cifar"]
    model = row.build(depth=1, connection="orthogonal")
    program = lower(model, row.input_shape, row.input_interval, row.name)
    wide = {node.op.name for node in program.nodes if node.type.bits > 32}
    assert max(type_.bits for type_ in program.types.values()) <= 46
    assert wide <= {"Requantize", "Sub", "Mul", "ReduceSum", "RoundDiv"}


def plain_vit(model: nn.Module, images: np.ndarray) -> Tensor:
    """The logits of the same weights, in real units and in functions of torch alone."""

    def linear(module: nn.Module, x: Tensor) -> Tensor:
        norm = module.codes.norm
        return F.linear(x, module.layer.weight.flatten(1)) * norm.weight + norm.bias

    def normalized(module: nn.Module, x: Tensor) -> Tensor:
        width, norm = x.shape[-1], module.codes.norm
        return F.layer_norm(x, (width,), norm.weight, norm.bias, (model.position.step / 4) ** 2)

    pixels = model.pixels(torch.from_numpy(images).double()) * PIXEL_STEP
    x = linear(model.embed, F.unfold(pixels, 7, stride=7).transpose(1, 2)) + model.position.table.T
    for block in (model.block1, model.block2):
        half = block.attention
        q, k, v = linear(half.branch.qkv, normalized(half.norm, x)).chunk(3, 2)
        heads = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + linear(half.branch.project, mixed)
        half = block.mlp
        hidden = F.gelu(linear(half.branch.expand, normalized(half.norm, x)))
        x = x + linear(half.branch.project, hidden)
    pooled = normalized(model.norm, x).sum(1) / model.norm.codes.step
    head = model.classifier
    return F.linear(pooled, head.weight / head.step) * head.scale + head.bias


def test_full_precision_is_a_plain_transformer() -> None:
    torch.manual_seed(0)
    model = MODELS["vit-tiny-fashion"].build(**SMALL)
    set_precision(model, "float")
    train(model, digits(8), steps=3)
    model = model.double()
    images = digits(12)
    with torch.no_grad():
        torch.testing.assert_close(model(torch.from_numpy(images).double()), plain_vit(model, images))


@pytest.mark.parametrize("precision", ["float", "quantized"])
@pytest.mark.parametrize("options", [{}, {"connection": "orthogonal", "quadratic": "1"}])
def test_every_parameter_has_a_gradient_and_the_loss_falls(precision: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = MODELS["vit-tiny-fashion"].build(**SMALL, **options)
    set_precision(model, precision)
    losses = train(model, digits(64), steps=25)
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    assert losses[-1] < 0.6 * losses[0]


def test_quantization_of_many_levels_stays_near_full_precision() -> None:
    torch.manual_seed(0)
    model = MODELS["vit-tiny-fashion"].build(**SMALL, levels=127)
    x = torch.from_numpy(digits(64)).float()
    for layer in quantized_layers(model).values():
        layer.rule = "max-abs"
        layer.update_step()
    with torch.no_grad():
        quantized = model.eval()(x)
        set_precision(model, "float")
        real = model(x)
    assert float((quantized - real).abs().max()) < 0.1 * float(real.std()) + 0.05


def test_the_state_has_every_weight_once_and_restores_the_codes() -> None:
    torch.manual_seed(0)
    models = [MODELS["vit-tiny-fashion"].build(**SMALL) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.from_numpy(digits(4)).float()
    with torch.no_grad():
        assert torch.equal(models[0].eval()(x), models[1].eval()(x))
    shapes = [p.shape for p in models[0].parameters()]
    assert len(shapes) == len([n for n in models[0].state_dict() if not n.endswith(".step")])


def test_vit_s_has_the_weights_of_its_shape() -> None:
    """3 * 4**2 * 384 of patches, 12 * 384**2 of each block, 3840 of the classifier; then what is small."""
    model = MODELS["vit-s-cifar"].build()
    weights = sum(layer.weight.numel() for layer in quantized_layers(model).values())
    assert weights == 18_432 + 6 * 1_769_472 + 3_840
    assert sum(p.numel() for p in model.parameters()) == 10_715_915


def test_options_reach_the_layers() -> None:
    model = MODELS["vit-tiny-cifar"].build(
        **SMALL, levels=5, first_levels=7, last_levels=9, bits=4, connection="orthogonal", quadratic="1"
    )
    layers = quantized_layers(model)
    assert [layer.levels for layer in layers.values()] == [7, *[5] * 8, 9]
    assert {m.bits for m in model.modules() if hasattr(m, "bits")} == {4}
    assert {m.kind for m in model.modules() if isinstance(m, ResidualConnection)} == {"orthogonal"}
    assert repr(model).count("QuadraticCodes") == len(layers) - 1
    set_connection(model, "linear")
    assert {m.kind for m in model.modules() if isinstance(m, ResidualConnection)} == {"linear"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be within 1..64, not 0"),
        ({"width": 1025}, "width must be within 2..1024, not 1025"),
        ({"mlp": 9}, "mlp must be within 1..8, not 9"),
        ({"bits": 1}, "bits must be within 2..8, not 1"),
        ({"bits": 9}, "bits must be within 2..8, not 9"),
        ({"heads": 5}, "heads must divide the width, not 5 with a width of 48"),
        ({"heads": 0}, "heads must divide the width, not 0 with a width of 48"),
        ({"activation": "tanh"}, "activation must be one of gelu, relu, not 'tanh'"),
        ({"quadratic": "1,x"}, "quadratic must be shifts such as '1' or '1,2', not '1,x'"),
        (
            {"quadratic": "0"},
            "quadratic: shifts must be one or more distinct integers, at least 1 and below the 48 "
            "channels, not [0]; the paper's are (1,)",
        ),
        (
            {"connection": "or"},
            "a residual connection must be one of linear, orthogonal, orthogonal-global, not 'or'",
        ),
    ],
)
def test_options_have_rules(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        MODELS["vit-tiny-fashion"].build(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["fashion-vit", "cifar-vit-s"])
def test_recipes_pretrain_in_full_precision_and_end_quantized(name: str) -> None:
    recipe = load_recipe(name)
    row = model_row(recipe.model)
    assert row.dataset == recipe.dataset
    assert [phase.precision for phase in recipe.phases] == ["float", "quantized"]
    assert set(recipe.options) <= set(row.options)
