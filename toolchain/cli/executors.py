"""``gatefold executors``."""

from __future__ import annotations

import click

import exporters
from toolchain.cli.common import emit, json_option, table


@click.command("executors")
@json_option
def command(as_json: bool) -> None:
    """List the executors and whether they can run here."""
    rows = {
        name: {"summary": row.summary, "missing": row.missing()}
        for name, row in exporters.executors().items()
    }
    text = table(
        ["executor", "here", "what it is"],
        [[name, row["missing"] or "yes", row["summary"]] for name, row in rows.items()],
    )
    emit({"executors": rows}, as_json, text)
