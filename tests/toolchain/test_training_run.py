"""Training runs: repeatable, resumable, and readable afterwards."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from tests.training_runs import FINISHED, assert_same_run, copy_run, metrics, weights
from toolchain.config import Recipe, override
from toolchain.data import validation_split
from toolchain.models import model_row
from toolchain.training import RunResult, accuracy, load_run, train
from toolchain.training.epoch import TrainingError

RECIPE = {
    "name": "tiny",
    "model": "ornet-digits",
    "options": {"width": 8},
    "dataset": "digits",
    "threads": 1,
    "augmentation": {"shift": 1},
    "phases": [
        {"name": "pretrain", "epochs": 2, "precision": "float", "learning_rate": 0.01, "batch_size": 96},
        {
            "name": "qat",
            "epochs": 3,
            "precision": "quantized",
            "learning_rate": 0.01,
            "batch_size": 96,
            "schedule": "cosine",
        },
    ],
}


@pytest.fixture(scope="module")
def recipe():
    return Recipe.model_validate(RECIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe, digits):
    """One uninterrupted run: its directory and result. Tests only read it."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    return directory, train(recipe, digits, directory)


def test_a_run_leaves_its_files_and_one_line_per_epoch(finished, recipe):
    directory, result = finished
    assert sorted(path.name for path in directory.iterdir()) == FINISHED
    lines = metrics(directory)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["phase"] for line in lines] == ["pretrain"] * 2 + ["qat"] * 3
    assert lines[0]["layers"] == {}
    layer = lines[-1]["layers"]["stem.conv"]
    assert sum(layer["histogram"]) == 8 * 9
    assert layer["fullest"] == round(max(layer["histogram"]) / 72, 4)
    assert lines[2]["learning_rate"] == 0.01 > lines[4]["learning_rate"] > 0
    assert lines[-1]["accuracy"] == result.accuracy
    assert Recipe.model_validate_json((directory / "recipe.json").read_text()) == recipe


def test_a_result_says_what_was_run_and_how_well_it_went(finished):
    directory, result = finished
    assert result.accuracy > 0.3
    assert (result.recipe, result.model, result.dataset, result.seed) == (
        "tiny",
        "ornet-digits",
        "digits",
        0,
    )
    assert result.options == model_row("ornet-digits").options | {"width": 8}
    assert (result.train_samples, result.test_samples) == (1438, 359)
    assert (result.epoch, result.epochs, result.device, result.threads) == (5, 5, "cpu", 1)
    assert result.versions["torch"] == str(torch.__version__)
    assert RunResult(**json.loads((directory / "result.json").read_text())) == result


def test_a_finished_run_is_loaded_with_its_weights(finished, digits):
    directory, result = finished
    run = load_run(directory)
    assert run.result == result
    assert not run.model.training
    assert accuracy(run.model, digits.test_images, digits.test_labels) == result.accuracy
    assert accuracy(run.model, digits.test_images, digits.test_labels, batch=7) == result.accuracy


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, finished, recipe, digits):
    train(recipe, digits, tmp_path / "again")
    assert_same_run(tmp_path / "again", finished[0])
    train(override(recipe, ["seed=1"]), digits, tmp_path / "other")
    assert not torch.equal(
        weights(tmp_path / "other")["stem.conv.weight"], weights(finished[0])["stem.conv.weight"]
    )


KILLED = """
import json, sys
from toolchain.config import Recipe
from toolchain.data import load
from toolchain.training import train

def tell(event):
    if event.epoch == int(sys.argv[2]) and event.batch == 10:
        print("here", flush=True)
        sys.stdin.read()

train(Recipe.model_validate(json.loads(sys.argv[3])), load("digits"), sys.argv[1], progress=tell)
"""


@contextmanager
def killed_in(epoch, directory):
    """Another process that trains into ``directory`` and is killed, in that epoch, after the block."""
    command = [sys.executable, "-c", KILLED, str(directory), str(epoch), json.dumps(RECIPE)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stdout.readline() == b"here\n"
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_run_in_use_is_refused_and_once_killed_resumes_to_the_same_weights(
    tmp_path, finished, recipe, digits, epoch
):
    directory = tmp_path / "run"
    in_use = f"{directory} is in use by another training process; wait for it, or choose another --out"
    with killed_in(epoch, directory):
        for resume in (True, False):
            with pytest.raises(InputError, match=f"^{re.escape(in_use)}$"):
                train(recipe, digits, directory, resume=resume)
    assert not (directory / "result.json").exists()
    unfinished = (
        f"{directory / 'result.json'} is missing: the run is not finished; "
        f"`gatefold train RECIPE --resume --out {directory}` repairs it"
    )
    with pytest.raises(InputError, match=f"^{re.escape(unfinished)}$"):
        load_run(directory)
    epochs = []
    train(recipe, digits, directory, resume=True, progress=lambda event: epochs.append(event.epoch))
    assert min(epochs) == epoch, "finished epochs are not trained again"
    assert_same_run(directory, finished[0])


def test_an_interruption_leaves_a_consistent_directory(tmp_path, finished, recipe, digits):
    def interrupt(event):
        if event.epoch == 4 and event.batch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, tmp_path / "run", progress=interrupt)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["checkpoint.pt", "metrics.jsonl", "recipe.json", "run.lock"]
    assert len(metrics(tmp_path / "run")) == 3
    train(recipe, digits, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished[0])


