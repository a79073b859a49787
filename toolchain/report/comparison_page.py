"""A comparison of several programs as tables and records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from toolchain.devices import number, size
from toolchain.report.comparison import NONE, OWN, CostComparison
from toolchain.report.page import Page
from toolchain.report.single import SKIP_KINDS, shape_text
from toolchain.tables import Table

ABSENT = "-"

Json = Mapping[str, Any]


def percent(share: float) -> str:
    """``0.28 %``."""
    return f"{100 * share:.2f} %"


QUANTITIES: dict[str, tuple[str, Callable[[float], str], bool]] = {
    "parameters": ("parameters", number, True),
    "macs": ("MACs", number, True),
    "bops": ("BOPs", number, True),
    "weight_bytes": ("weights, packed", size, True),
    "threshold_bytes": ("thresholds", size, True),
    "lookup_bytes": ("lookup tables", size, True),
    "bias_bytes": ("biases", size, True),
    "flash_bytes": ("flash, estimated", size, True),
    "ram_bytes": ("RAM, estimated", size, True),
    "arena_bytes": ("arena of bit planes", size, True),
    "ge": ("GE, fully parallel", number, True),
    "skip_ge": ("  of it skips", number, False),
    "skip_share": ("  share of the skips", percent, False),
    "float32_skips_ge": ("GE, float32 skips instead", number, True),
    "ge_one_position": ("GE, one position reused", number, True),
    "lut6": ("LUT6, fully parallel", number, True),
    "lut6_one_position": ("LUT6, one position reused", number, True),
    "accuracy": ("accuracy", percent, False),
    "devices_fit": ("devices it fits, of {devices}", number, False),
}
"""Rows of the summary by key: in words, as text, and whether with its ratio to the first program."""

NETWORKS = {OWN: "as it is", NONE: "none", **SKIP_KINDS}
"""Rows of the tables of networks: kinds of skips in words."""


def _shown(value: float | None, text: Callable[[float], str]) -> str:
    return ABSENT if value is None else text(value)


def _with_ratio(text: str, ratio: float | None) -> str:
    """``text`` and its ratio, as wide with one as without, so that numbers stand below each other."""
    shown = "" if ratio is None else f"({ratio:.3f})"
    return f"{text} {shown:>8}"


def summary_of(data: Json) -> Table:
    """One column per program and one row per quantity that some program has."""
    first, *others = data["programs"]
    rows = []
    for key, (title, text, compared) in QUANTITIES.items():
        if all(data["totals"][label][key] is None for label in data["programs"]):
            continue
        cells = [_shown(data["totals"][first][key], text)]
        for label in others:
            ratio = data["ratios"][label][key] if compared else None
            cells.append(_with_ratio(_shown(data["totals"][label][key], text), ratio))
        rows.append([title.format(**data["totals"][first]), *cells])
        if key == "ram_bytes":
            rows.append(["flash and RAM are of", *(data["basis"][label] for label in data["programs"])])
    title = f"Programs (in brackets: ratio to {first})" if others else "Programs"
    return _side_by_side(title, "quantity", data, rows)


def _side_by_side(title: str, key: str, data: Json, rows: list[list[str]], total: bool = False) -> Table:
    headers = [key, *data["programs"]]
    return Table(title, headers, rows, range(1, len(headers)), total_row=total)


def layers_of(data: Json) -> Table:
    """Gate equivalents of each layer of each program, and their sum."""
    rows = [
        [row["layer"], *(_shown(cell and cell["ge"], number) for cell in row["programs"].values())]
        for row in data["layers"]
    ]
    total = ["total", *(number(data["totals"][label]["ge"]) for label in data["programs"])]
    return _side_by_side("Layers (GE, fully parallel)", "layer", data, [*rows, total], total=True)


def connections_of(data: Json) -> Table:
    """Per connection and program: what it has, and every kind at the same place."""
    rows = [
        [
            row["connection"],
            label,
            shape_text(at["shape"]),
            at["kind"],
            *(number(at["costs"][kind]["ge"]) for kind in (OWN, *SKIP_KINDS)),
        ]
        for row in data["skips"]["connections"]
        for label, at in row["programs"].items()
        if at
    ]
    headers = ("connection", "program", "shape", "has", "its GE", *SKIP_KINDS.values())
    return Table("Skip connections (GE without registers)", headers, rows, range(4, len(headers)))


def skip_totals_of(data: Json) -> Table:
    """Per program with skips and kind: all connections together."""
    rows = [
        [
            label,
            words,
            number(cost["ge"]),
            number(cost["stored_ge"]),
            percent(cost["share"]),
            number(cost["bits"]),
            size(cost["bytes"]),
        ]
        for label, kinds in data["skips"]["networks"].items()
        for kind, words in NETWORKS.items()
        if kind != NONE and (cost := kinds.get(kind))
    ]
    headers = ("program", "skips", "GE", "with registers", "share of network", "carried bits", "carried")
    return Table("Skip connections, all together", headers, rows, range(2, len(headers)))


def networks_of(data: Json) -> Table:
    """Gate equivalents of each whole network with each kind of skip in place of its own."""
    networks = data["skips"]["networks"]
    rows = []
    for kind, words in NETWORKS.items():
        cells = [networks[label].get(kind, {}).get("network_ge") for label in data["programs"]]
        rows.append([words, *(_shown(cell, number) for cell in cells)])
    return _side_by_side("Whole network by kind of skip (GE, fully parallel)", "skips", data, rows)


def records_of(data: Json) -> Iterator[dict[str, Any]]:
    """Every number of the comparison: one record per table, item, program and quantity."""

    def records(table: str, item: str, label: str, values: Json) -> Iterator[dict[str, Any]]:
        for quantity, value in values.items():
            yield {
                "table": table,
                "item": item,
                "program": label,
                "quantity": quantity,
                "value": "" if value is None else value,
            }

    for table in ("totals", "ratios"):
        for label, values in data[table].items():
            yield from records(table, "total", label, values)
    for row in data["layers"]:
        for label, values in row["programs"].items():
            yield from records("layers", row["layer"], label, values or {})
    for row in data["skips"]["connections"]:
        for label, at in row["programs"].items():
            for kind, cost in (at["costs"] if at else {}).items():
                item = f"{row['connection']}: {kind}"
                yield from records("connections", item, label, cost)
    for label, kinds in data["skips"]["networks"].items():
        for kind, cost in kinds.items():
            yield from records("networks", kind, label, cost)


def comparison_page(comparison: CostComparison) -> Page:
    """The summary, the layers, and where some program has skips, those."""
    json_form = comparison.to_json()
    data = json_form["comparison"]
    tables = [summary_of(data), layers_of(data)]
    if data["skips"]["connections"]:
        tables += [connections_of(data), skip_totals_of(data), networks_of(data)]
    title = f"{len(data['programs'])} programs: {', '.join(data['programs'])}"
    return Page(title, tables, json_form, list(records_of(data)))
