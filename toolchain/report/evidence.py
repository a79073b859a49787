"""What was run for a report, and what an inference takes, as tables and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.bench.text import contender_name, milliseconds, quartiles, times
from toolchain.compare import verdict
from toolchain.cost import Report
from toolchain.devices import joules, number
from toolchain.tables import Table

ACTIVITY_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "not 0": ("nonzero", lambda share: f"{100 * share:.1f} %"),
    "at maximum": ("maximum", lambda share: f"{100 * share:.1f} %"),
    "bits that change": ("toggles", lambda share: f"{100 * share:.1f} %"),
    "dead channels": ("dead_channels", number),
    "of": ("channels", number),
}
"""Columns of the table of activity: key of a value's JSON, and as text."""


def activity_of(report: Report) -> Table:
    """One row per stored value; none where nothing was run."""
    found = report.evidence.activity
    title = f"Activity ({found.samples} samples: {found.source})" if found else "Activity"
    values = found.to_json()["values"] if found else {}
    rows = [
        [name, *(text(row[key]) for key, text in ACTIVITY_COLUMNS.values())] for name, row in values.items()
    ]
    headers = ["value", *ACTIVITY_COLUMNS]
    return Table(title, headers, rows, range(1, len(headers)))


def activity_records(report: Report) -> list[dict[str, Any]]:
    """One record per node and one for the total: ``activity.KEY``, empty for what is not stored; nothing
    where nothing was run."""
    found = report.evidence.activity
    values = found.to_json()["values"] if found else {}
    keys = [key for key, _ in ACTIVITY_COLUMNS.values()] if found else []
    names = [*(layer.name for layer in report.layers), None]
    return [{f"activity.{key}": values.get(name, {}).get(key) for key in keys} for name in names]


def verification_of(report: Report) -> Table:
    """One row per executor."""
    found = report.evidence.verification
    executors = found.comparison.executors if found else {}
    rows = [
        (name, number(row.samples), number(row.mismatches), verdict(name, row))
        for name, row in executors.items()
    ]
    title = f"Executors against the interpreter ({found.source})" if found else ""
    return Table(title, ("executor", "samples", "mismatches", "verdict"), rows, numbers=(1, 2))


def speed_of(report: Report) -> Table:
    """One row per executor and twin that was timed."""
    found = report.evidence.speed
    rows = [
        (
            contender_name(row),
            milliseconds(row.median_ms),
            quartiles(row),
            times(row.ratio_to_fp32),
            times(row.ratio_to_int8),
        )
        for row in (found.rows if found else ())
    ]
    title = f"Speed of one sample, one thread ({found.machine})" if found else ""
    headers = ("executor", "median ms", "quartiles ms", "x fp32", "x int8")
    return Table(title, headers, rows, range(1, len(headers)))


def energy_of(report: Report) -> Table:
    """One row per device whose energy can be estimated."""
    rows = [
        (name, joules(e.nanojoules), f"{joules(e.low)} to {joules(e.high)}: {e.basis}")
        for name, found in report.devices.items()
        if (e := found.energy)
    ]
    headers = ("device", "estimate", "range and basis")
    return Table("Energy of one inference, estimated", headers, rows, numbers=(1,))
