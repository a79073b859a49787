"""Phases that switch connections: what each phase trains with, and what is there afterwards."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from tests.training_runs import assert_same_run, metrics, weights
from toolchain.config import Recipe, load_recipe, override
from toolchain.data import Dataset
from toolchain.layers import ResidualConnection
from toolchain.layers.precision import PhasedModule
from toolchain.lowering import lower, reference_model
from toolchain.models import model_row
from toolchain.pipeline import lower_run
from toolchain.publish import publish
from toolchain.training import accuracy, load_run, train
from toolchain.training.epoch import TrainingError
from toolchain.training.loop import initial_model
from toolchain.training.plan import enter_phase, final_options

torch.set_num_threads(1)

SWITCHING = {
    "name": "switching",
    "model": "resnet-8-digits",
    "dataset": "digits",
    "threads": 1,
    "options": {"width": 4, "pattern": "1,3", "probability": 0.5, "stream_bits": 6},
    "phases": [
        {"name": name, "epochs": 1, "learning_rate": 0.01, "batch_size": 64} | phase
        for name, phase in {
            "start": {"precision": "float", "connection": "linear"},
            "turn": {"precision": "quantized", "connection": "orthogonal"},
            "back": {"precision": "quantized"},
            "last": {"precision": "quantized", "connection": "orthogonal-global"},
        }.items()
    ],
}
"""Linear, orthogonal in the first and the third block, as the model has it, and orthogonal again."""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.model_validate(SWITCHING)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, digits: Dataset) -> Path:
    """One uninterrupted run. Tests only read it."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    train(recipe, digits, directory)
    return directory


def kinds(model: nn.Module) -> list[str]:
    return [m.kind for m in model.modules() if isinstance(m, ResidualConnection)]


def test_a_phase_trains_with_its_connection_whatever_the_model_was_built_with(
    tmp_path: Path, digits: Dataset
) -> None:
    short = override(
        load_recipe("digits-resnet"),
        [
            "options.width=4",
            "phases.pretrain.epochs=1",
            "phases.qat.epochs=1",
            "phases.pretrain.batch_size=240",
            "phases.qat.batch_size=240",
        ],
    )
    for name, changes in {
        "switched on": ["phases.qat.connection=orthogonal"],
        "switched off before": ["options.connection=orthogonal", "phases.pretrain.connection=linear"],
        "linear": [],
        "orthogonal": ["options.connection=orthogonal"],
    }.items():
        train(override(short, changes), digits, tmp_path / name)
    assert_same_run(tmp_path / "switched on", tmp_path / "switched off before")
    losses = {path.name: [line["loss"] for line in metrics(path)] for path in tmp_path.iterdir()}
    assert losses["switched on"][0] == losses["linear"][0] != losses["orthogonal"][0]
    assert len({losses[name][1] for name in ("switched on", "linear", "orthogonal")}) == 3


def test_entering_a_phase_sets_its_connection_and_its_precision(recipe: Recipe) -> None:
    """A phase without one leaves the connections as the options say."""
    built = override(recipe, ["options.connection=orthogonal"])
    model = initial_model(built)
    found = []
    for phase in built.phases:
        enter_phase(model, phase)
        assert {m.precision for m in model.modules() if isinstance(m, ResidualConnection)} == {
            phase.precision
        }
        found.append(kinds(model))
    pinned = "linear"
    assert found == [
        ["linear", pinned, "linear"],
        ["orthogonal", pinned, "orthogonal"],
        ["orthogonal", pinned, "orthogonal"],
        ["orthogonal-global", pinned, "orthogonal-global"],
    ]


@pytest.mark.parametrize("epoch", [2, 4])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    tmp_path: Path, finished: Path, recipe: Recipe, digits: Dataset, epoch: int
) -> None:
    """Draws of the probability included."""

    def interrupt(event):
        if event.epoch == epoch and event.batch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, tmp_path / "run", progress=interrupt)
    assert len(metrics(tmp_path / "run")) == epoch - 1
    train(recipe, digits, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished)


