"""``gatefold quantize``: from a plain, pruned network to a program that verifies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.serialize import load as load_program
from tests.published import mnist_of_digits
from tests.training_runs import copy_run
from toolchain.cli.train import next_step
from toolchain.config import load_recipe
from toolchain.data import load as load_data
from toolchain.layers import adopt_masks, prunable_layers
from toolchain.provenance import canonical_place, read_commands
from toolchain.training import initial_model, load_run, train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of data sets with a small MNIST."""
    root = tmp_path_factory.mktemp("data")
    mnist_of_digits(root / "mnist")
    return root


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained quaternion network with half of the weights of its first layer pruned."""
    recipe = load_recipe("lenet-12").with_epochs(12)
    recipe = recipe.model_copy(update={"options": {"algebra": "quaternion"}})
    dataset = load_data("mnist", data)
    model = initial_model(recipe)
    layer = next(iter(prunable_layers(model).values()))
    layer.set_mask(layer.scores() > layer.scores().median())
    directory = tmp_path_factory.mktemp("runs") / "plain"
    result = train(recipe, dataset, directory, start=model.state_dict())
    assert result.accuracy > 0.75
    return directory


def test_from_a_pruned_run_to_a_program_that_verifies(
    plain: Path, data: Path, tmp_path: Path, invoke: object
) -> None:
    out = tmp_path / "twin"
    code, text, _ = invoke(
        "quantize", plain, "--epochs", 4, "--steps", "component", "--data-dir", data, "--out", out, "--json"
    )
    assert code == 0
    told = json.loads(text)
    assert told["run"] == str(out)
    assert told["plain_accuracy"] == load_run(plain).result.accuracy
    assert told["accuracy"] > 0.7
    mask = next(iter(prunable_layers(load_run(plain).model).values())).mask
    twin = load_run(out).model
    layer = next(iter(prunable_layers(twin).values()))
    assert torch.equal(layer.mask, mask)
    assert not layer.stored_codes()[~mask].any()
    assert invoke("lower", out)[0] == 0
    program = load_program(out / "program.gfold")
    hidden = next(node.op for node in program.nodes if node.op.name == "Dense")
    assert hidden.weights.is_hamilton
    assert hidden.weights.stored_bytes < hidden.weights.codes.size / 4 / 5
    code, text, _ = invoke(
        "verify", out / "program.gfold", "--data", "mnist", "--data-dir", data, "--model", out,
        "--executors", "interpreter,packed,onnx,onnx-modern,c99", "--json",
    )  # fmt: skip
    assert code == 0
    assert {row["mismatches"] for row in json.loads(text)["executors"].values()} == {0}


def test_no_epochs_calibrate_alone_and_repeat_exactly(
    plain: Path, data: Path, tmp_path: Path, invoke: object
) -> None:
    found = []
    for name in ("a", "b"):
        out = tmp_path / name
        arguments = ("quantize", plain, "--epochs", 0, "--bits", 4, "--levels", 15, "--data-dir", data)
        code, text, _ = invoke(*arguments, "--out", out)
        assert code == 0
        assert "after calibration alone; the plain network has" in text
        found.append(load_run(out))
    assert found[0].result.epochs == 0
    assert found[0].result.accuracy > load_run(plain).result.accuracy - 0.06
    states = [run.model.state_dict() for run in found]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    adopt_masks(found[1].model, states[0])


def test_a_stopped_run_goes_on(plain: Path, data: Path, tmp_path: Path, invoke: object) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    common = ("--data-dir", data, "--epochs", 2)
    assert invoke("quantize", plain, *common, "--out", whole)[0] == 0
    assert invoke("quantize", plain, *common, "--out", cut)[0] == 0
    (cut / "result.json").unlink()
    (cut / "checkpoint.pt").unlink()
    assert invoke("quantize", plain, *common, "--out", cut, "--resume")[0] == 0
    ours, theirs = (load_run(run).model.state_dict() for run in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_card_of_a_quantized_network_has_the_commands_that_made_it(
    data: Path, tmp_path: Path, invoke: object
) -> None:
    plain, twin, folder = tmp_path / "first", tmp_path / "second", tmp_path / "folder"
    options = ("--set", "options.algebra=quaternion", "--epochs", 1)
    assert invoke("train", "lenet-12", *options, "--data-dir", data, "--out", plain)[0] == 0
    assert invoke("quantize", plain, "--epochs", 1, "--data-dir", data, "--out", twin)[0] == 0
    publish = ("publish", twin, "--vectors", "random", "--data-dir", data, "-o")
    assert invoke(*publish, folder)[0] == 0
    card = (folder / "card.md").read_text()
    assert "gatefold train lenet-12 --set options.algebra=quaternion --epochs 1 --out runs/lenet-12" in card
    assert "gatefold quantize runs/lenet-12 --epochs 1 --out runs/lenet-12-heq\n" in card
    assert "| what | lenet-12: quaternion HEQ weights of 3 levels, 2-bit codes |" in card
    (twin / "commands.json").write_text("{}")
    code, _, err = invoke(*publish, tmp_path / "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "commands.json is damaged: it must hold a list of commands; delete it" in err
    (twin / "commands.json").unlink()
    assert invoke(*publish, tmp_path / "other")[0] == 0
    assert "of which nobody noted where they come from" in (tmp_path / "other/card.md").read_text()


def test_a_run_beside_those_of_a_study_has_its_own_commands(
    plain: Path, data: Path, tmp_path: Path, invoke: object
) -> None:
    ticket = tmp_path / "study/quaternion/seed-0/last/round-01"
    copy_run(plain, ticket)
    (tmp_path / "study/study.json").write_text('{"command": "gatefold prune lenet-12"}')
    assert invoke("quantize", ticket, "--epochs", 0, "--data-dir", data)[0] == 0
    place = "studies/study/quaternion/seed-0/last/round-01"
    assert read_commands(ticket.with_name("round-01-heq")) == [
        "gatefold prune lenet-12 --out studies/study",
        f"gatefold quantize {place} --epochs 0 --out runs/lenet-12-heq",
    ]
    code, _, err = invoke("quantize", tmp_path / "study", "--data-dir", data)
    assert code == 2
    assert "study is a study; give one of its runs, such as those of" in err
    (ticket / "model.pt").write_bytes(b"x")
    code, _, err = invoke("quantize", ticket, "--data-dir", data, "--out", tmp_path / "twin")
    assert (code, err.count("\n")) == (2, 1)
    assert "result.json and repeat the command that made the run, with --resume, to repair it" in err


def test_a_run_of_a_study_is_made_by_the_study(tmp_path: Path) -> None:
    run = tmp_path / "lenet/quaternion/seed-0/last/round-03"
    run.mkdir(parents=True)
    (tmp_path / "lenet/study.json").write_text('{"command": "gatefold prune lenet-12 --seeds 0,1"}')
    assert read_commands(run) == ["gatefold prune lenet-12 --seeds 0,1 --out studies/lenet"]
    assert canonical_place(run) == "studies/lenet/quaternion/seed-0/last/round-03"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--levels", 4),
            "only weights with an odd number of levels can be pruned, not 4: 0 must be a code",
        ),
        (("--levels", 0), "levels"),
        (
            ("--set", "dataset=digits"),
            "takes images of shape [1, 28, 28] within [0, 255], data set 'digits'",
        ),
        (("--set", "options.levels=0"), "options.levels must be above 0 for a quantized network"),
        (("--bits", 9), "activation bits must be within 1..8, not 9"),
        (
            ("--learning-rate", 0),
            "quantize: phases.qat.learning_rate: input should be greater than 0, not 0.0",
        ),
        (("--last-levels", 200), "layer classifier: weight levels must be odd within 3..127"),
    ],
)
def test_bad_options_are_one_line(
    arguments: tuple[object, ...], message: str, plain: Path, data: Path, tmp_path: Path, invoke: object
) -> None:
    code, out, err = invoke("quantize", plain, *arguments, "--data-dir", data, "--out", tmp_path / "twin")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "twin").exists()


def test_only_plain_networks_are_quantized(plain: Path, data: Path, tmp_path: Path, invoke: object) -> None:
    out = tmp_path / "twin"
    assert invoke("quantize", plain, "--epochs", 0, "--data-dir", data, "--out", out)[0] == 0
    code, _, err = invoke("quantize", out, "--data-dir", data, "--out", tmp_path / "again")
    assert code == 2
    assert f"{out} is quantized already, to 3 levels; lower it" in err
    digits = tmp_path / "digits"
    assert invoke("train", "digits-ternary", "--epochs", 3, "--out", digits)[0] == 0
    code, _, err = invoke("quantize", digits, "--out", tmp_path / "again")
    assert code == 2
    assert "model 'ornet-digits' has no plain form to be quantized" in err
    code, _, err = invoke("lower", plain)
    assert code == 2
    assert "ends in full precision and has no integer program; quantize it with `gatefold quantize`" in err
    images = load_data("mnist", data).test_images
    assert np.unique(images).size > 5


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        ("digits-ternary", "next: gatefold lower runs/x"),
        ("lenet-12", "next: gatefold quantize runs/x"),
        (
            "digits-float",
            "a float32 network to compare with: only a run whose last phase is quantized",
        ),
    ],
)
def test_the_next_step_after_training_is_one_that_works(recipe: str, step: str) -> None:
    assert next_step(load_recipe(recipe), Path("runs/x")).startswith(step)
