"""A ``Report`` as text, JSON, CSV, Markdown or HTML. Names come from files and are escaped."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.cost import Report
from toolchain.devices import number, size

Row = Sequence[str]

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "name": lambda row: row["name"],
    "op": lambda row: row["op"],
    "output": lambda row: "" if row["shape"] is None else "x".join(map(str, row["shape"])) or "scalar",
    "bits": lambda row: str(row["bits"]),
    "parameters": lambda row: number(row["parameters"]),
    "MACs": lambda row: number(row["macs"]),
    "BOPs": lambda row: number(row["bops"]),
    "constants": lambda row: size(constant_bytes(row)),
    "arena": lambda row: size(row["activation_bytes"]),
    "GE parallel": lambda row: number(row["gates"]["ge"]),
    "GE reused": lambda row: number(row["gates_one_position"]["ge"]),
}
"""Columns of the layer table: a layer of ``Report.to_json()`` to text. The first three are text."""

TEXT_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first ``text`` columns are text, the others numbers."""

    title: str
    headers: Row
    rows: Sequence[Row]
    text: int
    total_row: bool = False


def constant_bytes(row: dict[str, Any]) -> int:
    """All constants of a layer or of the total, in bytes."""
    return sum(row[f"{kind}_bytes"] for kind in ("weight", "threshold", "lookup", "bias"))


def layers_of(report: Report) -> Table:
    """One row per node and a total row."""
    data = report.to_json()
    total = data["total"] | {"name": "total", "op": "", "shape": None, "bits": ""}
    total["activation_bytes"] = total["arena_bytes"]
    rows = [[render(row) for render in COLUMNS.values()] for row in [*data["layers"], total]]
    return Table("Layers", list(COLUMNS), rows, TEXT_COLUMNS, total_row=True)


def totals_of(report: Report) -> Table:
    """The total in words."""
    total = report.total
    data = report.to_json()["total"]
    reused = number(data["gates_one_position"]["ge"])
    rows = [
        ("parameters", f"{number(total.parameters)} ({number(total.nonzero)} weights not 0)"),
        ("weights, packed", size(total.constants.weight_bytes)),
        ("thresholds", size(total.constants.threshold_bytes)),
        ("lookup tables", size(total.constants.lookup_bytes)),
        ("biases", size(total.constants.bias_bytes)),
        ("float-32 equivalent", f"{size(total.float32_bytes)} ({total.compression:.1f} times as much)"),
        ("flash", f"{size(total.flash_bytes)} ({size(total.code_bytes)} of it code, estimated)"),
        (
            "RAM",
            f"{size(total.ram_bytes)} (arena {size(total.arena_bytes)}, most live at {report.memory.peak})",
        ),
        ("MACs", number(total.macs)),
        ("BOPs", number(total.bops)),
        ("fully parallel circuit", f"{number(data['gates']['ge'])} GE, {number(data['lut6'])} LUT6"),
        ("one position, reused", f"{reused} GE, {number(data['lut6_one_position'])} LUT6"),
    ]
    return Table("Total", ("quantity", "value"), rows, 2)


def devices_of(report: Report) -> Table:
    """One verdict per device."""
    rows = [(name, "yes" if v.fits else "no", v.verdict) for name, v in report.devices.items()]
    return Table("Devices", ("device", "fits", "verdict"), rows, 3)


def skips_of(report: Report) -> Table:
    """Gate equivalents of each way to join two branches, per connection."""
    headers = ("connection", "op", "shape", "OR", "MUX", "int8 add", "float32 add")
    kinds = ("or", "mux", "integer_add", "float32_add")
    rows = [
        (row["name"], row["op"], "x".join(map(str, row["shape"])), *(number(row[k]["ge"]) for k in kinds))
        for row in report.skip_cost["connections"]
    ]
    if report.skip_cost["present"]:
        return Table("Skip connections (GE)", headers, rows, 3)
    return Table("Skip connections that could be added (GE)", headers, rows, 3)


