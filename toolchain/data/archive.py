"""Data sets that their host publishes as one tar archive: fetched, checked, and taken apart."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError
from runtime.files import atomic_write
from toolchain.data.download import CHUNK, Progress, RemoteFile, download, is_intact, write_chunks
from toolchain.data.files import open_data, reading


@dataclass(frozen=True, slots=True)
class Archive:
    """An official ``.tar.gz``, and what is wanted of it.

    ``folder``: the folder inside, without a slash. ``members``: the exact size in bytes of every wanted
    file in that folder, by name.
    """

    base_url: str
    file: RemoteFile
    folder: str
    members: dict[str, int]


def fetch_members(archive: Archive, directory: Path, progress: Progress | None = None) -> None:
    """Bring every wanted member into ``directory``, under its own name and nothing else.

    An intact archive that an interruption left there is not fetched again. The archive is deleted at the
    end: STL-10's is seven times the size of what is used of it. Raises InputError.
    """
    path = directory / archive.file.name
    if not is_intact(path, archive.file):
        download(archive.base_url, archive.file, directory, progress)
    extract_members(path, archive, directory, progress)
    path.unlink(missing_ok=True)


def extract_members(
    path: Path, archive: Archive, directory: Path, progress: Progress | None = None
) -> None:
    """Extract the wanted members of the archive at ``path``; each appears only when it is complete.

    A member counts only under its exact name, as a regular file of its exact size; names in the archive
    never become paths. Raises InputError naming the archive.
    """
    wanted = {f"{archive.folder}/{name}": name for name in archive.members}
    with open_data(path) as content, tarfile.open(fileobj=content, mode="r:") as tar:
        # What follows the last wanted member is not read: STL-10 has 2.8 GB of unlabelled images.
        while wanted and (entry := tar.next()) is not None:
            name = wanted.pop(entry.name, None)
            if name is not None:
                _check(path, entry, archive.members[name])
                with atomic_write(directory / name) as temporary:
                    write_chunks(_chunks(path, tar, entry), temporary, name, entry.size, progress)
    if wanted:
        raise InputError(f"{path} must hold {', '.join(wanted)}; fetch it again")


def _check(path: Path, entry: tarfile.TarInfo, size: int) -> None:
    if not entry.isreg() or entry.size != size:
        found = f"a file of {entry.size} bytes" if entry.isreg() else "something else"
        raise InputError(f"{path}: {entry.name} must be a file of {size} bytes, not {found}")


def _chunks(path: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(entry)
    assert content is not None, "only regular files come here"
    while True:
        # Here and not around the caller: there, a damaged archive would be told as a disk error.
        with reading(path):
            chunk = content.read(CHUNK)
        if not chunk:
            return
        yield chunk
