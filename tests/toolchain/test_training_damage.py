"""Damaged run directories: the one line each damage gives, and what repairs it."""

import re
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from tests.training_runs import assert_same_run, copy_run
from toolchain.config import Recipe
from toolchain.models import model_row
from toolchain.training import load_run, train

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
def finished(tmp_path_factory, recipe, digits):
    """One uninterrupted run: its directory and result. Tests only read it."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    return directory, train(recipe, digits, directory)


@pytest.mark.parametrize("keep", [[], [0, 1], [0, 1, 1], [1, 0, 2]])
def test_metrics_of_other_epochs_than_those_done_give_one_line(tmp_path, finished, recipe, digits, keep):
    directory = copy_run(finished[0], tmp_path / "run")
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(lines[number] for number in keep))
    message = (
        f"{directory / 'metrics.jsonl'} must hold one JSON line for each of 3 epochs; delete "
        "checkpoint.pt and --resume, or delete the run directory, to train anew"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        train(recipe, digits, directory, resume=True)
    assert len((directory / "metrics.jsonl").read_text().splitlines()) == len(keep), "it is left as it was"


def _foreign(path):
    torch.save({"something": torch.zeros(2)}, path)


def _pickle(path):
    torch.save(Path("/"), path)


DAMAGE = {
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        "is damaged or was not written by",
    ),
    "empty": (lambda path: path.write_bytes(b""), "is damaged or was not written by"),
    "text": (lambda path: path.write_text("hello"), "is damaged or was not written by"),
    "code": (_pickle, "is damaged or was not written by"),
    "foreign": (_foreign, "is no checkpoint of this version of gatefold"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_gives_one_line(tmp_path, finished, recipe, digits, name):
    directory = copy_run(finished[0], tmp_path / "run")
    damage, message = DAMAGE[name]
    damage(directory / "checkpoint.pt")
    with pytest.raises(InputError, match=message) as caught:
        train(recipe, digits, directory, resume=True)
    assert str(caught.value).startswith(str(directory / "checkpoint.pt"))
    assert str(caught.value).endswith(
        "; delete checkpoint.pt and --resume, or delete the run directory, to train anew"
    )
    assert "\n" not in str(caught.value)


def test_a_run_without_its_damaged_checkpoint_is_trained_anew(tmp_path, finished, recipe, digits):
    directory = copy_run(finished[0], tmp_path / "run")
    (directory / "checkpoint.pt").unlink()
    train(recipe, digits, directory, resume=True)
    assert_same_run(directory, finished[0])


@pytest.mark.parametrize("name", ["model.pt", "result.json"])
def test_a_whole_checkpoint_repairs_weights_and_result(tmp_path, finished, recipe, digits, name):
    directory = copy_run(finished[0], tmp_path / "run")
    (directory / name).write_bytes(b"[]")
    with pytest.raises(InputError) as caught:
        load_run(directory)
    assert str(caught.value).endswith(f"; `gatefold train RECIPE --resume --out {directory}` repairs it")
    assert train(recipe, digits, directory, resume=True) == finished[1]
    assert load_run(directory).result == finished[1]
    assert_same_run(directory, finished[0])
    (directory / name).write_bytes(b"[]")
    (directory / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"; checkpoint\.pt is damaged too, so delete the run directory and train again$"
    ):
        load_run(directory)


def test_a_damaged_or_missing_run_gives_one_line(tmp_path, finished):
    with pytest.raises(InputError, match=r"no run directory at .*; gatefold train makes one"):
        load_run(tmp_path / "none")
    cases = [
        ("recipe.json", lambda path: path.unlink(), r"recipe\.json is missing: this is no run directory"),
        ("recipe.json", lambda path: path.write_text("{"), r"recipe\.json is damaged: it is not JSON"),
        ("recipe.json", lambda path: path.write_text("{}"), r"recipe\.json: key 'name' is missing"),
        (
            "result.json",
            lambda path: path.write_text("[]"),
            r"result\.json is damaged: it must hold a JSON object",
        ),
        (
            "result.json",
            lambda path: path.write_text("{}"),
            r"result\.json is damaged or of another version",
        ),
        (
            "result.json",
            lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": "zero"')),
            r"result\.json is damaged or of another version",
        ),
        ("model.pt", lambda path: path.unlink(), r"model\.pt is missing"),
        (
            "model.pt",
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            r"model\.pt is damaged or was not",
        ),
        ("model.pt", _foreign, r"model\.pt does not fit its recipe's model: .* is on one side only"),
    ]
    for number, (name, damage, message) in enumerate(cases):
        directory = copy_run(finished[0], tmp_path / str(number))
        damage(directory / name)
        with pytest.raises(InputError, match=message) as caught:
            load_run(directory)
        assert "\n" not in str(caught.value)


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path, finished):
    directory = copy_run(finished[0], tmp_path / "run")
    torch.save(model_row("ornet-digits").build(width=5).state_dict(), directory / "model.pt")
    with pytest.raises(
        InputError, match=r"stem\.conv\.weight must have shape \[8, 1, 3, 3\], not shape \[5, 1, 3, 3\]"
    ):
        load_run(directory)
