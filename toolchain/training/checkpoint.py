"""Checkpoints: the whole state between two epochs, and the metrics lines that go with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.files import atomic_write
from toolchain.config import Recipe, first_difference, leaves, parse_recipe
from toolchain.training.run import (
    CHECKPOINT_FILE,
    LOCK_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RECIPE_FILE,
    RESULT_FILE,
    load_weights,
    read_recipe,
    read_start,
    read_tensors,
    remove_remains,
    write_json,
    write_start,
    write_tensors,
)

CHECKPOINT_VERSION = 2

START_ANEW = f"delete {CHECKPOINT_FILE} and --resume, or delete the run directory, to train anew"


@dataclass(slots=True)
class Progression:
    """How far a run is: epochs done, and the epoch whose weights are to be kept so far.

    ``chosen`` holds those weights when they may not be the last ones. ``chosen_value`` is what the recipe
    watches, larger when better: the accuracy, or minus the loss.
    """

    epochs: int = 0
    seconds: float = 0.0
    chosen_epoch: int = 0
    chosen_value: float = -math.inf
    chosen: dict[str, Tensor] | None = None

    def advance(self, seconds: float) -> None:
        """Count one more epoch."""
        self.epochs += 1
        self.seconds += seconds


def save_checkpoint(
    directory: Path, recipe: Recipe, done: Progression, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Replace the run's checkpoint by the present state."""
    write_tensors(
        directory / CHECKPOINT_FILE,
        {
            "version": CHECKPOINT_VERSION,
            "recipe": recipe.model_dump_json(),
            "progression": {name: getattr(done, name) for name in Progression.__slots__},
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
    )


def load_checkpoint(
    directory: Path, recipe: Recipe, model: nn.Module
) -> tuple[Progression, dict[str, Any] | None]:
    """Restore ``model``; returns how far the run is and the optimizer's state.

    A run that was stopped in its first epoch has no checkpoint and starts anew. Raises InputError for
    a damaged checkpoint, and for one of another recipe.
    """
    path = directory / CHECKPOINT_FILE
    if not path.exists():
        return Progression(), None
    try:
        content = read_tensors(path)
        if content.get("version") != CHECKPOINT_VERSION:
            raise InputError(f"{path} is no checkpoint of this version of gatefold")
    except InputError as error:
        raise InputError(f"{error}; {START_ANEW}") from None
    _check_same(recipe, parse_recipe(json.loads(content["recipe"]), str(path)), path)
    load_weights(model, content["model"], path)
    return Progression(**content["progression"]), content["optimizer"]


@contextmanager
def open_run(directory: Path, recipe: Recipe, resume: bool, start: str | None = None) -> Iterator[None]:
    """Make ``directory`` the home of a run of ``recipe``, and keep other processes out of it meanwhile.

    ``start``: the digest of the state that the run begins with, None if its seed draws that state. Raises
    InputError if it is the home of another run, or if another process trains in it.
    """
    recipe_file = directory / RECIPE_FILE
    if resume and not recipe_file.exists():
        raise InputError(f"nothing to resume: {directory} holds no run; leave out --resume to start one")
    with _locked(directory):
        if resume:
            _check_same(recipe, read_recipe(directory), recipe_file)
            _check_start(directory, start)
            remove_remains(directory, METRICS_FILE, CHECKPOINT_FILE, MODEL_FILE, RESULT_FILE)
        elif recipe_file.exists():
            raise InputError(
                f"{directory} already holds a run; continue it with --resume, or choose another --out"
            )
        else:
            write_start(directory, start)
            write_json(recipe_file, recipe.model_dump(mode="json"))
        yield


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, which the operating system releases even if the process is killed."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} must be a directory; choose another --out")
    lock = FileLock(directory / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{directory} is in use by another training process; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {directory / LOCK_FILE}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _check_same(recipe: Recipe, stored: Recipe, path: Path) -> None:
    """Raise InputError where the recipes differ, the words that describe them left out."""
    undescribed = (recipe.model_copy(update={"summary": stored.summary}), stored)
    difference = first_difference(*map(leaves, undescribed))
    if difference:
        key, found, wanted = difference
        raise InputError(
            f"{path} belongs to another recipe: its {key} is {found}, not {wanted}; "
            "resume with the recipe of the run, or choose another --out"
        )


def _check_start(directory: Path, start: str | None) -> None:
    if read_start(directory) != start:
        raise InputError(
            f"{directory} began with other weights; resume with those of the run, or choose another --out"
        )


class MetricsLog:
    """The run's ``metrics.jsonl``: one line per finished epoch, never a line twice."""

    def __init__(self, directory: Path, epochs: int) -> None:
        """Keep the first ``epochs`` lines; later ones belong to an epoch that is trained again."""
        self._path = directory / METRICS_FILE
        self.lines = self._read(epochs) if epochs else []
        with atomic_write(self._path) as temporary:
            text = "".join(f"{json.dumps(line)}\n" for line in self.lines)
            temporary.write_text(text, encoding="utf-8")

    def _read(self, epochs: int) -> list[dict[str, Any]]:
        """The lines of epochs 1 to ``epochs``. Raises InputError when they are not all there, in order."""
        try:
            text = self._path.read_text(encoding="utf-8").splitlines()[:epochs]
            lines: list[dict[str, Any]] = [json.loads(line) for line in text]
            if [line["epoch"] for line in lines] == list(range(1, epochs + 1)):
                return lines
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            pass  # told below, like lines of other epochs
        raise InputError(f"{self._path} must hold one JSON line for each of {epochs} epochs; {START_ANEW}")

    def append(self, line: dict[str, Any]) -> None:
        """Add the line of one epoch."""
        self.lines.append(line)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from None

    def of_phase(self, phase: str) -> list[dict[str, Any]]:
        """The lines of one phase, oldest first."""
        return [line for line in self.lines if line["phase"] == phase]
