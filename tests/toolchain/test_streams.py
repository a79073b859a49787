"""What training tells of quotient streams: dead features, exploding ones, and nothing of healthy ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sample_models.resnet import MODELS
from tests.training_runs import metrics
from toolchain.config import Recipe, load_recipe, override
from toolchain.data import Dataset
from toolchain.layers import QuotientConnection, set_precision
from toolchain.training import train
from toolchain.training.streams import StreamHealth, stream_health, stream_warnings

torch.set_num_threads(1)

DEAD = (
    "stream {}: more than half of its features are at 0 or the smallest code, where products stay; "
    "use the gate q, or a lower learning rate"
)
EXPLODED = "stream {}: features grow without bound, as products do; use the gate q, or a smaller alpha"
HEALTHY = StreamHealth(stuck=0.3, largest=12.0)


def recipe(*assignments: str) -> Recipe:
    """Two epochs in full precision of a network of 20 layers with quotient connections."""
    return override(
        load_recipe("digits-resnet"),
        [
            "model=resnet-20-digits",
            "options.connection=quotient",
            "phases.pretrain.epochs=2",
            "phases.qat.epochs=0",
            *assignments,
        ],
    )


# --- a training that goes well, and one that cannot ------------------------------------------------------


def test_a_rectifier_in_place_of_the_gate_fails_to_train_and_training_says_why(
    tmp_path: Path, digits: Dataset
) -> None:
    """The paper's ablation: chance is 10 %."""
    rectified = train(recipe("options.gate=relu", "phases.qat.precision=float"), digits, tmp_path / "relu")
    assert rectified.accuracy < 0.3
    first, second = metrics(tmp_path / "relu")
    dead, exploded = first["warnings"]
    assert dead in [DEAD.format(path) for path in first["streams"]]
    assert exploded in [EXPLODED.format(path) for path in first["streams"]]
    assert second["warnings"] == [], "each failure is told once in a phase"
    deepest = first["streams"]["stage3.2.connection"]
    assert deepest["stuck"] > 0.5
    assert deepest["largest"] is None or deepest["largest"] > 1e6
    for line in (tmp_path / "relu" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN and Infinity are no JSON


@pytest.mark.parametrize("domain", ["log", "linear"])
def test_the_gate_of_the_paper_trains_without_a_warning(
    tmp_path: Path, digits: Dataset, domain: str
) -> None:
    """In full precision and with codes."""
    good = recipe(f"options.domain={domain}", "phases.pretrain.epochs=1", "phases.qat.epochs=1")
    assert train(good, digits, tmp_path / "q").accuracy > 0.8
    for line in metrics(tmp_path / "q"):
        assert line["warnings"] == []
        assert list(line["streams"]) == [f"stage{s}.{b}.connection" for s in (1, 2, 3) for b in range(3)]
        assert all(0 <= stream["stuck"] < 0.5 for stream in line["streams"].values())
        assert all(1 < stream["largest"] < 2.0**4 for stream in line["streams"].values())


def test_other_connections_have_no_quotient_streams(tmp_path: Path, digits: Dataset) -> None:
    plain = recipe("model=resnet-8-digits", "options.connection=orthogonal", "phases.pretrain.epochs=1")
    train(plain, digits, tmp_path / "run")
    assert [line["streams"] for line in metrics(tmp_path / "run")] == [{}]


# --- the state of a stream -------------------------------------------------------------------------------


def pushed(towards: float, precision: str = "quantized", **options: Any) -> nn.Module:
    """A network whose gates are all at one end: their norms have this bias and no slope."""
    torch.manual_seed(0)
    model = MODELS["resnet-8-digits"].build(connection="quotient", **options)
    set_precision(model, precision)
    for block in (model.stage1[0], model.stage2[0], model.stage3[0]):
        norm = block.branch[3].norm
        nn.init.zeros_(norm.weight)
        nn.init.constant_(norm.bias, towards)
    return model


PIXELS = torch.randint(0, 17, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("domain", ["log", "linear"])
@pytest.mark.parametrize("stream_bits", [4, 8])
def test_a_stream_at_its_smallest_code_is_dead(domain: str, stream_bits: int) -> None:
    model = pushed(-9.0, domain=domain, stream_bits=stream_bits)
    found = stream_health(model, PIXELS)
    assert list(found) == ["stage1.0.connection", "stage2.0.connection", "stage3.0.connection"]
    assert {health.stuck for health in found.values()} == {1.0}
    smallest = 1 / model.stage1[0].connection.scale.unit
    assert {health.largest for health in found.values()} == {smallest}
    assert stream_warnings(found, []) == [DEAD.format("stage1.0.connection")]


@pytest.mark.parametrize("domain", ["log", "linear"])
def test_a_stream_at_its_largest_code_is_told_in_its_size_alone(domain: str) -> None:
    """Codes are bounded, so they cannot explode."""
    found = stream_health(pushed(9.0, domain=domain, alpha=16.0), PIXELS)
    largest = 2 ** (127 / 32) if domain == "log" else 255 / 16
    assert [health.largest for health in found.values()] == pytest.approx([largest] * 3)
    assert {health.stuck for health in found.values()} == {0.0}
    assert stream_warnings(found, []) == []


def test_real_streams_are_measured_in_multiples_of_one() -> None:
    """With gates of 1 at every connection, a stream is what its entry gave."""
    model = pushed(0.0, "float")
    model.stem[1][0].norm.momentum = 1.0
    model.train()(PIXELS)
    found = stream_health(model.eval(), PIXELS)
    with torch.no_grad():
        entered = model.stem(PIXELS)
    assert found["stage1.0.connection"].largest == pytest.approx(float(entered.max()) / 16)
    assert found["stage1.0.connection"].stuck == 0
    assert stream_health(pushed(-60.0, "float"), PIXELS)["stage1.0.connection"].stuck == 1


@pytest.mark.parametrize("training", [False, True])
def test_looking_leaves_the_model_as_it_was(training: bool) -> None:
    model = pushed(0.0).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream_health(model, PIXELS)
    assert model.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    connections = [m for m in model.modules() if isinstance(m, QuotientConnection)]
    assert len(connections) == 3
    assert not any(m._forward_hooks for m in connections)


# --- what is told, and how often -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "messages"),
    [
        (HEALTHY, []),
        (StreamHealth(0.5, 9999.0), []),
        (StreamHealth(0.501, 12.0), [DEAD]),
        (StreamHealth(0.0, 1e4), [EXPLODED]),
        (StreamHealth(0.0, math.inf), [EXPLODED]),
        (StreamHealth(0.0, math.nan), [EXPLODED]),
        (StreamHealth(0.9, 1e9), [DEAD, EXPLODED]),
    ],
)
def test_only_failures_are_told(health: StreamHealth, messages: list[str]) -> None:
    found = stream_warnings({"a": HEALTHY, "b": health, "c": health}, [])
    assert found == [message.format("b") for message in messages]


def test_a_failure_is_told_once_in_a_phase_whichever_stream_is_the_first() -> None:
    dead, exploded = StreamHealth(0.9, 1.0), StreamHealth(0.0, 1e9)
    history = [{"warnings": ["layer stem: something else"]}, {"warnings": [DEAD.format("b")]}]
    assert stream_warnings({"a": HEALTHY, "b": dead}, history) == []
    assert stream_warnings({"a": dead, "b": dead}, history) == []
    assert stream_warnings({"a": dead, "b": exploded}, history) == [EXPLODED.format("b")]
    assert stream_warnings({"a": dead, "b": exploded}, history[:1]) == [
        DEAD.format("a"),
        EXPLODED.format("b"),
    ]


def test_lines_of_metrics_are_rounded_and_hold_null_for_what_overflowed() -> None:
    assert StreamHealth(1 / 3, 12345.678).to_json() == {"stuck": 0.3333, "largest": 12350.0}
    for value in (math.inf, math.nan):
        assert StreamHealth(0.0, value).to_json() == {"stuck": 0.0, "largest": None}
