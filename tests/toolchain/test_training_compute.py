"""How the arithmetic of training is done: bfloat16, memory layout, compilation, devices.

Whatever is chosen, the network learns, and its program equals the float64 model.
"""

from __future__ import annotations

import json

import pytest
import torch

from runtime.errors import InputError
from tests import plugin_package
from tests.training_runs import gatefold, metrics, weights
from toolchain.cli import main
from toolchain.config import Recipe, override
from toolchain.layers import quantized_layers
from toolchain.pipeline import check_model, lower_run
from toolchain.quantizers import STEP_RULES, median, step_of
from toolchain.training import load_run, train

torch.set_num_threads(1)

RECIPE = {
    "name": "computed",
    "model": "ornet-digits",
    "options": {"width": 8, "levels": 5, "bits": 2},
    "dataset": "digits",
    "threads": 1,
    "phases": [
        {"name": "pretrain", "epochs": 1, "precision": "float", "learning_rate": 0.01, "batch_size": 32},
        {"name": "qat", "epochs": 2, "precision": "quantized", "learning_rate": 0.01, "batch_size": 32},
    ],
}


@pytest.fixture(scope="module")
def recipe():
    return Recipe.model_validate(RECIPE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, recipe, digits):
    """The directory of the run that the others are compared with."""
    directory = tmp_path_factory.mktemp("plain") / "run"
    train(recipe, digits, directory)
    return directory


BFLOAT16, CHANNELS_FIRST = "compute.mixed=bfloat16", "compute.channels_last=false"


@pytest.fixture(scope="module")
def computed(tmp_path_factory, recipe, digits):
    """The directories of runs with another arithmetic, by what the recipe says of it."""
    places = {option: tmp_path_factory.mktemp("computed") / "run" for option in (BFLOAT16, CHANNELS_FIRST)}
    for option, directory in places.items():
        train(override(recipe, [option]), digits, directory)
    return places


def assert_lowering_is_exact(directory, digits):
    program, run = lower_run(directory)
    check = check_model(program, run.model, digits.test_images)
    assert (check.samples, check.mismatches) == (359, 0)


@pytest.mark.parametrize("option", [BFLOAT16, CHANNELS_FIRST])
def test_every_arithmetic_trains_a_network_whose_program_is_exact(computed, plain, digits, option):
    accuracy = load_run(computed[option]).result.accuracy
    assert accuracy > 0.8
    assert accuracy == pytest.approx(load_run(plain).result.accuracy, abs=0.1)
    assert_lowering_is_exact(computed[option], digits)


def test_bfloat16_rounds_in_training_and_leaves_float32_weights(computed, plain):
    directory = computed[BFLOAT16]
    assert {tensor.dtype for tensor in weights(directory).values()} == {torch.float32}
    losses = [[line["loss"] for line in metrics(place)] for place in (directory, plain)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.3)


def test_the_memory_layout_is_no_part_of_the_run(computed, plain):
    for name, tensor in weights(computed[CHANNELS_FIRST]).items():
        assert tensor.is_contiguous()
        assert tensor.shape == weights(plain)[name].shape


@pytest.mark.parametrize(
    "options",
    [
        ["options.levels=2"],
        ["options.levels=4", "step.every=batch", "step.rule=least-squares"],
        ["options.levels=4", "step.zero_median=true"],
    ],
)
def test_an_even_number_of_levels_trains_to_an_exact_program(tmp_path, recipe, digits, options):
    result = train(override(recipe, options), digits, tmp_path / "run")
    assert result.accuracy > 0.7
    assert_lowering_is_exact(tmp_path / "run", digits)


STILL = [
    f"phases.{phase}.{assignment}"
    for phase in ("pretrain", "qat")
    for assignment in ("learning_rate=1e-12", "batch_size=512")
]
"""The weights stay where they are, so that the steps are those of the weights at the end."""


