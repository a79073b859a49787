"""Loading a shared object from its bytes."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import os
import sys
import tempfile
import weakref
from pathlib import Path

from runtime.errors import GatefoldError


class Library:
    """A shared object in this process, until the last reference to it goes.

    The bytes are loaded from memory where the system can, which also works where temporary folders are
    mounted without the right to execute; else from a temporary file that only this user can write.
    """

    def __init__(self, content: bytes) -> None:
        self.functions, place = _open_in_memory(content) or _open_in_file(content)
        closing = weakref.finalize(self, _close, self.functions, place)
        # At exit other threads may still be running in it; a file, though, has to go.
        closing.atexit = isinstance(place, Path)


def _open_in_memory(content: bytes) -> tuple[ctypes.CDLL, int] | None:
    """The object and the descriptor of its memory, or None where this does not work here.

    The descriptor stays open as long as the object is loaded: the loader knows objects by path, and would
    take a second one under the same number for the first.
    """
    if sys.platform != "linux":
        return None
    try:
        descriptor = os.memfd_create("gatefold-c99", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}"), descriptor
    except OSError:
        os.close(descriptor)
        return None


def _open_in_file(content: bytes) -> tuple[ctypes.CDLL, Path | None]:
    """The object, and its file where that has to stay while the object is loaded (Windows)."""
    try:
        handle, name = tempfile.mkstemp(
            prefix="gatefold-c99-", suffix=".dll" if sys.platform == "win32" else ".so"
        )
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            functions = ctypes.CDLL(name)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = " ".join(str(error).split())[:300]
        raise GatefoldError(
            f"the compiled program cannot be loaded: {reason}; "
            "GATEFOLD_CC must be a compiler for this machine, and TMPDIR a folder that allows execution"
        ) from None
    try:
        path.unlink()
    except OSError:
        return functions, path
    return functions, None


def _close(functions: ctypes.CDLL, place: int | Path | None) -> None:
    if sys.platform == "win32":
        _ctypes.FreeLibrary(functions._handle)
    else:
        _ctypes.dlclose(functions._handle)
    if isinstance(place, int):
        os.close(place)
    elif place is not None:
        with contextlib.suppress(OSError):
            place.unlink()