def tables_of(report: Report) -> list[Table]:
    """Every table with at least one row."""
    tables = [layers_of(report), totals_of(report), devices_of(report), skips_of(report)]
    return [table for table in tables if table.rows]


def _aligned(table: Table) -> str:
    lines = [list(table.headers), *map(list, table.rows)]
    widths = [max(len(row[i]) for row in lines) for i in range(len(table.headers))]
    texts = []
    for row in lines:
        cells = [
            c.ljust(w) if i < table.text else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        texts.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, texts))
    body = [*texts[1:-1], rule, texts[-1]] if table.total_row else texts[1:]
    return "\n".join([texts[0], rule, *body])


def layer_table(report: Report) -> str:
    """The layer table with its total row, as aligned text."""
    return _aligned(layers_of(report))


def to_text(report: Report) -> str:
    """Every table as aligned text."""
    parts = [f"{table.title}\n\n{_aligned(table)}" for table in tables_of(report)]
    return "\n\n".join([report.program, *parts]) + "\n"


def to_json(report: Report) -> str:
    """``Report.to_json()`` as text."""
    return json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"


def _spreadsheet_safe(text: str) -> str:
    """``text`` that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def to_csv(report: Report) -> str:
    """The layers in full, one row each and a total row; numbers unformatted, gates as ``gates.KEY``."""
    data = report.to_json()
    keep = data["layers"] + [
        {"name": "total", "op": "", "layer": "", "shape": [], "bits": ""} | _shared(data["total"])
    ]
    rows = [_flat(layer) for layer in keep]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _shared(total: dict[str, Any]) -> dict[str, Any]:
    own = {"arena_bytes", "code_bytes", "flash_bytes", "ram_bytes", "float32_bytes", "compression"}
    return {k: v for k, v in total.items() if k not in own} | {"activation_bytes": total["arena_bytes"]}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{k}": v for k, v in value.items()}
        elif isinstance(value, list):
            flat[key] = "x".join(map(str, value))
        else:
            flat[key] = _spreadsheet_safe(value) if isinstance(value, str) else value
    return flat


def _markdown_cell(text: str) -> str:
    escaped = html.escape(text, quote=False)
    for mark in "\\`*_[]|~":
        escaped = escaped.replace(mark, "\\" + mark)
    return escaped


def to_markdown(report: Report) -> str:
    """Every table in GitHub-flavoured Markdown."""
    parts = [f"# {_markdown_cell(report.program)}"]
    for table in tables_of(report):
        rule = ["---" if i < table.text else "---:" for i in range(len(table.headers))]
        lines = [table.headers, rule, *([_markdown_cell(cell) for cell in row] for row in table.rows)]
        parts.append(f"## {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "td,th{padding:.25em .7em;border-bottom:1px solid #ccc;text-align:left}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}.total td{font-weight:bold}"
)


def _html_row(tag: str, row: Row, table: Table, last: bool) -> str:
    classes = ["" if i < table.text else " class='n'" for i in range(len(row))]
    cells = [f"<{tag}{c}>{html.escape(cell)}</{tag}>" for c, cell in zip(classes, row, strict=True)]
    opening = "<tr class='total'>" if last else "<tr>"
    return f"{opening}{''.join(cells)}</tr>"


def to_html(report: Report) -> str:
    """Every table on one page without scripts or outside resources."""
    parts = []
    for table in tables_of(report):
        head = _html_row("th", table.headers, table, False)
        count = len(table.rows)
        body = [
            _html_row("td", row, table, table.total_row and i == count - 1)
            for i, row in enumerate(table.rows)
        ]
        parts.append(
            f"<h2>{html.escape(table.title)}</h2>\n<table>\n" + "\n".join([head, *body]) + "\n</table>"
        )
    title = html.escape(report.program)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</html>\n"
    )


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": to_text,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "html": to_html,
}
"""How a report can be written."""
