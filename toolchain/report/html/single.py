"""The page of one program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.version import VERSION
from toolchain.cost import Report
from toolchain.devices import fitting, number, size
from toolchain.report.comparison import accuracy_of
from toolchain.report.html.blocks import Block, Document, Numbers, Section, Tile, Tiles
from toolchain.report.html.chapters import energy, executors, microcontrollers, skips, synthesis
from toolchain.report.html.costs import cost_figures
from toolchain.report.html.devices import device_blocks
from toolchain.report.html.memory import memory_figure
from toolchain.report.html.network import network_figure
from toolchain.report.html.runs import activity_blocks
from toolchain.report.html.stations import stations_of
from toolchain.report.html.svg import compact
from toolchain.report.single import forms_of, layers_of, memory_of, totals_of
from toolchain.tables import Table

Json = Mapping[str, Any]


def report_document(report: Report) -> Document:
    """Every section that has something to say."""
    data = report.to_json()
    stations, forms = stations_of(data), forms_of(report)
    costs = [*cost_figures(stations, report), Numbers("layers", layers_of(report), folded=True)]
    plan = [memory_figure(data), Numbers("buffers", memory_of(report), folded=True)]
    sections = [
        Section("summary", "Summary", [_tiles(report, data), Numbers("totals", totals_of(report))]),
        Section("network", "Network", [network_figure(stations)]),
        Section("cost", "Where the cost sits", costs),
        Section("activity", "Activity", activity_blocks(report)),
        Section("memory", "Memory over time", plan),
        Section("weights", "Weight forms", [Numbers("forms", forms)] if forms.rows else []),
        Section("skips", "Skip connections", skips(report, data)),
        Section("devices", "Devices", device_blocks(report)),
        Section("mcus", "Microcontrollers", microcontrollers(report, data)),
        Section("energy", "Energy", energy(report)),
        Section("synthesis", "Synthesis", synthesis(report)),
        Section("executors", "Executors", executors(report)),
        Section("provenance", "Provenance", _provenance(report, data)),
    ]
    shown = [section for section in sections if section.blocks]
    return Document(report.program, "Cost report", lead_of(report), shown, VERSION)


def lead_of(report: Report) -> str:
    """What to remember of a program, in a few sentences."""
    total, circuits = report.total, report.total.circuits
    words = [
        f"Takes {size(total.flash_bytes)} of flash and {size(total.ram_bytes)} of RAM "
        f"({total.footprint.basis}, estimated).",
        f"As a circuit {compact(circuits.parallel.ge)} gate equivalents fully parallel, "
        f"{compact(circuits.one_position.ge)} with one position reused.",
    ]
    if report.devices:
        words.append(f"Fits {fitting({name: v.fits for name, v in report.devices.items()})}.")
    if found := report.evidence.verification:
        ran = [row for row in found.comparison.executors.values() if not row.skipped]
        words.append(
            f"{len(ran)} executors give the same bits on {max(row.samples for row in ran)} samples."
            if found.comparison.ok
            else "AN EXECUTOR DIFFERS from the interpreter: see below."
        )
    return " ".join(words)


def _tiles(report: Report, data: Json) -> Tiles:
    total, sums = report.total, data["total"]
    metadata, basis = report.outline.metadata, f"estimated, {total.footprint.basis}"
    tiles = []
    if (accuracy := accuracy_of(metadata)) is not None:
        tiles.append(Tile("accuracy", f"{100 * accuracy:.2f} %", _tested(metadata)))
    reused = compact(sums["lut6_one_position"])
    tiles += [
        Tile("parameters", compact(total.parameters), f"{number(total.nonzero)} weights not 0"),
        Tile("flash", size(total.flash_bytes), basis),
        Tile("RAM", size(total.ram_bytes), basis),
        Tile("gates, parallel", compact(sums["gates"]["ge"]), "gate equivalents (GE)"),
        Tile("gates, reused", compact(sums["gates_one_position"]["ge"]), "GE of one position"),
        Tile("LUT6, parallel", compact(sums["lut6"]), f"{reused} for one position"),
        Tile("MACs", compact(total.macs), f"{compact(total.bops)} BOPs"),
        Tile("arena", size(total.arena_bytes), "activations as bit planes"),
    ]
    if report.devices:
        fits = sum(verdict.fits for verdict in report.devices.values())
        tiles.append(Tile("devices it fits", f"{fits} of {len(report.devices)}", "by the verdicts below"))
    return Tiles(tiles)


def _tested(metadata: Json) -> str:
    samples, dataset = metadata.get("test_samples"), metadata.get("dataset")
    words = f"{samples:,} test samples" if isinstance(samples, int) else "test samples"
    return (
        f"{words} of {dataset}, by its metadata"
        if isinstance(dataset, str)
        else f"{words}, by its metadata"
    )


def _provenance(report: Report, data: Json) -> list[Block]:
    rows = [("program", report.program)]
    if origin := report.evidence.origin:
        rows += [
            ("file", f"{origin.path} ({number(origin.bytes)} bytes)"),
            ("SHA-256 of the file", origin.sha256),
            ("reported by", f"Gatefold {origin.version}"),
        ]
    rows += [(f"metadata: {key}", _said(value)) for key, value in sorted(data["metadata"].items())]
    return [
        Numbers("origin", Table("Where the program is from", ("what", "value"), rows)),
        Numbers("basis", Table("What each figure rests on", ("figure", "basis"), BASIS)),
    ]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


BASIS: Sequence[tuple[str, str]] = (
    ("parameters, MACs, BOPs, constants", "exact, counted in the program"),
    ("GE, LUT4, LUT6", "closed formulas, tested against circuits that are built; not a synthesis"),
    ("arena", "exact: the planned layout of all bit planes"),
    ("flash, RAM", "constants, arena and arrays exact; code and stack estimated unless it says measured"),
    ("activity", "counted in the interpreter on the samples that are named"),
    ("verdicts", "limits of the data sheet; look-up tables as counted, before place and route"),
    ("energy", "estimated from published figures, with the range it may be off by"),
    ("speed", "median of runs in turns, on the machine that is named"),
)
