"""The page of several programs beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runtime.version import VERSION
from toolchain.devices import size
from toolchain.report.comparison import NONE, CostComparison
from toolchain.report.comparison_page import (
    NETWORKS,
    connections_of,
    layers_of,
    networks_of,
    percent,
    skip_totals_of,
    summary_of,
)
from toolchain.report.html.bars import Panel, panels
from toolchain.report.html.blocks import Block, Document, Figure, Numbers, Section, Tile, Tiles
from toolchain.report.html.devices import comparison_devices
from toolchain.report.html.dots import Dots, dots, legend
from toolchain.report.html.stations import METRICS
from toolchain.report.html.svg import compact

Json = Mapping[str, Any]

TOTALS: dict[str, tuple[str, Callable[[float], str]]] = {
    "flash_bytes": ("flash", size),
    "ram_bytes": ("RAM", size),
    "ge": ("GE, parallel", compact),
    "ge_one_position": ("GE, one position", compact),
    "macs": ("MACs", compact),
}
"""Totals that are plotted: in words, and how they are written."""

LAYERS = ("ge", "constant_bytes", "macs")
"""Sums of layers that are plotted."""


def comparison_document(comparison: CostComparison) -> Document:
    """Summary, layers, skips where some program has any, devices."""
    data = comparison.to_json()["comparison"]
    sections = [
        Section("summary", "Summary", [_tiles(data), _totals(data), Numbers("totals", summary_of(data))]),
        Section(
            "layers",
            "Layers side by side",
            [
                *(_layers(data, key, *METRICS[key]) for key in LAYERS),
                Numbers("layer-gates", layers_of(data), folded=True),
            ],
        ),
        Section("skips", "Skip connections", _skips(data)),
        Section("devices", "Devices", comparison_devices(comparison)),
    ]
    names = ", ".join(data["programs"])
    return Document(
        f"{len(data['programs'])} programs side by side",
        "Cost comparison",
        f"{names}. Ratios are to the first.",
        [section for section in sections if section.blocks],
        VERSION,
    )


def _tiles(data: Json) -> Tiles:
    def tile(label: str) -> Tile:
        row = data["totals"][label]
        known = "" if row["accuracy"] is None else f"accuracy {percent(row['accuracy'])}, "
        fits = f"fits {row['devices_fit']} of {row['devices']} devices"
        return Tile(
            label, f"{compact(row['ge'])} GE", f"{known}{size(row['flash_bytes'])} of flash, {fits}"
        )

    return Tiles([tile(label) for label in data["programs"]])


def _totals(data: Json) -> Figure:
    labels = list(data["programs"])
    columns = [
        Panel(words, [data["totals"][label][key] for label in labels], text)
        for key, (words, text) in TOTALS.items()
    ]
    said = [
        f"{p.name}: " + ", ".join(f"{label} {p.text(v)}" for label, v in zip(labels, p.values, strict=True))
        for p in columns
    ]
    return Figure(
        "totals-plotted",
        "Totals",
        "; ".join(said),
        panels(labels, columns, _colours(data), of_sum=False),
        note="A bar is as long as its share of the largest in its column.",
    )


def _colours(data: Json) -> list[str]:
    return [f"series{index % 6}" for index in range(len(data["programs"]))]


def _layers(data: Json, key: str, words: str, text: Callable[[float], str]) -> Figure:
    rows = data["layers"]
    columns = [
        Panel(label, [(row["programs"][label] or {}).get(key, 0) for row in rows], text)
        for label in data["programs"]
    ]
    return Figure(
        f"layers-{key.replace('_', '-')}",
        f"By layer: {words}",
        f"{len(rows)} layers of {len(columns)} programs: their shares of the program's {words}.",
        panels([row["layer"] for row in rows], columns, ["bar"] * len(rows), common=True),
        note="All bars are on one scale. The number is the share of the program's sum, on top.",
        tall=True,
    )


def _skips(data: Json) -> list[Block]:
    if not data["skips"]["connections"]:
        return []
    kinds = {f"skip-{kind}": words for kind, words in NETWORKS.items() if kind != NONE}
    rows = [
        Dots(label, {f"skip-{kind}": found[kind]["stored_ge"] for kind in found if kind != NONE})
        for label, found in data["skips"]["networks"].items()
    ]
    figure = Figure(
        "skips-by-kind",
        "All skip connections together, by kind",
        f"Gate equivalents with registers of the skips of {len(rows)} programs, on a logarithmic axis.",
        dots(rows, "gate equivalents, registers included", kinds),
        note="Each kind of skip in place of the program's own. The axis is logarithmic.",
        legend=legend(kinds),
    )
    tables = {"networks": networks_of(data), "skip-totals": skip_totals_of(data)}
    return [
        figure,
        *(Numbers(key, table) for key, table in tables.items()),
        Numbers("connections", connections_of(data), folded=True),
    ]