def test_draws_of_the_probability_depend_on_the_seed_alone(tmp_path: Path, digits: Dataset) -> None:
    """What differs between two seeds is not the start: here both begin with the same weights."""
    short = override(
        load_recipe("digits-resnet"),
        ["options.width=4", "phases.pretrain.epochs=0", "phases.qat.epochs=1", "phases.qat.batch_size=480"],
    )
    start = initial_model(short).state_dict()
    for name, changes in {
        "a": ["options.connection=orthogonal", "options.probability=0.5"],
        "b": ["options.connection=orthogonal", "options.probability=0.5"],
        "always": ["options.connection=orthogonal"],
        "never": [],
    }.items():
        train(override(short, changes), digits, tmp_path / name, start=start)
    found = {name: weights(tmp_path / name)["stem.0.weight"] for name in ("a", "b", "always", "never")}
    assert torch.equal(found["a"], found["b"])
    others = [found[name] for name in ("a", "always", "never")]
    assert not any(torch.equal(one, other) for one in others for other in others if one is not other)


def test_a_loaded_run_has_the_connection_of_its_last_phase_and_lowers_with_it(
    finished: Path, digits: Dataset
) -> None:
    run = load_run(finished)
    assert kinds(run.model) == ["orthogonal-global", "linear", "orthogonal-global"]
    assert accuracy(run.model, digits.test_images, digits.test_labels) == run.result.accuracy
    row = model_row(run.recipe.model)
    program = lower(run.model, row.input_shape, row.input_interval, "switched")
    divisions = [program.types[n.result].shape for n in program.nodes if n.op.name == "RoundDiv"]
    assert divisions == [(1, 1, 1)] * 2
    images = digits.test_images[:64].astype(np.int64)
    reference = reference_model(run.model)
    with torch.no_grad():
        logits = reference(torch.from_numpy(images).double())
    scores = torch.from_numpy(Interpreter(program).run({"image": images})["scores"]).double()
    assert torch.equal(scores * reference[-1].scale.detach(), logits)


def test_the_documented_recipe_switches(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/connections.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "switched.toml").write_text(text)
    documented = load_recipe(tmp_path / "switched.toml")
    assert [phase.connection for phase in documented.phases] == [None, None, "orthogonal"]
    model = initial_model(documented)
    enter_phase(model, documented.phases[-1])
    assert kinds(model) == ["orthogonal", "linear", "linear"]


def test_the_best_epoch_is_one_with_the_connection_of_the_last_phase(
    tmp_path: Path, recipe: Recipe, digits: Dataset
) -> None:
    """Even where an earlier phase reached more."""
    ruined = override(recipe, ["keep=best", "validation=0.2", "phases.last.learning_rate=1.0"])
    result = train(ruined, digits, tmp_path / "run")
    reached = [line["accuracy"] for line in metrics(tmp_path / "run")]
    assert max(reached[:3]) > reached[3]
    assert (result.epoch, result.validation_accuracy) == (4, reached[3])


@pytest.mark.parametrize(
    ("changes", "connection"),
    [
        ([], "orthogonal-global"),
        (["options.connection=orthogonal", "phases.last.epochs=0"], "orthogonal"),
        (["phases.last.epochs=0", "phases.back.epochs=0"], "orthogonal"),
        (["phases.last.connection=linear"], "linear"),
        (
            ["options.connection=linear, quotient,orthogonal"],
            "orthogonal-global,quotient,orthogonal-global",
        ),
        (["options.connection=quotient", "phases.last.epochs=0"], "quotient"),
    ],
)
def test_the_options_of_a_result_have_the_connection_it_ends_with(
    recipe: Recipe, changes: list[str], connection: str
) -> None:
    changed = override(recipe, changes)
    expected = {**model_row(recipe.model).options, **changed.options, "connection": connection}
    assert final_options(changed) == expected


def test_a_model_without_that_option_gets_none(recipe: Recipe) -> None:
    plain = recipe.model_copy(update={"model": "ornet-digits", "options": {"width": 8}})
    assert final_options(plain) == model_row("ornet-digits").options | {"width": 8}


def test_program_and_card_tell_the_connection_of_the_last_phase(
    finished: Path, tmp_path: Path, recipe: Recipe
) -> None:
    assert "connection" not in recipe.options
    assert load_run(finished).result.options["connection"] == "orthogonal-global"
    assert lower_run(finished)[0].metadata["options"]["connection"] == "orthogonal-global"
    publish(finished, tmp_path / "p")
    card = (tmp_path / "p/card.md").read_text()
    assert "| options | connection orthogonal-global, preactivation False," in card
    assert (
        "| phases | start 1 (float, linear), turn 1 (quantized, orthogonal), back 1 (quantized), "
        "last 1 (quantized, orthogonal-global) |"
    ) in card


