"""The 96x96 networks from files in STL-10's layout to verified programs, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.published import stl_bytes
from toolchain.cli import main

CLASSES = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny STL-10: every class has a colour and a place, and noise."""
    directory = tmp_path_factory.mktemp("data") / "stl10_binary"
    directory.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % CLASSES
        images = random.integers(0, 128, (count, 3, 96, 96), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[label % 3, 9 * label : 9 * label + 12] += 100
        (directory / f"{part}_X.bin").write_bytes(stl_bytes(images))
        (directory / f"{part}_y.bin").write_bytes(bytes((labels + 1).astype(np.uint8)))
    return directory.parent


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert not caught.value.code, err
    return json.loads(out)


@pytest.mark.parametrize("recipe", ["stl-ornet", "stl-muxornet"])
def test_an_stl_network_is_trained_lowered_exported_and_verified(
    recipe: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["options.width=4", "compute.mixed=off", "threads=1"]
    small += [f"phases.{name}.batch_size=20" for name in ("pretrain", "qat", "finetune")]
    settings = [word for assignment in small for word in ("--set", assignment)]
    directory = tmp_path / recipe
    result = run(capsys, "train", recipe, *settings, "--epochs", 3, "--data-dir", data, "--out", directory)
    assert (result["dataset"], result["train_samples"], result["test_samples"]) == ("stl-10", 60, 20)
    program = directory / "program.gfold"
    run(capsys, "lower", directory)
    run(capsys, "export", program, "--to", "onnx", "-o", tmp_path / "network.onnx")
    found = run(
        capsys, "verify", program, "--data", "stl-10", "--data-dir", data, "--model", directory,
        "--samples", 2, "--executors", "interpreter,packed,onnx,onnx-modern",
    )  # fmt: skip
    assert found["ok"]
    assert {row["samples"] for row in found["executors"].values()} == {22}
    assert found["model"]["mismatches"] == 0
    measured = run(capsys, "evaluate", program, "--data", "stl-10", "--data-dir", data)
    assert measured["samples"] == 20
