"""Several processes that train one network: two on this machine, as ``torchrun`` starts them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from tests.training_runs import (
    FINISHED,
    GATEFOLD,
    STOP_FIRST_RANK,
    assert_same_run,
    copy_run,
    metrics,
    python,
)
from toolchain.cli import main
from toolchain.config import load_recipe, override
from toolchain.data import load
from toolchain.training import accuracy, load_run, train
from toolchain.training.epoch import check_share
from toolchain.training.world import World, join_world

torch.set_num_threads(1)

RECIPE = """
name = "together"
model = "muxnet-digits"
dataset = "digits"
threads = 1
options = {width = 8, levels = 5, bits = 2}
augmentation = {shift = 1}

[[phases]]
name = "pretrain"
epochs = 1
precision = "float"
learning_rate = 0.01
batch_size = 64

[[phases]]
name = "qat"
epochs = 3
precision = "quantized"
learning_rate = 0.01
batch_size = 64
schedule = "cosine"
"""

WATCHED = """
import hashlib, json, os, sys, weakref
from pathlib import Path
import torch.distributed as dist
from torch.nn.modules.module import register_module_forward_pre_hook
from toolchain.cli import main
from toolchain.layers import HEQLayer

seen, groups = [], []

def watch(module, _inputs):
    if not groups:
        groups.append(weakref.ref(dist.group.WORLD))
    if isinstance(module, HEQLayer):
        weight = hashlib.sha256(module.weight.detach().numpy().tobytes()).hexdigest()
        seen.append([module.training, float(module.step), weight])

register_module_forward_pre_hook(watch)
try:
    main(sys.argv[2:])
finally:
    notes = {"seen": seen, "group is gone": groups[0]() is None}
    Path(sys.argv[1], os.environ["RANK"]).write_text(json.dumps(notes))
"""
"""The command line, noting the step and the weights of every quantized layer in every forward pass, and
whether the process group, whose threads would race with the interpreter's end, outlives it."""

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")


def torchrun(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``python -c code arguments`` twice, as two ranks."""
    return python(*TORCHRUN, sys.executable, "-c", code, *arguments)


def own_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(("gatefold: ", "epoch "))]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "together.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def together(tmp_path_factory, recipe_file):
    """An uninterrupted run of two processes: the process, its run directory, what each rank has noted."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(WATCHED, folder, "train", recipe_file, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return done, folder / "run", [json.loads((folder / str(rank)).read_text()) for rank in range(2)]


def test_steps_and_weights_are_equal_on_both_ranks_in_every_forward_pass(together):
    ranks = [notes["seen"] for notes in together[2]]
    layers = 5
    batches = (1438 // 64) * 4
    assert [sum(training for training, *_ in seen) for seen in ranks] == [layers * batches] * 2
    assert ranks[0] == ranks[1]
    steps = {step for _, step, _ in ranks[0][:layers]}
    assert len(steps) == layers
    assert len({weight for *_, weight in ranks[0]}) > layers * (batches - 1)


def test_no_process_group_outlives_the_training(together):
    assert [notes["group is gone"] for notes in together[2]] == [True, True]


def test_only_rank_0_prints(together):
    done, directory, _ = together
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "epoch 1/4 pretrain",
        "epoch 2/4 qat",
        "epoch 3/4 qat",
        "epoch 4/4 qat",
    ]
    result, following = done.stdout.splitlines()
    assert result.startswith(f"{directory}: ")
    assert following == f"next: gatefold lower {directory}"


def test_the_run_directory_is_like_any_other_and_as_accurate_as_that_of_one_process(
    together, tmp_path, recipe_file
):
    directory, digits, recipe = together[1], load("digits"), load_recipe(recipe_file)
    assert sorted(path.name for path in directory.iterdir()) == sorted([*FINISHED, "commands.json"])
    assert [line["epoch"] for line in metrics(directory)] == [1, 2, 3, 4]
    run = load_run(directory)
    assert (run.result.processes, run.result.threads, run.recipe) == (2, 1, recipe)
    assert (run.result.train_samples, run.result.test_samples) == (1438, 359)
    assert accuracy(run.model, digits.test_images, digits.test_labels) == run.result.accuracy
    assert metrics(directory)[-1]["accuracy"] == run.result.accuracy
    alone = train(recipe, digits, tmp_path / "alone")
    assert alone.processes == 1
    assert alone.accuracy > 0.75
    assert run.result.accuracy == pytest.approx(alone.accuracy, abs=0.06)


def test_when_rank_0_is_killed_all_end_and_the_run_resumes_to_the_same_weights(
    together, tmp_path, recipe_file
):
    directory = tmp_path / "run"
    kill = json.dumps(["SIGKILL", "os.rename", "/checkpoint.pt'", 3])
    done = torchrun(STOP_FIRST_RANK, kill, "train", recipe_file, "--out", directory)
    assert done.returncode != 0
    assert len(metrics(directory)) == 3
    assert not (directory / "result.json").exists()
    done = torchrun(GATEFOLD, "train", recipe_file, "--out", directory, "--resume")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in own_lines(done.stderr)] == ["epoch 3/4 qat", "epoch 4/4 qat"]
    assert_same_run(directory, together[1])
    assert sorted(path.name for path in directory.iterdir()) == sorted([*FINISHED, "commands.json"])


