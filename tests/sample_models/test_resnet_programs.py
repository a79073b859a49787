"""Residual networks with any connection, trained a little: their programs equal them on every executor."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.session import Session
from runtime.types import Interval
from sample_models.resnet import MODELS
from tests.merging import merged
from tests.quick import COMPILED, NETWORKS, QUICK
from toolchain.layers import LAYERS, STREAMS, set_precision
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)

DIGITS = load_digits()
SMALL = MODELS["resnet-8-digits"]

VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"connection": name} for name in STREAMS},
    "quotient, linear": {"connection": "quotient", "domain": "linear"},
    "quotient, alpha 1.5": {"connection": "quotient", "alpha": 1.5},
    "mixed": {"connection": "linear,quotient,or"},
    "mixed the other way": {"connection": "mux,orthogonal,quotient"},
    "preactivated": {"connection": "linear", "preactivation": True},
    "preactivated orthogonal": {"connection": "orthogonal", "preactivation": True},
    "preactivated global": {"connection": "orthogonal-global", "preactivation": True},
    "now and then": {"connection": "orthogonal", "probability": 0.3},
    "odd": {"connection": "orthogonal", "pattern": "odd"},
    "first half": {"connection": "orthogonal-global", "pattern": "first-half"},
    "chosen": {"connection": "orthogonal", "pattern": "1,3", "probability": 0.5, "preactivation": True},
}
WIDTHS = {(4, 4): tuple(VARIANTS), (8, 8): tuple(VARIANTS), (2, 8): tuple(STREAMS)}
"""Variants by the bits of activations and of streams."""

CASES = [(variant, *widths) for widths, variants in WIDTHS.items() for variant in variants]


def train_a_little(model: nn.Module, images: np.ndarray, steps: int = 2) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for part in np.array_split(images, steps):
        labels = torch.arange(len(part)) % 10
        loss = F.cross_entropy(model(torch.from_numpy(part).float()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def trained(name: str, images: np.ndarray, options: dict[str, Any]) -> tuple[Program, Tensor, Tensor]:
    """The program of a network, the logits of its float64 model, and the scale of its scores."""
    row = MODELS[name]
    torch.manual_seed(0)
    model = row.build(**options)
    train_a_little(model, images[:32])
    program = lower(model, row.input_shape, row.input_interval, name)
    reference = reference_model(model)
    with torch.no_grad():
        logits = reference(torch.from_numpy(images).double())
    return program, logits, reference[-1].scale.detach()


def assert_exact(scores: np.ndarray, logits: Tensor, scale: Tensor, where: str) -> None:
    assert torch.equal(torch.from_numpy(scores).double() * scale, logits), where
    assert len(np.unique(scores)) > 10


def assert_exact_everywhere(
    name: str, images: np.ndarray, names: Iterable[str] = tuple(NETWORKS), **options: Any
) -> None:
    """The float64 model's logits are the program's scores times the scale, on the executors ``names``."""
    program, logits, scale = trained(name, images, options)
    for executor in names:
        out = Session(program, executor, QUICK).run(images)
        assert_exact(out["scores"], logits, scale, executor)


def random_images(name: str, count: int) -> np.ndarray:
    row = MODELS[name]
    return np.random.default_rng(0).integers(0, row.input_interval.hi + 1, (count, *row.input_shape))


def digits_and_noise() -> np.ndarray:
    random = np.random.default_rng(1).integers(0, 17, (8, 1, 8, 8))
    ends = np.stack([np.zeros((1, 8, 8), np.int64), np.full((1, 8, 8), 16)])
    return np.concatenate([DIGITS.images[:32, None].astype(np.int64), random, ends])


@pytest.mark.parametrize(("variant", "bits", "stream_bits"), CASES)
def test_programs_equal_the_model_on_every_executor(variant: str, bits: int, stream_bits: int) -> None:
    options = VARIANTS[variant] | {"bits": bits, "stream_bits": stream_bits}
    names = [name for name in NETWORKS if name not in COMPILED]
    assert_exact_everywhere("resnet-8-digits", digits_and_noise(), names, **options)


@pytest.mark.parametrize("executor", COMPILED)
@pytest.mark.parametrize("widths", WIDTHS)
def test_programs_equal_the_model_on_every_executor_that_compiles(
    widths: tuple[int, int], executor: str
) -> None:
    """All variants of the same widths as one program."""
    images, bits = digits_and_noise(), dict(zip(("bits", "stream_bits"), widths, strict=True))
    made = {name: trained("resnet-8-digits", images, VARIANTS[name] | bits) for name in WIDTHS[widths]}
    together = merged("variants", [program for program, *_ in made.values()])
    out = Session(together, executor, QUICK).run({spec.name: images for spec in together.inputs})
    for number, (name, (_, logits, scale)) in enumerate(made.items()):
        assert_exact(out[f"p{number}_scores"], logits, scale, name)


@pytest.mark.parametrize("connection", ["or", "mux", "linear", "quotient"])
def test_programs_with_binary_activations_equal_the_model(connection: str) -> None:
    names = QUICK if connection == "or" else NETWORKS
    assert_exact_everywhere("resnet-8-digits", digits_and_noise(), names, connection=connection, bits=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet-8", {"connection": "quotient"}),
        ("resnet-14-fashion", {"connection": "orthogonal"}),
        ("resnet-20-digits", {"connection": "mux,linear,quotient", "width": 3}),
        ("resnetv2-18", {"connection": "orthogonal", "width": 2}),
    ],
)
def test_networks_of_every_data_set_equal_their_programs(name: str, options: dict[str, Any]) -> None:
    size = {"width": 4, "stem_stride": 1 if "digits" in name else 4}
    assert_exact_everywhere(name, random_images(name, 32), **size | options)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["float", "quantized"])
def test_gradients_reach_every_parameter(variant: str, precision: str) -> None:
    torch.manual_seed(0)
    model = SMALL.build(**VARIANTS[variant])
    set_precision(model, precision)
    logits = model.train()(torch.from_numpy(DIGITS.images[:64, None]).float())
    F.cross_entropy(logits, torch.from_numpy(DIGITS.target[:64])).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_network_starts_with_logits_of_unit_size(variant: str) -> None:
    """The scale of the classifier fits what the stream is pooled to."""
    torch.manual_seed(0)
    model = SMALL.build(**VARIANTS[variant]).train()
    logits = model(torch.from_numpy(DIGITS.images[:256, None]).float())
    assert 0.1 < math.sqrt(float(logits.detach().square().mean())) < 10


def documented() -> tuple[str, str]:
    """The examples of the documentation: a network of one's own, and a connection of one's own."""
    page = (Path(__file__).parents[2] / "docs/connections.md").read_text()
    network, connection = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return network, connection


def test_the_documented_network_of_ones_own_lowers() -> None:
    names: dict[str, Any] = {}
    exec(documented()[0], names)
    model = names["model"]
    model.train()(torch.from_numpy(digits_and_noise()).float())
    program = lower(model, (1, 8, 8), Interval(0, 16), "own")
    images = digits_and_noise()
    with torch.no_grad():
        logits = reference_model(model)(torch.from_numpy(images).double())
    scores = torch.from_numpy(Interpreter(program).run({"image": images})["scores"]).double()
    assert torch.equal(scores * reference_model(model)[-1].scale.detach(), logits)


@pytest.fixture
def own_connection() -> Iterator[str]:
    """The one that the documentation adds, for the time of a test."""
    _, code = documented()
    tables = (LAYERS, STREAMS)
    before = [list(table) for table in tables]
    exec(code, {})
    (name,) = set(STREAMS) - set(before[1])
    yield name
    for table, rows in zip(tables, before, strict=True):
        for row in set(table) - set(rows):
            del table[row]


@pytest.mark.parametrize("others", ["", ",quotient,linear"])
def test_the_documented_connection_of_ones_own_works(own_connection: str, others: str) -> None:
    assert_exact_everywhere("resnet-8-digits", digits_and_noise(), connection=own_connection + others)
