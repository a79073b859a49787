"""The directory of a study, and the settings that it was begun with."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.errors import InputError
from toolchain.config import Recipe, Section, first_difference, leaves
from toolchain.provenance import COMMAND, STUDY_FILE
from toolchain.studies.members import study_lock
from toolchain.training.run import read_json, remove_remains, write_json


class StudySettings(Section):
    """What decides a study, its ``recipe`` among it."""

    recipe: Recipe


def enter_study(
    directory: Path,
    verb: str,
    settings: StudySettings,
    resume: bool,
    storage: str | None = None,
    command: str = "",
) -> str:
    """Begin the study of ``settings`` in ``directory``, or join it with ``resume``; returns its name.

    ``verb``: of gatefold, whose study it is. ``command``: what makes it again; runs of the study that are
    published say so. Raises InputError when the directory holds another study, or one that was to be begun,
    or none that could be resumed.
    """
    path = directory / STUDY_FILE
    if resume and not path.exists():
        raise InputError(f"nothing to resume: {directory} holds no study; leave out --resume to start one")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} must be a directory; choose another --out")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {directory}: {error.strerror}; choose another --out") from None
    wanted = {
        "verb": verb,
        "server": storage is not None,
        "settings": settings.model_dump(mode="json"),
        COMMAND: command,
    }
    with study_lock(directory):
        remove_remains(directory, STUDY_FILE)
        if not path.exists():
            write_json(path, {"name": f"{settings.recipe.name}-{uuid.uuid4().hex[:8]}", **wanted})
        elif not resume:
            raise InputError(
                f"{directory} already holds a study; go on with --resume, or choose another --out"
            )
        stored = read_json(path)
    _check_same(verb, settings, storage is not None, stored, path)
    return str(stored["name"])


def _check_same(
    verb: str, settings: StudySettings, server: bool, stored: dict[str, Any], path: Path
) -> None:
    """Raise InputError unless ``path`` is of a study of ``settings``, with its jobs in the same place."""
    theirs = stored.get("verb", verb)
    if theirs != verb:
        raise InputError(f"{path} belongs to a study of gatefold {theirs}; choose another --out")
    try:
        found = _leaves(type(settings).model_validate(stored["settings"]))
        on_server = stored["server"]
    except (KeyError, ValidationError):
        raise InputError(f"{path} is damaged or of another version; choose another --out") from None
    if on_server != server:
        advice = "give its --storage" if on_server else "leave out --storage"
        raise InputError(f"{path} has its jobs in another database; {advice}")
    difference = first_difference(_leaves(settings), found)
    if difference:
        key, other, ours = difference
        raise InputError(
            f"{path} belongs to another study: its {key} is {other}, not {ours}; "
            "resume with the options of the study, or choose another --out"
        )


def _leaves(settings: StudySettings) -> dict[str, Any]:
    """Every single value of ``settings`` by its key."""
    tree = settings.model_dump(mode="json", exclude={"recipe"})
    return tree | {f"recipe.{key}": value for key, value in leaves(settings.recipe).items()}
