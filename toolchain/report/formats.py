"""A report, or a comparison of several, as text, JSON, CSV, Markdown or HTML.

Names come from files and are escaped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import InputError, MissingToolError
from toolchain.bench.collection import Collection
from toolchain.cost import Report
from toolchain.report.comparison import CostComparison
from toolchain.report.comparison_page import comparison_page
from toolchain.report.measurements import collection_page
from toolchain.report.page import Page
from toolchain.report.single import layers_of, report_page
from toolchain.tables import markdown_cell
from toolchain.tables import to_markdown as table_markdown
from toolchain.tables import to_text as table_text

Subject = Report | CostComparison | Collection

PAGES: dict[type, Callable[[Any], Page]] = {
    Report: report_page,
    CostComparison: comparison_page,
    Collection: collection_page,
}
"""How the page of each subject is made."""


def page_of(subject: Subject) -> Page:
    """The page that the formats write."""
    return PAGES[type(subject)](subject)


def layer_table(report: Report, width: int | None = None) -> str:
    """The layer table with its total row, as aligned text of at most ``width`` characters a line."""
    return table_text(layers_of(report), width)


def to_text(subject: Subject, width: int | None = None) -> str:
    """Every table as aligned text, folded to ``width`` characters a line where there is a width."""
    page = page_of(subject)
    parts = [f"{table.title}\n\n{table_text(table, width)}" for table in page.tables]
    return "\n\n".join([page.title, *parts]) + "\n"


def to_json(subject: Subject) -> str:
    """The JSON form as text; its keys are part of the interface."""
    return json.dumps(page_of(subject).data, indent=2, allow_nan=False) + "\n"


def _spreadsheet_safe(value: object) -> object:
    """``value``; text so that a spreadsheet does not take it for a formula."""
    hostile = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if hostile else value


def to_csv(subject: Subject) -> str:
    """The records, one row each; numbers unformatted."""
    records = page_of(subject).records
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _spreadsheet_safe(value) for key, value in row.items()} for row in records)
    return out.getvalue()


def to_markdown(subject: Subject) -> str:
    """Every table in GitHub-flavoured Markdown."""
    page = page_of(subject)
    tables = [*page.tables, *page.details]
    parts = [f"## {markdown_cell(table.title)}\n\n{table_markdown(table)}" for table in tables]
    return "\n\n".join([f"# {markdown_cell(page.title)}", *parts]) + "\n"


def html_writer() -> Callable[[Subject], str]:
    """What writes the HTML page. Raises MissingToolError where its templates' engine is not installed."""
    try:
        from toolchain.report.html import render
    except ImportError as error:
        raise MissingToolError(
            f"the HTML report needs {error.name}: pip install 'gatefold[html]', or choose another format"
        ) from error
    return render


def to_html(subject: Subject) -> str:
    """One page with the network drawn and plots, without scripts or outside resources."""
    return html_writer()(subject)


FORMATS: dict[str, Callable[[Subject], str]] = {
    "table": to_text,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "html": to_html,
}
"""How a report or a comparison can be written."""

SUFFIXES = {".html": "html", ".md": "markdown", ".csv": "csv", ".json": "json"}
"""The format of a file by its suffix."""


def format_of(output: Path | None, format_: str | None, as_json: bool) -> str:
    """The row of ``FORMATS`` that is asked for, else that of the suffix of ``output``, else the table.

    Raises InputError where two are asked for, or the suffix is of none.
    """
    if as_json and format_ not in (None, "json"):
        raise InputError(f"--json and --format {format_} are two formats; give one")
    if format_ or as_json:
        return format_ or "json"
    if output is None or output.suffix.lower() in ("", ".txt"):
        return "table"
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{output} must end in {', '.join(SUFFIXES)} or .txt, or --format says what to write"
        )
    return SUFFIXES[output.suffix.lower()]
