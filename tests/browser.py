"""A real browser without a window: an installed Chromium, else one that is installed for the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests import debian

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "these tests need a browser: install Chromium or Chrome, or run `playwright install chromium`"


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium. Fails, and does not skip, where there is none and none can be installed."""
    with sync_playwright() as playwright:
        executable = find(playwright)
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"] if debian.is_root() else []
        )
        try:
            yield started
        finally:
            started.close()


def find(playwright: Playwright) -> str:
    """The path of a browser, which is installed first where there is none."""
    for install in (None, install_by_playwright, install_by_debian):
        if install:
            install()
        found = (*map(shutil.which, COMMANDS), playwright.chromium.executable_path)
        for path in found:
            if path and Path(path).is_file():
                return path
    pytest.fail(MISSING, pytrace=False)


def install_by_playwright() -> None:
    """Playwright's own Chromium, where its host can be reached."""
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    subprocess.run(command, check=False, capture_output=True, timeout=300)


def install_by_debian() -> None:
    """Debian's package, which root alone may install."""
    debian.install("chromium")