def test_a_run_ends_as_the_last_phase_that_has_epochs(tmp_path: Path, digits: Dataset) -> None:
    """Even one whose later phases do not fit the model."""
    changes = [
        "options.connection=quotient",
        "options.gate=relu",
        "options.width=4",
        "phases.pretrain.epochs=1",
    ]
    short = override(load_recipe("digits-resnet"), [*changes, "phases.qat.epochs=0"])
    result = train(short, digits, tmp_path / "run")
    model = load_run(tmp_path / "run").model
    assert {m.precision for m in model.modules() if isinstance(m, PhasedModule)} == {"float"}
    assert accuracy(model, digits.test_images, digits.test_labels) == result.accuracy
    assert metrics(tmp_path / "run")[-1]["accuracy"] == result.accuracy
    with pytest.raises(InputError, match="ends in full precision and has no integer program"):
        lower_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"^the quotient gate 'relu' has no integer codes; "):
        train(override(short, ["phases.qat.epochs=1"]), digits, tmp_path / "both")


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", ["quotient", "or", "mux"])
def test_a_phase_that_does_not_fit_the_model_is_told_before_anything_is_written(
    tmp_path: Path, digits: Dataset, connection: str
) -> None:
    wrong = override(
        load_recipe("digits-resnet"), [f"options.connection={connection}", "phases.qat.connection=linear"]
    )
    message = (
        "^phase qat: connection 'linear' needs linear or orthogonal connections, "
        "which model 'resnet-8-digits' does not have$"
    )
    with pytest.raises(InputError, match=message):
        train(wrong, digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("quotient", "must be one of linear, orthogonal, orthogonal-global, not 'quotient'"),
        ("3", "input should be a valid string, not 3"),
    ],
)
def test_an_unknown_connection_in_a_recipe_is_told_in_one_line(value: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--set: phases.qat.connection: {re.escape(message)}$"):
        override(load_recipe("digits-resnet"), [f"phases.qat.connection={value}"])


@pytest.mark.parametrize("connection", ["orthogonal", "quotient"])
@pytest.mark.parametrize("rate", ["1e3", "1e30"])
def test_a_training_that_is_no_longer_finite_ends_in_one_line(
    tmp_path: Path, digits: Dataset, connection: str, rate: str
) -> None:
    wild = override(
        load_recipe("digits-resnet"),
        [
            f"options.connection={connection}",
            "options.width=4",
            "phases.pretrain.epochs=0",
            "phases.qat.epochs=1",
            "optimizer.kind=sgd",
            f"phases.qat.learning_rate={rate}",
        ],
    )
    with pytest.raises(
        TrainingError, match=r"finite, .* in phase 'qat', epoch 1, batch \d+; lower phases\."
    ):
        train(wild, digits, tmp_path / "run")


# --- recipes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits-resnet", "connections-fashion", "connections-cifar"])
@pytest.mark.parametrize("connection", ["linear", "orthogonal", "quotient", "or", "mux"])
def test_recipes_take_any_connection(name: str, connection: str) -> None:
    recipe = override(load_recipe(name), [f"options.connection={connection}"])
    row = model_row(recipe.model)
    assert row.dataset == recipe.dataset
    assert [phase.precision for phase in recipe.phases] == ["float", "quantized"]
    model = initial_model(recipe)
    assert model(torch.zeros(2, *row.input_shape)).shape == (2, 10)


@pytest.mark.parametrize("connection", ["linear", "orthogonal", "quotient", "or", "mux"])
def test_every_connection_learns_digits_in_both_precisions(
    tmp_path: Path, digits: Dataset, connection: str
) -> None:
    size = ["options.width=6", "phases.pretrain.epochs=1", "phases.qat.epochs=1"]
    short = override(load_recipe("digits-resnet"), [f"options.connection={connection}", *size])
    assert train(short, digits, tmp_path / "run").accuracy > 0.8
    assert metrics(tmp_path / "run")[0]["accuracy"] > 0.5, "chance is 10 %"
