"""Training that starts with given weights and masks, and training that stops early."""

import math
import re

import pytest
import torch

from runtime.errors import InputError
from tests.training_runs import FINISHED, assert_same_run, copy_run, metrics, weights
from toolchain.config import Recipe, override
from toolchain.data import validation_split
from toolchain.layers import prunable_layers
from toolchain.pruning.magnitude import prune
from toolchain.training import accuracy, initial_model, load_run, train
from toolchain.training.evaluate import tally

torch.set_num_threads(1)

RECIPE = {
    "name": "tiny",
    "model": "ornet-digits",
    "options": {"width": 8},
    "dataset": "digits",
    "threads": 1,
    "phases": [
        {"name": "pretrain", "epochs": 1, "precision": "float", "learning_rate": 0.01, "batch_size": 128},
        {"name": "qat", "epochs": 2, "precision": "quantized", "learning_rate": 0.01, "batch_size": 128},
    ],
}


@pytest.fixture(scope="module")
def recipe():
    return Recipe.model_validate(RECIPE)


@pytest.fixture(scope="module")
def pruned(recipe):
    """The recipe's network, initial weights of another seed, half of them pruned: its state."""
    model = initial_model(override(recipe, ["seed=8"]))
    prune(model, 0.5, "weight")
    return model.state_dict()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe, digits, pruned):
    directory = tmp_path_factory.mktemp("finished") / "run"
    train(recipe, digits, directory, start=pruned)
    return directory


def masks(state):
    return {name: tensor for name, tensor in state.items() if name.endswith(".mask")}


def test_pruned_weights_stay_zero_and_masks_are_part_of_the_run(finished, pruned, digits):
    state = weights(finished)
    assert len(masks(state)) == len(prunable_layers(load_run(finished).model)) > 2
    for name, mask in masks(state).items():
        assert torch.equal(mask, pruned[name])
        weight = state[name.replace(".mask", ".weight")]
        assert not weight[~mask].any()
        assert not torch.equal(weight, pruned[name.replace(".mask", ".weight")])
    run = load_run(finished)
    assert accuracy(run.model, digits.test_images, digits.test_labels) == run.result.accuracy
    assert sorted(path.name for path in finished.iterdir()) == sorted([*FINISHED, "start.json"])


def test_a_start_is_the_whole_initial_state(tmp_path, recipe, digits):
    own = initial_model(recipe).state_dict()
    train(recipe, digits, tmp_path / "seeded")
    train(recipe, digits, tmp_path / "given", start=own)
    assert_same_run(tmp_path / "given", tmp_path / "seeded")


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_with_a_start_resumes_to_the_same_weights_and_with_no_other_start(
    tmp_path, recipe, digits, finished, pruned, epoch
):
    directory = tmp_path / "run"

    def interrupt(event):
        if event.epoch == epoch and event.batch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, directory, progress=interrupt, start=pruned)
    name = next(iter(pruned))
    message = f"{directory} began with other weights; resume with those of the run, or choose another --out"
    for other in (None, pruned | {name: pruned[name] + 1}, initial_model(recipe).state_dict()):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            train(recipe, digits, directory, resume=True, start=other)
    train(recipe, digits, directory, resume=True, start=pruned)
    assert_same_run(directory, finished)


def test_a_seeded_run_is_not_resumed_with_a_start(tmp_path, recipe, digits, pruned):
    train(recipe.with_epochs(0), digits, tmp_path / "run")
    with pytest.raises(InputError, match="began with other weights"):
        train(recipe.with_epochs(0), digits, tmp_path / "run", resume=True, start=pruned)


