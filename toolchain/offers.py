"""What installed packages offer by way of entry points."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points


def offers(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of that group on Python's path, by name and value."""
    return _offers(group, tuple(sys.path))


@cache
def _offers(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """``offers`` with this path. All packages are looked through, and one training asks ten times."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)))