def test_an_error_of_rank_0_alone_ends_all_with_one_line(together, tmp_path, recipe_file):
    directory = copy_run(together[1], tmp_path / "run")
    (directory / "checkpoint.pt").write_bytes(b"damaged")
    started = time.monotonic()
    done = torchrun(GATEFOLD, "train", recipe_file, "--out", directory, "--resume")
    assert time.monotonic() - started < 120
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = own_lines(done.stderr)
    assert line.startswith(f"gatefold: {directory / 'checkpoint.pt'} is damaged")
    assert "Connection closed by peer" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digits-ternay"], "not 'digits-ternay'; did you mean 'digits-ternary'?"),
        (["train", "digits-ternary", "--epochs", "0"], "Invalid value for '--epochs'"),
    ],
)
def test_what_all_processes_meet_is_told_by_the_first(monkeypatch, capsys, arguments, message):
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, "")
        assert err.count(message) == len(err.splitlines()) == lines


def test_the_recipe_is_shown_by_rank_0(monkeypatch, capsys):
    for rank, shown in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as caught:
            main(["train", "digits-ternary", "--show"])
        assert not caught.value.code
        assert ('"name": "digits-ternary"' in capsys.readouterr().out) is shown


def test_batches_must_divide_evenly_among_the_processes(recipe_file):
    recipe = override(load_recipe(recipe_file), ["phases.qat.batch_size=33"])
    cpu = torch.device("cpu")
    check_share(recipe, World(0, 1, cpu))
    check_share(override(recipe, ["phases.qat.batch_size=64"]), World(0, 32, cpu))
    with pytest.raises(
        InputError, match=r"^phases\.qat\.batch_size must be a multiple of the 2 processes, not 33$"
    ):
        check_share(recipe, World(1, 2, cpu))


DESCRIBED = {
    "WORLD_SIZE": "99",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "99",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "0",
}


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_PORT"])
def test_an_incomplete_description_of_the_processes_is_refused(name):
    environ = {key: value for key, value in DESCRIBED.items() if key != name}
    with (
        pytest.raises(
            InputError,
            match=rf"^{name} must be set where WORLD_SIZE is 99; start with torchrun, or unset WORLD_SIZE$",
        ),
        join_world("cpu", environ),
    ):
        pass


def test_every_process_needs_a_gpu_of_its_own():
    found = torch.cuda.device_count()
    with (
        pytest.raises(
            InputError,
            match=f"^every process needs a GPU of its own, 99 processes have {found} here; "
            "start fewer, or use cpu$",
        ),
        join_world("cuda", DESCRIBED),
    ):
        pass


def test_one_process_is_a_world_of_its_own():
    for environ in ({}, {"WORLD_SIZE": "1"}):
        with join_world("cpu", environ) as world:
            assert (world.rank, world.size, world.first) == (0, 1, True)
            assert world.from_first(max, 2, 3) == 3
            assert world.sum(torch.ones(2)).tolist() == [1, 1]