def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, recipe, digits, pruned):
    first = next(name for name in pruned if name.endswith(".weight"))
    cases = [
        ({}, r"^the start does not fit its recipe's model: \S+ is on one side only$"),
        (pruned | {"a.mask": torch.ones(1)}, r"^the start does not fit .*: a\.mask is on one side only$"),
        (
            pruned | {first: torch.ones(1)},
            rf"^the start does not fit .*: {re.escape(first)} must have shape ",
        ),
    ]
    for start, message in cases:
        with pytest.raises(InputError, match=message):
            train(recipe, digits, tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def test_a_run_of_no_epochs_keeps_its_start(tmp_path, recipe, digits, pruned):
    none = override(recipe, ["keep=best", "validation=0.2"]).with_epochs(0)
    result = train(none, digits, tmp_path / "run", start=pruned)
    assert (result.epoch, result.epochs) == (0, 0)
    assert metrics(tmp_path / "run") == []
    state = weights(tmp_path / "run")
    assert list(state) == list(pruned)
    assert all(torch.equal(state[name], pruned[name]) for name in pruned)
    model, held = load_run(tmp_path / "run").model, validation_split(digits, 0.2, seed=0)
    assert result.validation_accuracy == accuracy(model, held.test_images, held.test_labels)
    train(none, digits, tmp_path / "run", resume=True, start=pruned)
    assert all(torch.equal(weights(tmp_path / "run")[name], pruned[name]) for name in pruned)


def test_masks_of_another_shape_are_refused(tmp_path, finished):
    directory = copy_run(finished, tmp_path / "run")
    state = weights(directory)
    torch.save(state | {"stem.conv.mask": state["stem.conv.mask"][:1]}, directory / "model.pt")
    with pytest.raises(
        InputError, match=r"stem\.conv\.mask must have shape \[8, 1, 3, 3\], not shape \[1, "
    ):
        load_run(directory)


EARLY = ["keep=best", "validation=0.2", "phases.pretrain.epochs=30", "phases.qat.epochs=0"]


@pytest.fixture(scope="module")
def early(recipe):
    """A learning rate at which the validation loss soon goes up again."""
    fast = ["phases.1.precision=float", "phases.pretrain.learning_rate=0.1"]
    return override(recipe, [*EARLY, *fast, "watch=loss", "patience=3"])


def test_training_stops_when_the_validation_loss_has_not_improved(tmp_path, digits, early):
    result = train(early, digits, tmp_path / "run")
    losses = [line["validation_loss"] for line in metrics(tmp_path / "run")]
    best = losses.index(min(losses)) + 1
    assert (result.epoch, result.epochs) == (best, len(losses))
    assert len(losses) == best + 3 < 30
    held = validation_split(digits, 0.2, seed=0)
    model = load_run(tmp_path / "run").model
    loss = float(tally(model, held.test_images, held.test_labels)[1]) / len(held.test_images)
    assert loss == pytest.approx(min(losses), rel=1e-6), "convolutions differ with the memory layout"
    assert result.validation_accuracy == accuracy(model, held.test_images, held.test_labels)


def test_a_run_that_stops_early_resumes_to_the_same_weights(tmp_path, digits, early):
    train(early, digits, tmp_path / "whole")
    epochs = len(metrics(tmp_path / "whole"))

    def interrupt(event):
        if event.epoch == epochs and event.batch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(early, digits, tmp_path / "run", progress=interrupt)
    train(early, digits, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    (tmp_path / "run" / "result.json").unlink()
    train(early, digits, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_patience_follows_the_accuracy_when_that_is_watched(tmp_path, digits, early):
    result = train(override(early, ["watch=accuracy", "patience=2"]), digits, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    reached = [line["accuracy"] for line in lines]
    assert "validation_loss" not in lines[0]
    assert result.epoch == reached.index(max(reached)) + 1
    assert len(reached) == result.epoch + 2


def test_patience_begins_with_the_precision_of_the_last_phase(tmp_path, digits, recipe):
    patient = override(recipe, ["keep=best", "validation=0.2", "patience=1", "phases.pretrain.epochs=4"])
    result = train(patient, digits, tmp_path / "run")
    assert result.epoch >= 5, "the float epochs are neither chosen nor counted"


def test_losses_are_sums_of_cross_entropies(digits, recipe):
    model = initial_model(recipe)
    images, labels = digits.test_images[:7], digits.test_labels[:7]
    correct, loss = tally(model, images, labels, batch=3).tolist()
    with torch.no_grad():
        logits = model.eval()(torch.tensor(images).float()).double()
    chosen = logits.log_softmax(1)[torch.arange(7), torch.tensor(labels)]
    assert math.isclose(loss, -float(chosen.sum()), rel_tol=1e-6)
    assert correct == int((logits.argmax(1) == torch.tensor(labels)).sum())
