"""What every format writes: a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.tables import Table


@dataclass(frozen=True, slots=True)
class Page:
    """A titled report. ``tables``: for people. ``data``: all of it as JSON. ``records``: the rows of the
    CSV form, unformatted, all with the same keys. ``details``: tables that a document has and a terminal
    has not."""

    title: str
    tables: Sequence[Table]
    data: dict[str, Any]
    records: Sequence[dict[str, Any]]
    details: Sequence[Table] = ()
