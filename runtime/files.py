"""Writing files so that an interruption or a full disk leaves nothing half-written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds.

    A symbolic link is followed, so that its target is replaced and not the link. The temporary file is
    removed on any error, Ctrl-C included. Raises InputError when the place cannot be written, or is a
    device, a pipe or anything else that is not a regular file.
    """
    target = Path(path).resolve()
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            raise InputError(f"cannot write {path}: it is not a regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from None
    temporary = Path(name)
    try:
        try:
            yield temporary
            _give_default_mode(temporary)
            temporary.replace(target)
        except OSError as error:
            raise InputError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """The system's words; making a folder below a file is told as the missing folder it is."""
    if isinstance(error, FileExistsError):
        return f"{error.filename} is not a directory"
    return error.strerror or str(error)


def _give_default_mode(path: Path) -> None:
    """Apply the umask, which ``mkstemp`` ignores."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
