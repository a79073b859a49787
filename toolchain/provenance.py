"""The commands that made a run, kept beside it: what a card tells whoever wants to make it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import InputError
from toolchain.training.run import read_json, read_recipe, write_json

COMMANDS_FILE = "commands.json"
STUDY_FILE = "study.json"
COMMAND = "command"
"""Key of a study's own command in its ``STUDY_FILE``."""

RUN_OF_STUDY = re.compile(r"round-\d+")
LEVELS_BELOW = 4
"""A run is so many folders below its study: network, seed, kind, round."""


def write_commands(directory: Path, commands: Sequence[str]) -> None:
    """Note the ``commands`` that make the run in ``directory``, in order."""
    write_json(directory / COMMANDS_FILE, {"commands": list(commands)})


def read_commands(directory: Path) -> list[str]:
    """The commands that make a run, its study's if it is part of one; none where nobody noted them.

    Raises InputError when they are damaged.
    """
    path = directory / COMMANDS_FILE
    if not path.exists():
        study = _study_of(directory)
        command = study and read_json(study / STUDY_FILE).get(COMMAND)
        return [f"{command} --out {_place(study)}"] if study and command else []
    commands = read_json(path).get("commands")
    if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
        raise InputError(f"{path} is damaged: it must hold a list of commands; delete it")
    return commands


def canonical_place(directory: Path) -> str:
    """Where the commands put the run in ``directory``: its path in its study, or ``runs/NAME``."""
    study = _study_of(directory)
    if study is None:
        return f"runs/{read_recipe(directory).name}"
    return f"{_place(study)}/{directory.resolve().relative_to(study)}"


def _study_of(directory: Path) -> Path | None:
    """The study that trained ``directory``; a run that was put beside its runs is none of them."""
    place = directory.resolve()
    if not RUN_OF_STUDY.fullmatch(place.name) or len(place.parents) < LEVELS_BELOW:
        return None
    study = place.parents[LEVELS_BELOW - 1]
    return study if (study / STUDY_FILE).exists() else None


def _place(study: Path) -> str:
    return f"studies/{study.name}"
