"""Plots of what was run: activity, instructions, synthesis, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolchain.bench import Bench
from toolchain.bench.text import contender_name, milliseconds
from toolchain.cost import Report
from toolchain.cost.activity import Activity
from toolchain.report.evidence import activity_of
from toolchain.report.html.bars import Panel, panels, shares
from toolchain.report.html.blocks import Block, Figure, Numbers, Prose, Swatch
from toolchain.report.html.dots import Dots, dots, legend
from toolchain.synthesis.figures import Synthesis

Json = Mapping[str, Any]

LEVELS = {"level-zero": "0", "level-between": "in between", "level-top": "at its maximum"}

NAMED = 4
"""Values with dead channels that are named; the table has them all."""

SYNTHESIS = {"formula": "closed formula", "model": "counted netlist", "measured": "Yosys"}


def activity_blocks(report: Report) -> list[Block]:
    """What the stored values hold; nothing where nothing was run."""
    found = report.evidence.activity
    if found is None:
        return []
    words = (
        f"Counted in the interpreter on {found.samples} samples: {found.source}. The shares depend on the "
        "inputs; published vectors of data that may not be passed on are uniform random. --data NAME takes "
        "test images."
    )
    return [Prose(words), _activity_figure(found), Numbers("activities", activity_of(report), folded=True)]


def _activity_figure(found: Activity) -> Figure:
    rows = {
        name: (
            {
                "level-zero": 1 - value.nonzero,
                "level-between": max(0.0, value.nonzero - value.maximum),
                "level-top": value.maximum,
            },
            value.toggles,
        )
        for name, value in found.values.items()
    }
    note = (
        "A value that is almost always 0 or at its maximum carries little; one whose bits rarely change "
        "takes little energy."
    )
    dead = [f"{n} ({v.dead_channels} of {v.channels})" for n, v in found.values.items() if v.dead_channels]
    if dead:
        more = f" and {len(dead) - NAMED} more values" if len(dead) > NAMED else ""
        note += f" Channels that never changed: {', '.join(dead[:NAMED])}{more}."
    return Figure(
        "activity-by-value",
        "What the stored values hold",
        f"{len(rows)} values: the shares of elements that are 0, in between and at the maximum, and of "
        "bits that change from one sample to the next.",
        shares(rows, "share of the elements", "bits that change"),
        note=note,
        legend=[Swatch(class_, words) for class_, words in LEVELS.items()],
        tall=True,
    )


def instructions_figures(data: Json) -> list[Block]:
    """Instructions by layer on each microcontroller that ran the program; nothing where none did."""
    found = {name: row["measured"] and row["measured"]["run"] for name, row in data["devices"].items()}
    runs = {name: {row["layer"]: row for row in run["layers"]} for name, run in found.items() if run}
    if not runs:
        return []
    layers = list(dict.fromkeys(layer for run in runs.values() for layer in run))

    def counts(name: str) -> Panel:
        first = next(iter(runs[name].values()))
        unit = "estimated_cycles" if first["instructions"] is None else "instructions"
        title = f"{name} (cycles)" if unit == "estimated_cycles" else name
        return Panel(title, [runs[name].get(layer, {unit: 0})[unit] for layer in layers])

    return [
        Figure(
            "instructions-by-layer",
            "Instructions of one inference, by layer",
            f"{len(layers)} layers on {', '.join(runs)}.",
            panels(layers, [counts(name) for name in runs], ["bar"] * len(layers)),
            note="Counted under emulation; the sum of each core stands on top.",
            tall=True,
        )
    ]


def synthesis_figure(found: Synthesis) -> Figure:
    """Gates of the formula, of the model and of Yosys, circuit by circuit."""
    kinds = {f"synthesis-{key}": words for key, words in SYNTHESIS.items()}
    rows = []
    for row in found.rows:
        figures = row.to_json()
        rows.append(Dots(row.stage, {f"synthesis-{k}": figures[k]["ge"] for k in SYNTHESIS if figures[k]}))
    return Figure(
        "synthesis-gates",
        "Gates of one position, counted and synthesized",
        f"{len(rows)} circuits: gate equivalents by formula, by netlist and by {found.tool}.",
        dots(rows, "gate equivalents", kinds),
        note="What is too large to be synthesized has no mark of Yosys. The axis is logarithmic.",
        legend=legend(kinds),
        tall=True,
    )


def speed_figure(found: Bench) -> Figure:
    """Milliseconds of one sample."""
    rows = [
        Dots(contender_name(row), {"median": row.median_ms}, (row.quartile1_ms, row.quartile3_ms))
        for row in found.rows
    ]
    return Figure(
        "speed-by-executor",
        "Time for one sample, one thread",
        "; ".join(f"{contender_name(row)} {milliseconds(row.median_ms)} ms" for row in found.rows),
        dots(rows, "milliseconds", {"median": "median"}),
        note="Mark: the median. Line: first to third quartile. The axis is logarithmic.",
    )
