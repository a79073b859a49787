"""The parts of the training loop: schedules, epoch plans, steps, warnings, recipes."""

import pytest
import torch
from torch import nn

from runtime.errors import InputError
from toolchain.config import Optimizer, Phase, Recipe, load_recipe, shipped_recipes
from toolchain.data import DATASETS, load
from toolchain.layers import HEQClassifier, HEQConv2d, HEQLinear, quantized_layers, set_precision
from toolchain.models import model_row
from toolchain.training import health, initial_model, train
from toolchain.training.epoch import Trainer
from toolchain.training.health import LayerHealth, find_warnings, layer_health, oscillates
from toolchain.training.loop import check_recipe
from toolchain.training.plan import plan_epochs, seed_everything
from toolchain.training.progress import silent
from toolchain.training.schedule import learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [2.0, 2.0, 2.0, 2.0]),
        ("cosine", [2.0, 1.7071, 1.0, 0.2929]),
        ("step", [2.0, 2.0, 0.2, 0.02]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule, rates):
    phase = Phase(
        name="qat", epochs=4, precision="quantized", learning_rate=2.0, batch_size=2, schedule=schedule
    )
    assert [learning_rate(phase, done) for done in (0, 0.25, 0.5, 0.75)] == pytest.approx(rates, abs=1e-4)


def test_the_milestones_of_the_step_schedule_are_shares_of_the_phase():
    phase = Phase(
        name="qat",
        epochs=10,
        precision="quantized",
        learning_rate=1.0,
        batch_size=2,
        schedule="step",
        milestones=(0.1, 0.6, 0.9),
    )
    rates = [learning_rate(phase, done) for done in (0, 0.0999, 0.1, 0.59, 0.6, 0.89, 0.9, 0.999)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_decay_of_the_step_schedule_can_be_chosen():
    phase = Phase(
        name="train",
        epochs=5,
        precision="float",
        learning_rate=1.0,
        batch_size=2,
        schedule="step",
        milestones=(0.4, 0.6),
        decay=0.2,
    )
    assert [learning_rate(phase, done) for done in (0.39, 0.4, 0.6)] == pytest.approx([1, 0.2, 0.04])


@pytest.mark.parametrize(("kind", "after"), [("sgd", 0.95), ("adam", 0.9), ("adamw", 0.95)])
def test_weight_decay_is_what_the_optimizer_says(kind, after):
    """Without a gradient: SGD and AdamW shrink a weight by rate times decay, Adam takes a whole step."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = make_optimizer(Optimizer(kind=kind, weight_decay=0.5), model, 0.1)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert model.weight.item() == pytest.approx(after, abs=1e-6)


def test_long_gradients_are_scaled_down():
    """With SGD a step is the rate times the gradient, so its length tells that of the gradient."""
    lengths = {}
    for max_norm in (0.0, 1e-3):
        options = Optimizer(kind="sgd", momentum=0.0, max_norm=max_norm)
        chosen = recipe(optimizer=options.model_dump())
        model = initial_model(chosen)
        set_precision(model, "float")
        before = [p.detach().clone() for p in model.parameters()]
        trainer = Trainer(chosen, None, model, model, None, silent)
        pixels, labels = torch.rand(8, 1, 8, 8) * 16, torch.arange(8)
        trainer.step(pixels, labels, make_optimizer(options, model, 1.0), [])
        moves = [(p.detach() - b).norm() for p, b in zip(model.parameters(), before, strict=True)]
        lengths[max_norm] = float(torch.stack(moves).norm())
    assert lengths[0.0] > 0.1
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)


def recipe(**changes):
    phases = [
        {"name": "pretrain", "epochs": 2, "precision": "float", "learning_rate": 0.01, "batch_size": 64},
        {"name": "qat", "epochs": 3, "precision": "quantized", "learning_rate": 0.01, "batch_size": 64},
        {
            "name": "finetune",
            "epochs": 1,
            "precision": "quantized",
            "learning_rate": 0.01,
            "batch_size": 64,
        },
    ]
    base = {"name": "tiny", "model": "ornet-digits", "dataset": "digits", "options": {"width": 4}}
    return Recipe.model_validate(base | {"phases": phases, "threads": 1} | changes)


def test_the_plan_lists_every_epoch_and_counts_updates_over_quantized_epochs():
    plan = plan_epochs(recipe(step={"every": 2}))
    assert [epoch.number for epoch in plan] == [0, 1, 2, 3, 4, 5]
    assert [epoch.quantized for epoch in plan] == [0, 0, 0, 1, 2, 3]
    assert [epoch.index for epoch in plan] == [0, 1, 0, 1, 2, 0]
    assert [epoch.phase.name for epoch in plan] == ["pretrain"] * 2 + ["qat"] * 3 + ["finetune"]
    assert [epoch.updates_step for epoch in plan] == [False, False, True, False, True, False]


def test_every_epoch_draws_from_its_own_stream():
    draws = [torch.randint(0, 1 << 30, (4,), generator=seed_everything(7, stream)) for stream in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def steps_of(recipe_, digits, directory):
    seen = []
    train(recipe_, digits, directory, progress=lambda e: seen.append(e.metrics) if e.metrics else None)
    return [line["layers"]["stem.conv"]["step"] for line in seen if line["layers"]]


def test_steps_move_with_the_latent_weights_or_stay_as_the_recipe_says(tmp_path):
    digits = load("digits")
    assert len(set(steps_of(recipe(step={"every": "never"}), digits, tmp_path / "never"))) == 1
    assert len(set(steps_of(recipe(step={"every": "epoch"}), digits, tmp_path / "epoch"))) == 4
    by_batch = steps_of(recipe(step={"every": "batch"}), digits, tmp_path / "batch")
    assert len(set(by_batch)) == 4


@pytest.mark.parametrize(("every", "updates"), [("batch", 4 * 22), ("epoch", 4)])
def test_layers_come_down_to_their_density(tmp_path, monkeypatch, every, updates):
    """Every update of the quantized epochs asks for fewer weights, the last one for the layer's share."""
    asked = []
    update_step = HEQClassifier.update_step

    def noted(layer, density=None):
        asked.append(density)
        update_step(layer, density)

    monkeypatch.setattr(HEQClassifier, "update_step", noted)
    step = {"every": every, "ramp": 1.0, "initial_density": 0.8}
    sparse = {"depth": 1, "density": 0.05, "width": 8}
    train(recipe(model="compact-digits", options=sparse, step=step), load("digits"), tmp_path)
    asked = [density for density in asked if density is not None]
    assert len(asked) == updates
    assert asked == sorted(asked, reverse=True)
    assert asked[0] == pytest.approx(0.05 + 0.75 * (1 - 1 / updates) ** 3)
    assert asked[-1] == 0.05


def test_a_ramp_needs_layers_of_a_given_density():
    chosen = recipe(step={"ramp": 0.5})
    with pytest.raises(InputError) as caught:
        check_recipe(initial_model(chosen), chosen)
    assert str(caught.value) == (
        "step.ramp needs layers of a given density, which model 'ornet-digits' does not have"
    )


def model_with_a_full_bin():
    model = nn.Sequential(HEQConv2d(3, 8, 3), nn.Flatten(), HEQLinear(8, 4))
    model[0].weight.data.uniform_(-1, 1)
    model[0].step.fill_(1.5)  # thresholds at +-0.75: three quarters of the codes are 0
    return model


def test_a_layer_with_most_codes_in_one_bin_is_reported_once():
    torch.manual_seed(0)
    layers = layer_health(model_with_a_full_bin())
    assert layers["0"].fullest > 0.6
    assert layers["2"].fullest < 0.45
    warnings = find_warnings(layers, [])
    assert warnings == ["layer 0: more than half of the codes are in one bin; its step is off"]
    line = {"layers": {path: layer.to_json() for path, layer in layers.items()}, "warnings": warnings}
    assert find_warnings(layers, [line]) == []


@pytest.mark.parametrize(
    ("histogram", "warning"),
    [
        ((2, 2), None),
        ((51, 49), None),
        ((3, 1), None),
        (
            (1, 4),
            "more than three quarters of the codes have one sign; step.zero_median=true balances them",
        ),
        ((1, 2, 1), None),
        ((1, 3, 1), "more than half of the codes are in one bin; its step is off"),
        ((1, 1, 3, 0), "more than half of the codes are in one bin; its step is off"),
    ],
)
def test_how_full_a_bin_may_be_depends_on_whether_there_are_two(histogram, warning):
    found = find_warnings({"a": LayerHealth(1.0, histogram)}, [])
    assert found == ([f"layer a: {warning}"] if warning else [])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([1, 2, 1, 2, 1], True),
        ([5, 1, 1.2, 1, 1.2, 1], True),
        ([1, 2, 1, 2], False),
        ([1, 1.01, 1, 1.01, 1], False),
        ([1, 2, 3, 4, 5], False),
        ([1, 2, 1, 2, 3], False),
    ],
)
def test_an_oscillating_step_is_recognized(steps, expected):
    assert oscillates(steps) is expected


