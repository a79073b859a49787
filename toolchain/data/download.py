"""Checksummed downloads into the user's cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime.errors import InputError
from runtime.files import atomic_write
from toolchain.data.files import reading

TIMEOUT = 30
"""Seconds a server may stay silent."""

CHUNK = 1 << 16

Progress = Callable[[str, int, int], None]
"""Called with the name of a file that is fetched or extracted, the bytes done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on an official host: name, exact size in bytes, and SHA-256 in hex."""

    name: str
    size: int
    sha256: str


def cache_dir(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Where this user's downloads go: ``XDG_CACHE_HOME``, else the platform's cache folder."""
    environ = os.environ if environ is None else environ
    home = Path.home()
    default = {
        "darwin": home / "Library" / "Caches",
        "win32": Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local"),
    }.get(platform, home / ".cache")
    return Path(environ.get("XDG_CACHE_HOME") or default) / "gatefold"


def download(base_url: str, remote: RemoteFile, directory: Path, progress: Progress | None = None) -> Path:
    """Fetch ``base_url + remote.name`` into ``directory``; the file appears only if its SHA-256 fits.

    Raises InputError when the host cannot be reached, or sends anything but the expected bytes.
    """
    url = base_url + remote.name
    target = directory / remote.name
    with _reaching(url), urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        chunks = _received(response, url, remote.size)
        with atomic_write(target) as temporary:
            digest, done = write_chunks(chunks, temporary, remote.name, remote.size, progress)
            if (done, digest) != (remote.size, remote.sha256):
                sent = "more" if done > remote.size else str(done)
                raise InputError(
                    f"{url} must have {remote.size} bytes with SHA-256 {remote.sha256[:16]}..., "
                    f"it sent {sent} with {digest[:16]}...; nothing is kept"
                )
    return target


def write_chunks(
    chunks: Iterable[bytes], target: Path, name: str, size: int, progress: Progress | None
) -> tuple[str, int]:
    """Write ``chunks`` to ``target``, telling ``progress``. Returns the SHA-256 and the bytes written."""
    digest = hashlib.sha256()
    done = 0
    with target.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(name, done, size)
    return digest.hexdigest(), done


def is_intact(path: Path, remote: RemoteFile) -> bool:
    """Whether ``path`` is that very file. Raises InputError when it cannot be read."""
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == remote.sha256


def _received(response: IO[bytes], url: str, size: int) -> Iterator[bytes]:
    """What the host sends, stopping at the first chunk past ``size`` bytes."""
    done = 0
    while done <= size:
        # Here and not around the caller: there, a network error would be told as a disk error.
        with _reaching(url):
            chunk = response.read(CHUNK)
        if not chunk:
            return
        done += len(chunk)
        yield chunk


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot download {url}: {reason}") from None
