"""Link 1 of the exactness chain: the float64 model and its program agree bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.types import Interval
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
    SkipBlock,
    SumPool2d,
)
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)

DIGITS = load_digits().images.astype(np.int64)[:, None]


def randomize(model: nn.Module, seed: int, images: np.ndarray) -> nn.Module:
    """Batch norms with slopes of both signs and zero, and statistics near those of ``images``."""
    g = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data = torch.randn(norm.channels, generator=g)
        norm.weight.data[::5] = 0
        norm.bias.data = torch.randn(norm.channels, generator=g)
    with torch.no_grad():
        model.train()(torch.from_numpy(images).float())
    for norm in norms:
        norm.running_var *= 0.5 + torch.rand(norm.channels, generator=g)
    return model


def network(skip: str, levels: int, bits: int, pool_first: bool) -> nn.Module:
    """A small classifier on digits with every kind of layer around one skip block."""
    inner = [HEQConv2d(8, 8, 3, padding=1, levels=levels), BatchNorm(8)]
    inner.insert(1 if pool_first else 2, nn.MaxPool2d(2))
    return nn.Sequential(
        ConvBlock(1, 8, levels=levels, bits=bits),
        SkipBlock(ConvBlock(8, 8, levels=levels, bits=bits), skip, bits),
        *inner,
        Activation(bits),
        nn.Flatten(),
        HEQClassifier(128, 10, levels, input_max=2**bits - 1),
    )


def assert_exact(model: nn.Module, program: Program, images: np.ndarray) -> None:
    """Logits are the scores times the scale, bit for bit, and the classes agree."""
    reference = reference_model(model)
    with torch.no_grad():
        logits = reference(torch.from_numpy(images).double())
        scale = reference[-1].scale
    out = Interpreter(program).run({"image": images})
    assert len(np.unique(out["scores"])) > 10
    assert torch.equal(torch.from_numpy(out["scores"]).double() * scale, logits)
    assert np.array_equal(out["class"], logits.argmax(1).numpy())


def random_images(seed: int, shape: tuple[int, ...] = (16, 1, 8, 8), top: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, shape)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("levels", [3, 5, 7, 127])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_program_equals_the_float64_model(skip: str, levels: int, bits: int) -> None:
    for pool_first in (False, True):
        torch.manual_seed(levels + bits)
        model = network(skip, levels, bits, pool_first)
        images = np.concatenate([random_images(levels), DIGITS[:32]])
        randomize(model, seed=bits, images=images)
        program = lower(model, (1, 8, 8), Interval(0, 16), "net")
        assert program.outputs == ("scores", "class")
        assert_exact(model, program, images)


@pytest.mark.parametrize("skip", SKIPS)
def test_exact_on_all_digits_with_trained_statistics(skip: str) -> None:
    torch.manual_seed(0)
    model = randomize(network(skip, 3, 1, pool_first=True), seed=0, images=DIGITS[:256])
    assert_exact(model, lower(model, (1, 8, 8), Interval(0, 16), "net"), DIGITS)


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_exact_with_untrained_batch_norms(bits: int) -> None:
    torch.manual_seed(bits)
    model = network("or", 3, bits, pool_first=True)
    assert_exact(model, lower(model, (1, 8, 8), Interval(0, 16), "net"), random_images(bits))


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("slope", [0.5, -0.5, 1 / 14])
def test_exact_where_every_sum_is_a_tie(bits: int, slope: float) -> None:
    """Sums of pixels through a slope that puts many of them exactly between two codes."""
    model = nn.Sequential(HEQConv2d(1, 4, 3), BatchNorm(4, eps=0.0), Activation(bits))
    model[1].weight.data.fill_(slope)
    model[1].bias.data = torch.tensor([0.0, 0.5, -0.5, 1.0])
    program = lower(model, (1, 8, 8), Interval(0, 16), "ties")
    images = random_images(0)
    with torch.no_grad():
        expected = reference_model(model)(torch.from_numpy(images).double())
    (out,) = Interpreter(program).run({"image": images}).values()
    assert np.array_equal(out, expected.numpy())


def assert_same_codes(model: nn.Module, images: np.ndarray, interval: Interval) -> Program:
    """The program's only output equals the float64 model's."""
    program = lower(model, images.shape[1:], interval, "net")
    with torch.no_grad():
        expected = reference_model(model)(torch.from_numpy(images).double())
    (out,) = Interpreter(program).run({"image": images}).values()
    assert len(np.unique(out)) > 1
    assert np.array_equal(out, expected.numpy())
    return program


def test_batch_norm_before_max_pool_keeps_either_slope() -> None:
    """A negative slope goes into the weights; only a norm after the pool needs a complement."""
    before = [HEQConv2d(1, 12, 3, levels=5), BatchNorm(12), nn.MaxPool2d(3, 2, 1)]
    images = random_images(1)
    for after, ops in ([], []), ([BatchNorm(12)], ["Lookup"]):
        model = nn.Sequential(*before, *after, Activation(2))
        randomize(model, seed=3, images=images)
        program = assert_same_codes(model, images, Interval(0, 16))
        assert [node.op.name for node in program.nodes] == ["Conv2d", "Threshold", "MaxPool", *ops]


def test_activation_without_batch_norm_and_without_convolution() -> None:
    program = assert_same_codes(nn.Sequential(Activation(1)), random_images(0), Interval(0, 16))
    assert program.nodes[0].op.thresholds.tolist() == [[1]]


def test_a_single_layer_is_a_model() -> None:
    images = random_images(0, (4, 64))
    program = assert_same_codes(HEQLinear(64, 5, levels=9), images, Interval(0, 16))
    assert program.nodes[0].layer == "0"


def test_dense_layers_and_global_pooling() -> None:
    model = nn.Sequential(
        ConvBlock(1, 6, bits=2),
        GlobalSumPool(),
        HEQLinear(6, 9),
        BatchNorm(9),
        Activation(3),
        HEQLinear(9, 4),
    )
    images = random_images(2)
    assert_same_codes(randomize(model, seed=1, images=images), images, Interval(0, 16))


@pytest.mark.parametrize("polarity", ["dense-direct", "dense-or"])
@pytest.mark.parametrize("threshold", ["0", "1/3", "0.9", "1"])
def test_multiplexer_options(polarity: str, threshold: str) -> None:
    class Muxed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ConvBlock(1, 16, bits=2)
            self.second = ConvBlock(16, 16, bits=2)
            self.skip = MuxSkip(2, threshold, polarity)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.skip(self.second(x), x)

    images = random_images(3)
    assert_same_codes(randomize(Muxed(), seed=5, images=images), images, Interval(0, 16))


class Functional(nn.Module):
    """Every supported function and method between modules, and user modules inside modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBlock(1, 4), nn.Identity(), nn.Dropout(0.5))
        self.sides = nn.ModuleList([ConvBlock(4, 4, bits=b) for b in (1, 2)])
        self.pool = SumPool2d(2)
        self.dense = HEQLinear(128, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        total = torch.add(self.sides[0](x) + x, self.sides[1](x)).add(x)
        total += x
        x = self.pool(torch.cat([total, x], dim=1))
        x = x.reshape(x.shape[0], 8, -1).view(x.size(0), x.size()[1], 4, 4)
        x = torch.reshape(torch.flatten(x, 1), (-1, 128)).flatten(1)
        return self.dense(x)


def test_functions_between_modules() -> None:
    images = random_images(4)
    program = assert_same_codes(randomize(Functional(), seed=2, images=images), images, Interval(0, 16))
    assert {"add_add", "cat_concat"} <= {node.result for node in program.nodes}


def test_values_carry_their_layers_and_metadata() -> None:
    model = network("mux", 3, 1, pool_first=True)
    program = lower(model, (1, 8, 8), Interval(0, 16), "net", {"model": "mine"})
    assert program.metadata["model"] == "mine"
    assert program.inputs[0].type.shape == (1, 8, 8)
    layers = {node.op.name: node.layer for node in program.nodes}
    assert layers["Select"] == "1.skip"
    assert layers["ArgMax"] == layers["Dense"] == "7"
    assert program.types["scores"].shape == (10,)


def test_the_model_is_not_changed() -> None:
    model = network("or", 3, 1, pool_first=True).train()
    lower(model, (1, 8, 8), Interval(0, 16), "net")
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
