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

    The temporary file is removed on any error, Ctrl-C included. Raises InputError when the place
    cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None
    temporary = Path(name)
    try:
        try:
            yield temporary
            _give_default_mode(temporary)
            temporary.replace(target)
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _give_default_mode(path: Path) -> None:
    """Apply the umask, which ``mkstemp`` ignores."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
