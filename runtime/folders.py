"""Writing a folder so that it appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import InputError


@contextmanager
def atomic_folder(path: str | Path, force: bool, names: Collection[str], kind: str) -> Iterator[Path]:
    """Yield an empty folder; it becomes ``path`` only if the block succeeds.

    With ``force`` an existing folder is replaced, if it holds nothing but ``names``, those of a ``kind`` of
    folder; it comes back should that fail. Nothing else is left on any error, Ctrl-C included. A symbolic
    link is followed.
    Raises InputError before the block when the place is taken or cannot be written, and after it.
    """
    target = Path(path).resolve()
    try:
        _check_place(target, path, force, names, kind)
        # Beside the place, or where its first missing parent will be: on the same file system.
        beside = next(parent for parent in target.parents if parent.exists())
        workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=beside))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    new, old = workspace / "new", workspace / "old"
    try:
        new.mkdir()
        yield new
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(workspace, ignore_errors=True)


def _check_place(target: Path, path: str | Path, force: bool, names: Collection[str], kind: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"the output must be a folder, and {path} is a file; give another with -o")
    if not force:
        raise InputError(
            f"the output must be a new folder, and {path} exists; --force replaces {kind} folder"
        )
    for found in sorted(target.iterdir()):
        if found.name not in names:
            raise InputError(
                f"--force replaces only {kind} folder, and {path} holds {found.name!r:.80}; "
                "give another with -o"
            )
