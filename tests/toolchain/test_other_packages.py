"""A network and a recipe of another package go the whole way, from training to a verified ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import plugin_package
from tests.training_runs import gatefold


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_package.install(tmp_path_factory.mktemp("site"))


def test_models_lists_the_network_and_the_recipe_of_another_package(package: Path) -> None:
    done = gatefold("models", "--json", PYTHONPATH=str(package))
    assert done.returncode == 0, done.stderr
    listing = json.loads(done.stdout)
    assert listing["models"]["tiny-net"] == {
        "summary": "two dense layers",
        "dataset": "digits",
        "input_shape": [1, 8, 8],
        "options": {"width": 32, "levels": 4},
    }
    assert listing["recipes"]["tiny-digits"] == {"model": "tiny-net", "dataset": "digits", "epochs": 2}
    assert "ornet-digits" in listing["models"]


def test_they_are_trained_lowered_exported_and_verified_like_any_other(
    package: Path, tmp_path: Path
) -> None:
    run, program, onnx = tmp_path / "run", tmp_path / "run" / "program.gfold", tmp_path / "tiny.onnx"
    results = {}
    for arguments in (
        ["train", "tiny-digits", "--set", "options.width=24", "--out", run],
        ["lower", run],
        ["export", program, "--to", "onnx", "-o", onnx],
        ["verify", program, "--model", run, "--data", "digits", "--executors", "packed,onnx,c99"],
    ):
        done = gatefold(*arguments, "--json", PYTHONPATH=str(package))
        assert done.returncode == 0, done.stderr
        results[arguments[0]] = json.loads(done.stdout)
    assert results["train"]["options"] == {"width": 24, "levels": 4}
    assert results["train"]["accuracy"] > 0.7
    assert onnx.stat().st_size == results["export"]["bytes"]
    assert results["verify"]["ok"] is True
    assert {row["mismatches"] for row in results["verify"]["executors"].values()} == {0}
    assert results["verify"]["model"]["mismatches"] == 0
