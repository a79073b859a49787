"""What the tests of pruning share: a small study, and looking at its files."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runtime.types import Interval
from toolchain.config import Recipe
from toolchain.data import Dataset
from toolchain.pruning.settings import Settings, make_settings

RECIPE = """
name = "tiny"
model = "ornet-digits"
dataset = "digits"
threads = 1
options = {width = 8}

[[phases]]
name = "pretrain"
epochs = 1
precision = "float"
learning_rate = 0.01
batch_size = 256

[[phases]]
name = "qat"
epochs = 1
precision = "quantized"
learning_rate = 0.01
batch_size = 256
"""
"""A network without algebras, quantized, on the images that come with the install."""

DATABASE = ("alembic.command", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite")
"""What Optuna loads with the first study that a process opens."""

LENET = Recipe.model_validate(
    {
        "name": "small",
        "model": "lenet-12",
        "dataset": "mnist",
        "threads": 1,
        "phases": [
            {"name": "train", "epochs": 2, "precision": "float", "learning_rate": 0.002, "batch_size": 20}
        ],
    }
)


def few_images(count: int = 120) -> Dataset:
    """Random images of the shape of MNIST, whose classes have different means."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 10
    patterns = random.integers(0, 200, (10, 1, 28, 28))
    images = (patterns[labels] + random.integers(0, 56, (count, 1, 28, 28))).astype(np.uint8)
    classes = tuple(map(str, range(10)))
    return Dataset("mnist", images, labels, images[::2], labels[::2], classes, Interval(0, 255))


def lenet_settings(**options: Any) -> Settings:
    """A study of the real and the quaternion Lenet-12 on two epochs."""
    return make_settings(LENET, **options)


def state(study: Path, run: str) -> dict[str, torch.Tensor]:
    """The chosen weights of a run of ``study``."""
    found: dict[str, torch.Tensor] = torch.load(study / run / "model.pt", weights_only=True)
    return found


def queue_of(study: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each run was taken and finished, and the states of all trials."""
    with sqlite3.connect(study / "study.db") as database:
        rows = database.execute(
            "select state, value_json from trials join trial_user_attributes using (trial_id) "
            "where key = 'run'"
        ).fetchall()
    database.close()
    return Counter(run.strip('"') for kind, run in rows if kind == "COMPLETE"), Counter(s for s, _ in rows)


def assert_same_study(study: Path, reference: Path) -> None:
    """Bit for bit the same weights and masks, and the same results."""
    names = sorted(str(path.relative_to(reference)) for path in reference.rglob("*.pt"))
    assert names == sorted(str(path.relative_to(study)) for path in study.rglob("*.pt"))
    for name in names:
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (study, reference))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert (study / "results.csv").read_text() == (reference / "results.csv").read_text()