def test_a_metrics_line_written_before_the_crash_is_not_doubled(tmp_path, finished, recipe, digits):
    def interrupt(event):
        if event.epoch == 3 and event.batch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, tmp_path / "run", progress=interrupt)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "qat", "epoch": 3, "lo')
    train(recipe, digits, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished[0])


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, finished, recipe, digits):
    other = override(recipe, ["seed=5"])
    with pytest.raises(
        InputError, match=r"recipe\.json belongs to another recipe: its seed is 0, not 5; resume with"
    ):
        train(other, digits, copy_run(finished[0], tmp_path / "a"), resume=True)
    directory = copy_run(finished[0], tmp_path / "b")
    (directory / "recipe.json").write_text(other.model_dump_json())
    with pytest.raises(InputError, match=r"checkpoint\.pt belongs to another recipe: its seed is 0, not 5"):
        train(other, digits, directory, resume=True)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("phases.qat.learning_rate=1e30", "phases.qat.learning_rate is 0.01, not 1e+30"),
        ("phases.1.name=fine", "phases is ['pretrain', 'qat'], not ['pretrain', 'fine']"),
        ("optimizer.kind=sgd", "optimizer.kind is 'adam', not 'sgd'"),
        ("options.skip=mux", "options.skip is left out, not 'mux'"),
        ("options={}", "options.width is 8, not left out"),
    ],
)
def test_resuming_with_another_recipe_names_the_value_that_differs(
    tmp_path, finished, recipe, digits, change, difference
):
    directory = copy_run(finished[0], tmp_path / "run")
    message = (
        f"{directory / 'recipe.json'} belongs to another recipe: its {difference}; "
        "resume with the recipe of the run, or choose another --out"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        train(override(recipe, [change]), digits, directory, resume=True)


def test_a_file_in_the_place_of_the_run_directory_is_refused(tmp_path, recipe, digits):
    (tmp_path / "run").write_text("hello")
    with pytest.raises(InputError, match=r"run must be a directory; choose another --out$"):
        train(recipe, digits, tmp_path / "run")
    with pytest.raises(InputError, match=r"^cannot write .*run\.lock: Not a directory$"):
        train(recipe, digits, tmp_path / "run" / "below")


def test_a_run_directory_is_never_overwritten_and_never_made_by_resume(tmp_path, finished, recipe, digits):
    with pytest.raises(
        InputError, match="already holds a run; continue it with --resume, or choose another --out"
    ):
        train(recipe, digits, finished[0])
    with pytest.raises(InputError, match=r"nothing to resume: .* holds no run; leave out --resume"):
        train(recipe, digits, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_what_does_not_go_together_is_refused_before_anything_is_written(tmp_path, recipe, digits):
    cases = [
        (
            override(recipe, ["dataset=mnist"]),
            digits,
            "cpu",
            "recipe 'tiny' trains on 'mnist', not on 'digits'",
        ),
        (
            override(recipe, ["model=ornet-digit"]),
            digits,
            "cpu",
            "model must be one of .*, not 'ornet-digit'",
        ),
        (
            override(recipe, ["options.widht=3"]),
            digits,
            "cpu",
            "options of model 'ornet-digits' are .*, not 'widht'",
        ),
        (
            recipe,
            dataclasses.replace(
                digits,
                train_images=digits.train_images[:, :, :4],
                test_images=digits.test_images[:, :, :4],
            ),
            "cpu",
            r"takes images of shape \[1, 8, 8\] within \[0, 16\], data set 'digits' has \[1, 4, 8\] ",
        ),
        (recipe, digits, "abacus", "device 'abacus' is not available here; use cpu"),
    ]
    for wrong, dataset, device, message in cases:
        with pytest.raises(InputError, match=message):
            train(wrong, dataset, tmp_path / "run", device=device)
        assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_epoch(tmp_path, recipe, digits):
    wild = override(recipe, ["optimizer.kind=sgd", "phases.qat.learning_rate=1e30"])
    with pytest.raises(
        TrainingError,
        match=r"the loss must stay finite, it became (nan|inf) in phase 'qat', epoch 1, batch \d+; "
        r"lower phases\.qat\.learning_rate and train into another --out \(the last checkpoint is kept\)$",
    ):
        train(wild, digits, tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progression"]["epochs"] == 2
    assert all(bool(torch.isfinite(tensor).all()) for tensor in checkpoint["model"].values())


def test_the_best_epoch_is_chosen_by_validation_accuracy(tmp_path, recipe, digits):
    best = override(recipe, ["keep=best", "validation=0.2", "phases.qat.schedule=constant"])
    result = train(best, digits, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert {line["accuracy_on"] for line in lines} == {"validation"}
    quantized = [line for line in lines if line["precision"] == "quantized"]
    highest = max(quantized, key=lambda line: line["accuracy"])
    assert (result.epoch, result.validation_accuracy) == (highest["epoch"], highest["accuracy"])
    model = load_run(tmp_path / "run").model
    held = validation_split(digits, 0.2, seed=0)
    assert accuracy(model, held.test_images, held.test_labels) == result.validation_accuracy
    assert accuracy(model, digits.test_images, digits.test_labels) == result.accuracy
    assert result.train_samples == 1438 - len(held.test_images)
