"""Training that is stopped: killed at its worst moments, interrupted, or no longer finite."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from tests.training_runs import FINISHED, assert_same_run, copy_run, metrics, stop_each
from toolchain.cli import main
from toolchain.config import Recipe, load_recipe, override
from toolchain.data import load
from toolchain.models import model_row
from toolchain.training import TrainingImages, load_run, train
from toolchain.training.epoch import Trainer, TrainingError
from toolchain.training.plan import plan_epochs
from toolchain.training.progress import silent
from toolchain.training.schedule import make_optimizer
from toolchain.training.world import World

torch.set_num_threads(1)

RECIPE = """
name = "stopped"
model = "ornet-digits"
dataset = "digits"
threads = 1
keep = "best"
validation = 0.1
options = {width = 8}
augmentation = {shift = 1}

[[phases]]
name = "pretrain"
epochs = 1
precision = "float"
learning_rate = 0.01
batch_size = 128

[[phases]]
name = "qat"
epochs = 3
precision = "quantized"
learning_rate = 0.01
batch_size = 128
"""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "stopped.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def recipe(recipe_file) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe, digits):
    """One uninterrupted run: its directory and result. Tests only read it."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    return directory, train(recipe, digits, directory)


MKSTEMP, RENAME = "tempfile.mkstemp", "os.rename"

KILLS = {
    "before the first checkpoint is begun": (("SIGKILL", MKSTEMP, ".checkpoint.pt.", 1), 1, 0, []),
    "in the middle of writing a checkpoint": (("SIGXFSZ", MKSTEMP, ".checkpoint.pt.", 3), 3, 2, [4096]),
    "before a checkpoint is put in its place": (("SIGKILL", RENAME, "/checkpoint.pt'", 3), 3, 2, [None]),
    "before the weights are written": (("SIGKILL", MKSTEMP, ".model.pt.", 1), 4, 4, []),
    "before the result is put in its place": (("SIGKILL", RENAME, "/result.json'", 1), 4, 4, [None]),
}
"""When a run is killed; then the lines of metrics, the epochs in the checkpoint, and the sizes of files in
writing that are found, None for whole ones."""


INTERRUPTION = "interrupted as Ctrl-C does"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, recipe_file):
    """By moment: exit code, run directory and log of a run that was stopped there."""
    folder = tmp_path_factory.mktemp("stopped")
    stops = {moment: stop for moment, (stop, *_) in KILLS.items()}
    stops[INTERRUPTION] = ("SIGINT", MKSTEMP, ".checkpoint.pt.", 2)
    places = {moment: (folder / f"run{n}", folder / f"log{n}") for n, moment in enumerate(stops)}
    jobs = [
        [(stop, places[moment][1], ["train", recipe_file, "--out", places[moment][0]])]
        for moment, stop in stops.items()
    ]
    return {moment: (code, *places[moment]) for moment, code in zip(stops, stop_each(jobs), strict=True)}


@pytest.mark.parametrize("moment", KILLS)
def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(
    tmp_path, finished, recipe, stopped, digits, moment
):
    kill, lines, epochs, remains = KILLS[moment]
    code, stopped_directory, _ = stopped[moment]
    assert code == -getattr(signal, kill[0])
    directory = copy_run(stopped_directory, tmp_path / "run")
    assert len(metrics(directory)) == lines
    if epochs:
        checkpoint = torch.load(directory / "checkpoint.pt", weights_only=True)
        assert checkpoint["progression"]["epochs"] == epochs
    assert (directory / "checkpoint.pt").exists() == bool(epochs)
    sizes = [path.stat().st_size for path in directory.glob(".*.tmp")]
    assert len(sizes) == len(remains)
    assert all(wanted in (None, size) for size, wanted in zip(sizes, remains, strict=True))
    assert train(recipe, digits, directory, resume=True).epoch == finished[1].epoch
    assert_same_run(directory, finished[0])
    assert sorted(path.name for path in directory.iterdir()) == FINISHED
    assert load_run(directory).result.accuracy == finished[1].accuracy


