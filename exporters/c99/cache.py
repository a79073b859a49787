"""The cache of compiled programs: entries that only this user can have written, checked byte for byte.

An entry is one file: a line of JSON (format, key, size and digest), then the shared object. What is loaded
is the checked bytes themselves, never the file, which another program could exchange meanwhile.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FORMAT = 1
"""Version of the entries' format and of how a shared object is called; part of every key."""

VARIABLE = "GATEFOLD_CACHE"
"""Names the folder of the cache."""

SUFFIX = ".entry"

HEADER_BYTES = 4096
"""Longest first line of an entry."""

STALE_SECONDS = 24 * 3600
"""Age of a half-written file that nobody is still writing."""


def cache_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """``GATEFOLD_CACHE``, else ``gatefold`` in ``XDG_CACHE_HOME`` or in the platform's cache folder."""
    environ = os.environ if environ is None else environ
    if given := environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    if given := environ.get("XDG_CACHE_HOME"):
        return Path(given).absolute() / "gatefold"
    home = Path.home()
    if platform == "darwin":
        return home / "Library" / "Caches" / "gatefold"
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "gatefold"
    return home / ".cache" / "gatefold"


def cache_key(parts: Mapping[str, bytes]) -> str:
    """SHA-256, in hex, of the format and of everything a shared object depends on, by name."""
    digest = hashlib.sha256(f"gatefold c99 {FORMAT}\n".encode())
    for name, content in sorted(parts.items()):
        for text in (name.encode(), content):
            digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries. The latest used stay: ``entries`` of them, and ``size`` bytes at most."""

    folder: Path
    entries: int = 64
    size: int = 512 * 2**20

    def obtain(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The object of ``key``: from the cache, else what ``make`` returns, which is stored.

        An entry that is damaged, of another key or format, or not this user's own counts as none. A cache
        that cannot be written makes no error.
        """
        if (content := self.load(key)) is None:
            content = make()
            self.store(key, content)
        return content

    def path(self, key: str) -> Path:
        """Where the entry of ``key`` lies."""
        return self.folder / f"{key}{SUFFIX}"

    def load(self, key: str) -> bytes | None:
        """The checked object of ``key``, or None."""
        if not is_private(self.folder):
            return None
        path = self.path(key)
        try:
            content = _own_bytes(path, self.size + HEADER_BYTES)
            if content is None or (checked := _checked(key, content)) is None:
                return None
            os.utime(path)
        except OSError:
            return None
        return checked

    def store(self, key: str, content: bytes) -> bool:
        """Put ``content`` in place of the entry of ``key`` at once, and prune. False where it cannot."""
        temporary: Path | None = None
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if not is_private(self.folder):
                return False
            handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.folder)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(_header(key, content) + content)
            path = self.path(key)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            temporary.replace(path)
            self.prune()
        except OSError:
            return False
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        return True

    def prune(self) -> None:
        """Remove the entries used longest ago beyond the limits, and what interrupted writers left."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            try:
                status = path.lstat()
                if path.suffix == SUFFIX:
                    found.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".tmp" and time.time() - status.st_mtime > STALE_SECONDS:
                    path.unlink()
            except OSError:
                continue
        total = 0
        for number, (_, size, path) in enumerate(sorted(found, reverse=True)):
            total += size
            if number and (number >= self.entries or total > self.size):
                path.unlink(missing_ok=True)


def open_cache(name: str = "c99") -> Cache:
    """The user's cache of that name; where it is another's or cannot be written, a folder of this process
    alone."""
    try:
        shared = Cache(cache_folder() / name)
    except RuntimeError:  # nobody's home
        return Cache(_process_folder())
    return shared if _usable(shared.folder) else Cache(_process_folder())


def is_private(folder: Path) -> bool:
    """Whether ``folder`` is a folder, no link, of this user and one that nobody else can write."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and _is_own(status)


def _usable(folder: Path) -> bool:
    """Whether ``folder`` is private and takes files; it is made where it is missing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return is_private(folder)
    except OSError:
        return False


@cache
def _process_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="gatefold-c99-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _is_own(status: os.stat_result) -> bool:
    """Of this user, and not writable by a group or by all; Windows protects the user's folders instead."""
    if sys.platform == "win32":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _own_bytes(path: Path, limit: int) -> bytes | None:
    """Content of this user's own regular file, no link, of at most ``limit`` bytes; else None."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not _is_own(status) or status.st_size > limit:
            return None
        return file.read(limit + 1)


def _header(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    fields = {"format": FORMAT, "key": key, "size": len(content), "sha256": digest}
    return json.dumps(fields).encode() + b"\n"


def _checked(key: str, entry: bytes) -> bytes | None:
    """The object in an entry whose first line is exactly what this program would write, or None."""
    end = entry.find(b"\n", 0, HEADER_BYTES) + 1
    content = entry[end:]
    return content if end and entry[:end] == _header(key, content) else None
