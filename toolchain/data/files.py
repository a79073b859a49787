"""Opening the files of a data set: plain, gzip or xz, with every damage told in one line."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import InputError

OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    "": lambda path: path.open("rb"),
    ".gz": gzip.GzipFile,
    ".xz": lzma.LZMAFile,
}
"""How to open a file by the suffix added to its official name."""

DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError)
"""What the readers of compressed files and archives raise on wrong content."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while ``path`` is read into an InputError that names it."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(f"{path} is damaged: {error}; fetch it again") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def find_file(directory: Path, name: str) -> Path | None:
    """The file ``name`` in ``directory``, plain or compressed, or None. Raises InputError on no access."""
    candidates = (directory / f"{name}{suffix}" for suffix in OPENERS)
    with reading(directory):
        return next((path for path in candidates if path.is_file()), None)


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file, decompressed by its suffix; errors while it is read are InputErrors.

    Nothing is decompressed before it is read, so the reader's own limit bounds a file that unpacks
    to far more than its size.
    """
    opener = OPENERS.get(path.suffix, OPENERS[""])
    with reading(path), opener(path) as file:
        yield file
