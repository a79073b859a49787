"""Checksummed downloads into the user's cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime.errors import InputError
from runtime.files import atomic_write

TIMEOUT = 30
"""Seconds a server may stay silent."""

CHUNK = 1 << 16

Progress = Callable[[str, int, int], None]
"""Called with the file name, the bytes done and the bytes in all."""


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
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, atomic_write(target) as temporary:
            digest, done = _copy(response, temporary, remote, progress)
            if (done, digest) != (remote.size, remote.sha256):
                sent = "more" if done > remote.size else str(done)
                raise InputError(
                    f"{url} must have {remote.size} bytes with SHA-256 {remote.sha256[:16]}..., "
                    f"it sent {sent} with {digest[:16]}...; nothing is kept"
                )
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot download {url}: {reason}") from None
    return target


def _copy(
    response: IO[bytes], target: Path, remote: RemoteFile, progress: Progress | None
) -> tuple[str, int]:
    """Stream to ``target``, stopping past the expected size. Returns the SHA-256 and the bytes read."""
    digest = hashlib.sha256()
    done = 0
    with target.open("wb") as file:
        while done <= remote.size and (chunk := response.read(CHUNK)):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(remote.name, done, remote.size)
    return digest.hexdigest(), done
