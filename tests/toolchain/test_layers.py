"""Layers: what they compute in each phase, their gradients, and the options they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runtime.errors import InputError
from toolchain.layers import (
    SKIPS,
    Activation,
    BatchNorm,
    ConvBlock,
    GlobalSumPool,
    HEQClassifier,
    HEQConv2d,
    HEQLinear,
    MuxSkip,
    OrSkip,
    SkipBlock,
    SumPool2d,
    quantized_layers,
    set_precision,
)
from toolchain.layers.skips import make_skip
from toolchain.quantizers import step_of

torch.set_num_threads(1)


def codes_of(shape: tuple[int, ...], top: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, top + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_convolution_computes_with_integer_codes() -> None:
    layer = HEQConv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, levels=5)
    x = codes_of((2, 4, 9, 9), 255)
    y = layer(x)
    assert layer.codes().dtype == torch.int8
    assert torch.equal(y, F.conv2d(x, layer.codes().float(), None, 2, 1, 2, 2))
    assert torch.equal(y, y.round())


@pytest.mark.parametrize(("levels", "distance"), [(7, 1), (3, 1), (4, 2), (2, 2)])
def test_convolution_in_full_precision_agrees_in_magnitude(levels: int, distance: int) -> None:
    torch.manual_seed(0)
    layer = HEQConv2d(4, 6, 3, levels=levels)
    x = codes_of((2, 4, 9, 9), 1)
    set_precision(layer, "float")
    unrounded = layer.weight * distance / layer.step
    assert torch.allclose(layer(x), F.conv2d(x, unrounded), atol=1e-4)
    layer(x).sum().backward()
    assert layer.step.grad is None
    assert (unrounded - layer.codes()).abs().median() <= distance / 2


def test_step_follows_the_weights_only_when_updated() -> None:
    layer = HEQLinear(50, 20)
    first = float(layer.step)
    layer.weight.data *= 0.5
    assert float(layer.step) == first
    layer.update_step()
    assert float(layer.step) == pytest.approx(first / 2)
    assert layer.histogram().sum() == 1000
    assert layer.histogram().tolist() == pytest.approx([1000 / 3] * 3, abs=25)


def test_the_rule_is_an_option() -> None:
    torch.manual_seed(0)
    layer = HEQLinear(50, 20, rule="twn")
    assert float(layer.step) == pytest.approx(float(1.4 * layer.weight.detach().abs().mean()), rel=1e-6)


@pytest.mark.parametrize("levels", [3, 4])
def test_an_update_with_a_zero_median_shifts_the_latent_weights_before_the_step(levels: int) -> None:
    torch.manual_seed(0)
    layer = HEQLinear(50, 20, levels=levels)
    layer.weight.data = layer.weight.data.abs() + 0.1
    before = layer.weight.detach().clone()
    layer.zero_median = True
    layer.update_step()
    assert torch.allclose(layer.weight, before - before.median(), atol=1e-3)
    assert abs(float(layer.weight.detach().median())) < 1e-3
    assert float(layer.step) == step_of(layer.weight, levels)
    assert layer.histogram().tolist() == pytest.approx([1000 / levels] * levels, rel=0.35)


def test_without_that_an_update_leaves_the_latent_weights_alone() -> None:
    layer = HEQLinear(50, 20)
    layer.weight.data = layer.weight.data.abs() + 0.1
    before = layer.weight.detach().clone()
    layer.update_step()
    assert torch.equal(layer.weight, before)
    assert layer.histogram()[0] == 0


def test_latent_weights_are_clamped_to_the_unit_interval() -> None:
    layer = HEQLinear(2, 1)
    layer.weight.data = torch.tensor([[-3.0, 0.4]])
    layer.clamp_latent()
    assert layer.weight.tolist() == [[-1.0, pytest.approx(0.4)]]


def test_quantized_layers_by_path() -> None:
    model = nn.Sequential(ConvBlock(1, 2), SkipBlock(ConvBlock(2, 2)), nn.Flatten(), HEQClassifier(8, 2))
    layers = quantized_layers(model)
    assert list(layers) == ["0.conv", "1.branch.conv", "3"]
    assert layers["0.conv"].levels == 3


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 127])
def test_a_model_has_the_same_codes_in_float32_and_float64(levels: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(ConvBlock(1, 4, levels=levels), nn.Flatten(), HEQClassifier(256, 10, levels))
    narrow = {path: layer.codes() for path, layer in quantized_layers(model).items()}
    wide = {path: layer.codes() for path, layer in quantized_layers(model.double()).items()}
    assert list(narrow) == ["0.conv", "2"]
    assert all(torch.equal(narrow[path], wide[path]) for path in narrow)


@pytest.mark.parametrize("precision", ["float", "quantized"])
def test_classifier_logits_are_scores_times_one_scale(precision: str) -> None:
    layer = HEQClassifier(12, 5, levels=5)
    set_precision(layer, precision)
    layer.bias.data = torch.linspace(-1, 1, 5)
    x = codes_of((3, 12), 1)
    scores = layer(x) / layer.scale
    assert float(layer.scale.detach()) == pytest.approx(1 / (2 * math.sqrt(12)))
    if precision == "quantized":
        expected = x @ layer.codes().float().T + layer.bias_codes()
        assert torch.equal(scores.round(), expected)
        assert torch.allclose(scores, expected, atol=1e-5)
    else:
        assert torch.allclose(layer(x), x @ (layer.weight / layer.step).T * layer.scale + layer.bias)


def test_classifier_gradients_pass_the_rounding() -> None:
    layer = HEQClassifier(12, 2)
    layer(codes_of((3, 12), 1)).sum().backward()
    assert layer.bias.grad.tolist() == pytest.approx([3.0, 3.0])
    assert layer.log_scale.grad is not None


@pytest.mark.parametrize("shape", [(64, 5), (16, 5, 4, 4)])
def test_batch_norm_is_that_of_torch(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = BatchNorm(5)
    theirs = nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)
    for module in (ours, theirs):
        module.weight.data = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
        module.bias.data = torch.arange(5.0)
    x = torch.randn(shape) * 7 + 3
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert torch.allclose(ours.running_var, theirs.running_var)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)


def test_batch_norm_rounds_alike_for_every_shape() -> None:
    torch.manual_seed(0)
    norm = BatchNorm(3).double().eval()
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        value.uniform_(0.1, 2)
    x = torch.randint(-99, 99, (8, 3, 5, 7)).double()
    rows = x.permute(0, 2, 3, 1).reshape(-1, 3)
    one_by_one = torch.cat([norm(row[None]) for row in rows])
    assert torch.equal(norm(x).permute(0, 2, 3, 1).reshape(-1, 3), one_by_one)


def test_sum_pools_do_not_divide() -> None:
    x = codes_of((2, 3, 6, 6), 255)
    assert torch.equal(GlobalSumPool()(x), x.sum((2, 3)))
    assert torch.equal(SumPool2d(2)(x), F.avg_pool2d(x, 2) * 4)
    assert torch.equal(SumPool2d(3, 1, 1)(x)[:, :, 0, 0], x[:, :, :2, :2].sum((2, 3)))


def test_binary_or_is_the_heaviside_of_the_sum() -> None:
    a = torch.tensor([0.0, 0.0, 1.0, 1.0], requires_grad=True)
    b = torch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    y = OrSkip()(a, b)
    assert y.tolist() == [0, 1, 1, 1]
    y.sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [1, 1, 1, 0]


def test_or_of_wider_codes_is_bitwise() -> None:
    a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = torch.tensor([2.0, 2.0, 1.0])
    y = OrSkip(bits=2)(a, b)
    assert y.tolist() == [3, 2, 3]
    y.sum().backward()
    assert a.grad.tolist() == [1, 0, 0]


def test_or_in_full_precision_is_the_clipped_sum() -> None:
    skip = OrSkip(bits=2)
    set_precision(skip, "float")
    assert skip(torch.tensor([0.25, 2.5]), torch.tensor([0.5, 1.0])).tolist() == [0.75, 3.0]


@pytest.mark.parametrize(
    ("options", "dense"),
    [
        ({}, [False, True, True]),
        ({"threshold": "3/4"}, [False, False, True]),
        ({"threshold": 0.1}, [True, True, True]),
        ({"polarity": "dense-or"}, [True, False, False]),
    ],
)
def test_mux_selects_per_channel(options: dict[str, object], dense: list[bool]) -> None:
    identity = torch.zeros(1, 3, 2, 2)
    identity[0, 0, 0, 0] = identity[0, 1, 0] = identity[0, 2] = 1
    branch = torch.zeros(1, 3, 2, 2)
    branch[:, :, 1, 1] = 1
    y = MuxSkip(**options)(branch, identity)
    for channel, direct in enumerate(dense):
        expected = branch[0, channel] if direct else OrSkip()(branch[0, channel], identity[0, channel])
        assert torch.equal(y[0, channel], expected)


def test_mux_threshold_is_exact_in_fractions() -> None:
    assert MuxSkip(threshold=0.1).bound(10) == 1
    assert MuxSkip(threshold=Fraction(1, 3)).bound(9) == 3
    assert MuxSkip(threshold=Fraction(1, 3)).bound(10) == 4
    assert MuxSkip(bits=2).bound(5) == 8


def test_mux_in_full_precision_uses_the_real_mean() -> None:
    skip = MuxSkip()
    set_precision(skip, "float")
    identity = torch.full((1, 2, 3, 3), 0.49)
    identity[0, 1] = 0.51
    branch = torch.full_like(identity, 0.25)
    y = skip(branch, identity)
    assert y[0, 0].unique().tolist() == [pytest.approx(0.74)]
    assert y[0, 1].unique().tolist() == [0.25]


@pytest.mark.parametrize("skip", SKIPS)
def test_every_skip_passes_gradients_to_the_branch(skip: str) -> None:
    branch = torch.zeros(1, 2, 2, 2, requires_grad=True)
    make_skip(skip, 1)(branch, torch.zeros(1, 2, 2, 2)).sum().backward()
    assert branch.grad.unique().tolist() == [1.0]


def test_relu_is_for_the_float_twin() -> None:
    layer = Activation(kind="relu")
    with pytest.raises(
        InputError, match='relu has no integer codes; use set_precision\\(model, "float"\\)'
    ):
        layer(torch.zeros(1))
    set_precision(layer, "float")
    assert layer(torch.tensor([-1.0, 2.5])).tolist() == [0.0, 2.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HEQLinear(2, 2, levels=66),
            "levels must be odd within 3..127 or even within 2..64, not 66",
        ),
        (
            lambda: HEQConv2d(2, 2, 3, levels=1),
            "levels must be odd within 3..127 or even within 2..64, not 1",
        ),
        (lambda: HEQLinear(2, 2, rule="mean"), "step rule must be one of .*, not 'mean'"),
        (lambda: HEQConv2d(4, 6, 3, groups=4), "groups must divide the channels, not 4 with 4 and 6"),
        (lambda: HEQConv2d(4, 6, 3, groups=0), "groups must divide the channels, not 0 with 4 and 6"),
        (
            lambda: HEQConv2d(0, 4, 3),
            r"weights must have dimensions of at least 1, not \[4, 0, 3, 3\] of HEQConv2d; check the sizes",
        ),
        (
            lambda: HEQConv2d(0, 0, 3, groups=2),
            r"dimensions of at least 1, not \[0, 0, 3, 3\] of HEQConv2d",
        ),
        (lambda: HEQConv2d(1, 4, 0), r"dimensions of at least 1, not \[4, 1, 0, 0\] of HEQConv2d"),
        (lambda: HEQConv2d(1, -4, 3), r"dimensions of at least 1, not \[-4, 1, 3, 3\] of HEQConv2d"),
        (lambda: HEQLinear(4, 0), r"dimensions of at least 1, not \[0, 4\] of HEQLinear; check the sizes"),
        (lambda: HEQClassifier(0, 4), r"dimensions of at least 1, not \[4, 0\] of HEQClassifier"),
        (
            lambda: HEQLinear(2**20, 2**20),
            r"weights may have at most 134217728 elements, not \[1048576, 1048576\] of HEQLinear; use",
        ),
        (
            lambda: HEQClassifier(4, 2, input_max=0),
            "input_max must be at least 1, the largest code of an input, not 0",
        ),
        (lambda: BatchNorm(0), "BatchNorm channels must be within 1..134217728, not 0"),
        (lambda: BatchNorm(10**12), "BatchNorm channels must be within 1..134217728, not 1000000000000"),
        (lambda: Activation(9), "activation bits must be within 1..8, not 9"),
        (lambda: Activation(kind="tanh"), "activation kind must be one of codes, relu, not 'tanh'"),
        (lambda: MuxSkip(threshold=2), "mux threshold must be a fraction within 0..1, not 2"),
        (lambda: MuxSkip(threshold="half"), "mux threshold must be a fraction within 0..1, not 'half'"),
        (lambda: MuxSkip(polarity="up"), "mux polarity must be one of dense-direct, dense-or, not 'up'"),
        (lambda: make_skip("xor"), "skip must be one of or, mux, add, none, not 'xor'"),
        (
            lambda: set_precision(nn.Identity(), "half"),
            "precision must be one of float, quantized, not 'half'",
        ),
    ],
)
def test_option_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
