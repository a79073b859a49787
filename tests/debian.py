"""Tools that no Python package brings, from the packages of a Debian system."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

LOCK = Path(tempfile.gettempdir()) / "gatefold-tests-apt.lock"


def is_root() -> bool:
    """Whether this process may install packages; Chromium's sandbox refuses it."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def install(*packages: str) -> None:
    """Try to install ``packages``, one process after the other; look again for what it was for."""
    if not is_root() or not shutil.which("apt-get"):
        return
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *words], check=False, capture_output=True, timeout=600)
