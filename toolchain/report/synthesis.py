"""What Yosys and nextpnr made of the circuits, as tables and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.devices import number
from toolchain.synthesis.figures import SIZES, Synthesis
from toolchain.tables import Table

WORDS = {"ge": "GE", "lut4": "LUT4", "lut6": "LUT6", "ff": "FF"}
SOURCES = ("formula", "model", "measured", "deviation")


def synthesis_of(found: Synthesis | None) -> Table:
    """A row per circuit of one position, and the sum; none where nothing was asked."""
    headers = ["circuit", "op", "GE formula"]
    for key in SIZES[:3]:
        headers += [f"{WORDS[key]} model", f"{WORDS[key]} Yosys", "off by"]
    headers += ["FF model", "FF Yosys", "BRAM", "depth", "not synthesized"]
    title = "Synthesis of one position of each circuit"
    if found is None:
        return Table(title, headers, [])
    rows = [[row.stage, row.op, *_figures(row.to_json())] for row in found.rows]
    total = ["total", "", *_figures(found.to_json() | {"not_synthesized": None})]
    return Table(
        f"{title}, by {found.tool}", headers, [*rows, total], range(2, len(headers) - 1), total_row=True
    )


def _figures(row: dict[str, Any]) -> list[str]:
    model, measured, deviation = row["model"], row["measured"], row["deviation"]
    cells = [number(row["formula"]["ge"])]
    for key in SIZES[:3]:
        cells += [_number(model, key), _number(measured, key), _percent(deviation, key)]
    cells += [_number(model, "ff"), _number(measured, "ff"), _number(measured, "bram")]
    return [*cells, _number(measured, "depth_ge"), row["not_synthesized"] or ""]


def _number(figures: dict[str, Any] | None, key: str) -> str:
    return "-" if figures is None else number(figures[key])


def _percent(deviation: dict[str, float | None] | None, key: str) -> str:
    share = deviation and deviation[key]
    return "-" if share is None else f"{100 * share:+.1f} %"


def placement_of(found: Synthesis | None) -> Table:
    """Fmax and utilization of every circuit that was placed and routed."""
    headers = ("circuit", "device", "Fmax", "logic cells", "of", "used", "registers around it")
    rows = [
        (
            row.stage,
            row.placed.device,
            f"{row.placed.fmax_mhz:.1f} MHz",
            number(row.placed.logic),
            number(row.placed.logic_available),
            f"{100 * row.placed.logic / row.placed.logic_available:.1f} %",
            number(row.placed.harness_bits),
        )
        for row in (found.rows if found else ())
        if row.placed
    ]
    return Table("Place and route", headers, rows, range(2, len(headers)))


def synthesis_records(rows: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """One record each: figures as ``synthesis.SOURCE.KEY``; empty where nothing was synthesized at all."""
    if not any(rows):
        return [{} for _ in rows]
    keys = [(source, key) for source in SOURCES for key in (SIZES if source != "formula" else SIZES[:3])]
    return [
        {f"synthesis.{source}.{key}": row and row[source] and row[source][key] for source, key in keys}
        for row in rows
    ]