def test_an_oscillating_step_is_reported_with_its_layer():
    history = [{"layers": {"a": {"step": step}}, "warnings": []} for step in (1.0, 2.0, 1.0, 2.0)]
    layer = LayerHealth(step=1.0, histogram=(3, 3, 3))
    assert find_warnings({"a": layer}, history) == [
        "layer a: the step oscillates; update it less often or lower the learning rate"
    ]


def test_warnings_reach_the_listener_and_the_metrics_once_per_phase(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "FULL_BIN_SHARE", 0.3)  # even a perfect ternary histogram is above
    events = []
    train(recipe(), load("digits"), tmp_path / "run", progress=events.append)
    layers = len(quantized_layers(model_row("ornet-digits").build(width=4)))
    messages = [(event.phase, event.message) for event in events if event.message]
    assert len(messages) == len(set(messages)) == 2 * layers
    lines = [event.metrics for event in events if event.metrics]
    assert [len(line["warnings"]) for line in lines] == [0, 0, layers, 0, 0, layers]


def test_progress_counts_batches_and_epochs(tmp_path):
    events = []
    train(recipe(), load("digits"), tmp_path / "run", progress=events.append)
    first = [event for event in events if event.epoch == 1]
    assert [event.batch for event in first if not event.metrics] == list(range(1, 1438 // 64 + 1))
    assert {(event.epochs, event.batches) for event in first if not event.metrics} == {(6, 22)}
    assert [event.epoch for event in events if event.metrics] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_fits_its_model_and_data_set(name):
    shipped = load_recipe(name)
    row = model_row(shipped.model)
    narrow = {"width": 4, "heads": 2}  # any width fits, and is built faster
    narrow = {key: value for key, value in narrow.items() if key in row.options}
    row.build(**shipped.options | narrow)
    assert shipped.dataset == row.dataset
    assert shipped.dataset in DATASETS