@pytest.mark.parametrize("rule", STEP_RULES)
def test_the_rule_of_the_recipe_reaches_every_layer(tmp_path, recipe, digits, rule):
    train(override(recipe, [*STILL, f"step.rule={rule}"]), digits, tmp_path / "run")
    layers = quantized_layers(load_run(tmp_path / "run").model)
    assert len(layers) == 5
    for layer in layers.values():
        steps = {name: step_of(layer.weight, layer.levels, name) for name in STEP_RULES}
        nearest = min(steps, key=lambda name: abs(steps[name] - float(layer.step)))
        assert nearest == rule
        assert float(layer.step) == pytest.approx(steps[rule], rel=1e-4)


@pytest.mark.parametrize("levels", [4, 5])
def test_a_zero_median_reaches_every_layer(tmp_path, recipe, digits, levels):
    asked = [*STILL, f"options.levels={levels}", "step.zero_median=true"]
    train(override(recipe, asked), digits, tmp_path / "run")
    for layer in quantized_layers(load_run(tmp_path / "run").model).values():
        assert abs(float(median(layer.weight))) < 1e-6
        assert float(layer.step) == pytest.approx(step_of(layer.weight, levels), rel=1e-4)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return plugin_package.install(tmp_path_factory.mktemp("site"))


def train_compiled(package, directory, **environment):
    """The command line on the network of ``package``."""
    return gatefold(
        *("train", "tiny-digits", "--set", "compute.compile=true", "--out", directory / "run"),
        PYTHONPATH=str(package),
        TORCHINDUCTOR_CACHE_DIR=str(directory / "cache"),
        **environment,
    )


def test_a_compiled_step_trains_a_network_whose_program_is_exact(tmp_path, monkeypatch, package, digits):
    directory = tmp_path / "run"
    done = train_compiled(package, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "epoch 1/2 pretrain",
        "epoch 2/2 qat",
    ]
    monkeypatch.syspath_prepend(package)
    assert load_run(directory).result.accuracy > 0.7
    assert_lowering_is_exact(directory, digits)


def test_a_missing_compiler_is_one_line_before_anything_is_written(tmp_path, package):
    done = train_compiled(package, tmp_path, CXX=str(tmp_path / "no-compiler"))
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatefold: compute.compile needs a compiler that works: ")
    assert line.endswith("; install one (on CPUs g++), or leave compute.compile out")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path, capsys, recipe, digits):
    with pytest.raises(InputError, match=r"^device 'cuda:99' is not available here; use cpu$"):
        train(recipe, digits, tmp_path / "run", device="cuda:99")
    with pytest.raises(SystemExit) as caught:
        main(["train", "digits-ternary", "--device", "abacus", "--out", str(tmp_path / "run")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'abacus' is not one of 'cpu', 'cuda'" in line
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_the_ways_to_train(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "torchrun --nproc-per-node 4 --no-python gatefold train RECIPE --device cuda",
        "compute.mixed=bfloat16",
        "compute.compile=true",
        "step.rule=twn",
        "step.zero_median=true",
        "phases.qat.milestones=[0.5,0.8]",
        "goes on with --resume",
    ):
        assert words in text


def test_the_keys_that_the_help_names_can_be_set_and_shown(capsys):
    assignments = [
        "compute.mixed=bfloat16",
        "compute.compile=true",
        "compute.channels_last=false",
        "step.rule=twn",
        "step.zero_median=true",
        "phases.qat.milestones=[0.5,0.8]",
    ]
    options = [word for assignment in assignments for word in ("--set", assignment)]
    with pytest.raises(SystemExit) as caught:
        main(["train", "digits-ternary", "--show", *options])
    assert not caught.value.code
    shown = json.loads(capsys.readouterr().out)
    assert shown["compute"] == {"mixed": "bfloat16", "channels_last": False, "compile": True}
    assert shown["step"] | {"every": "epoch", "rule": "twn", "zero_median": True} == shown["step"]
    assert shown["phases"][1]["milestones"] == [0.5, 0.8]