def test_an_interruption_is_one_line_and_the_run_goes_on(tmp_path, finished, recipe, stopped, digits):
    code, stopped_directory, log = stopped[INTERRUPTION]
    assert code == 130
    directory = copy_run(stopped_directory, tmp_path / "run")
    *epochs, last = filter(None, log.read_text().splitlines())
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/4 pretrain"]
    assert last == "gatefold: interrupted; every file left is whole; --resume goes on where a verb has it"
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["checkpoint.pt", "metrics.jsonl", "recipe.json", "run.lock"]
    train(recipe, digits, directory, resume=True)
    assert_same_run(directory, finished[0])


def test_metrics_that_cannot_be_written_are_told_in_one_line(tmp_path, recipe, digits):
    directory = tmp_path / "run"

    def get_in_the_way(event):
        if event.epoch == 2 and event.batch == 1:
            (directory / "metrics.jsonl").unlink()
            (directory / "metrics.jsonl").mkdir()

    with pytest.raises(InputError, match=r"^cannot write .*metrics\.jsonl: Is a directory$"):
        train(recipe, digits, directory, progress=get_in_the_way)


@pytest.mark.parametrize("options", [[], ["compute.mixed=bfloat16"], ["step.every=batch"]])
def test_a_run_that_is_no_longer_finite_ends_in_one_line_and_keeps_its_last_checkpoint(
    tmp_path, capsys, recipe_file, options
):
    directory = tmp_path / "run"
    wild = ["optimizer.kind=sgd", "phases.qat.learning_rate=1e30", "keep=last", "validation=0", *options]
    arguments = [argument for assignment in wild for argument in ("--set", assignment)]
    with pytest.raises(SystemExit) as caught:
        main(["train", str(recipe_file), "--out", str(directory), "--json", *arguments])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    *notes, line = err.splitlines()
    assert all("bfloat16" in note for note in notes)  # said first where the processor emulates it
    assert line.startswith("gatefold: the loss must stay finite, it became ")
    assert " in phase 'qat', epoch 1, batch " in line
    assert line.endswith(
        "; lower phases.qat.learning_rate and train into another --out (the last checkpoint is kept)"
    )
    checkpoint = torch.load(directory / "checkpoint.pt", weights_only=True)
    assert checkpoint["progression"]["epochs"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in checkpoint["model"].values())
    assert len(metrics(directory)) == 1


def test_an_epoch_whose_last_update_leaves_the_finite_is_not_kept(tmp_path, recipe, digits):
    one_batch = ["phases.qat.batch_size=5000", "keep=last", "validation=0"]
    harmless = ["optimizer.weight_decay=1e10", "phases.pretrain.learning_rate=1e-30"]
    wild = ["optimizer.kind=sgd", "phases.qat.learning_rate=3e38"]
    with pytest.raises(
        TrainingError,
        match=r"^the model must stay finite, \S+ is not in phase 'qat', epoch 1, batch 1; "
        r"lower phases\.qat\.learning_rate and train into another --out \(the last checkpoint is kept\)$",
    ):
        train(override(recipe, one_batch + harmless + wild), digits, tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progression"]["epochs"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in checkpoint["model"].values())


def test_weights_that_give_no_step_are_told_as_a_failure_of_training(recipe, digits):
    images = TrainingImages.of(
        torch.tensor(digits.train_images),
        torch.tensor(digits.train_labels),
        recipe.augmentation,
        torch.device("cpu"),
    )
    model = model_row(recipe.model).build(**recipe.options)
    trainer = Trainer.of(recipe, World(0, 1, torch.device("cpu")), model, images, silent)
    epoch = plan_epochs(recipe)[1]
    model.stem.conv.weight.data[0] = torch.nan
    with pytest.raises(
        TrainingError,
        match=r"^the weights must stay finite, they are not in phase 'qat', epoch 1, batch 1; ",
    ):
        trainer.train(epoch, make_optimizer(recipe.optimizer, model, 0.01))
