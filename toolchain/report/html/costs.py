"""Where the cost sits: by layer, by kind of op, and what flash and RAM are made of."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.cost import Report
from toolchain.devices import size
from toolchain.report.html.bars import Panel, panels, stacked
from toolchain.report.html.blocks import Block, Figure, Prose, Swatch
from toolchain.report.html.stations import METRICS, WORDS, Json, Station, family_of, metrics_of
from toolchain.report.html.svg import percent

HEAVIEST = 3


def cost_figures(stations: Sequence[Station], report: Report) -> list[Block]:
    """The plots of cost, and which layers weigh most in words."""
    layers = [station for station in stations if station.family != "input"]
    if not layers:
        return [Prose("The program has no ops: its outputs are its inputs.")]
    return [Prose(heaviest(layers)), _by_layer(layers), _by_family(report.to_json()), _bytes(report)]


def heaviest(layers: Sequence[Station]) -> str:
    """Which layers carry most of the gates and of the constants."""
    sentences = []
    for key, words in (
        ("ge", "gates of the fully parallel circuit"),
        ("constant_bytes", "bytes of constants"),
    ):
        total = sum(layer.sums[key] for layer in layers)
        if total:
            first = sorted(layers, key=lambda layer: -layer.sums[key])[:HEAVIEST]
            shares = ", ".join(
                f"{layer.name} {percent(layer.sums[key] / total)}" for layer in first if layer.sums[key]
            )
            sentences.append(f"Most {words}: {shares}.")
    return " ".join(sentences)


def _by_layer(layers: Sequence[Station]) -> Figure:
    columns = [
        Panel(words, [layer.sums[key] for layer in layers], text) for key, (words, text) in METRICS.items()
    ]
    return Figure(
        "cost-by-layer",
        "Cost by layer",
        f"{len(layers)} layers, each with its share of {', '.join(column.name for column in columns)}.",
        panels([layer.name for layer in layers], columns, [f"family-{layer.family}" for layer in layers]),
        note="The sum stands below each heading. A bar is as long as its share of the largest in its "
        "column; the number is its share of the sum. Colour is the kind of op.",
        legend=_legend({layer.family for layer in layers}),
        tall=True,
    )


def _legend(families: set[str]) -> list[Swatch]:
    return [Swatch(f"family-{key}", words) for key, words in WORDS.items() if key in families]


def _by_family(data: Json) -> Figure:
    sums = {
        family: [metrics_of(layer) for layer in data["layers"] if family_of(layer["op"]) == family]
        for family in WORDS
    }
    rows = {
        words: {f"family-{family}": sum(row[key] for row in found) for family, found in sums.items()}
        for key, (words, _) in METRICS.items()
    }
    totals = metrics_of(data["total"])
    said = [
        f"{words}: "
        + ", ".join(
            f"{WORDS[family]} {text(sum(row[key] for row in found))}"
            for family, found in sums.items()
            if found
        )
        for key, (words, text) in METRICS.items()
    ]
    return Figure(
        "cost-by-kind",
        "Cost by kind of op",
        "; ".join(said),
        stacked(rows, {words: text(totals[key]) for key, (words, text) in METRICS.items()}),
        legend=_legend({family for family, found in sums.items() if found}),
    )


def _bytes(report: Report) -> Figure:
    used = report.total.footprint.bytes
    rows = {
        "flash": {"part-constants": used.constants, "part-code": used.code},
        "RAM": {"part-arena": used.arena, "part-ports": used.ports, "part-stack": used.stack},
    }
    totals = {"flash": size(used.flash), "RAM": size(used.ram)}
    parts = {name.partition("-")[2]: value for cells in rows.values() for name, value in cells.items()}
    words = {"ports": "arrays of the caller"}
    return Figure(
        "footprint",
        "What flash and RAM are made of",
        f"Estimated, {report.total.footprint.basis}: "
        + ", ".join(f"{words.get(name, name)} {size(value)}" for name, value in parts.items()),
        stacked(rows, totals),
        note=f"Estimated: {report.total.footprint.basis}.",
        legend=[
            Swatch(f"part-{name}", f"{words.get(name, name)}, {size(value)}")
            for name, value in parts.items()
        ],
    )
