"""Sections of a program's page: skips, microcontrollers, energy, synthesis, executors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolchain.bench.text import BUSY
from toolchain.cost import Report
from toolchain.devices import joules
from toolchain.report.evidence import energy_of, speed_of, verification_of
from toolchain.report.html.blocks import Block, Figure, Numbers, Prose
from toolchain.report.html.dots import Dots, dots, legend
from toolchain.report.html.runs import instructions_figures, speed_figure, synthesis_figure
from toolchain.report.single import (
    SKIP_KINDS,
    instructions_of,
    microcontrollers_of,
    skips_of,
    times_of,
)
from toolchain.report.synthesis import placement_of, synthesis_of
from toolchain.tables import Table

Json = Mapping[str, Any]

NOTHING = "-"


def _filled(table: Table) -> Table:
    """``table`` without the columns that say nothing in any row."""
    kept = [i for i in range(len(table.headers)) if any(row[i] != NOTHING for row in table.rows)]
    return replace(
        table,
        headers=[table.headers[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
        numbers=[place for place, i in enumerate(kept) if i in table.numbers],
    )


def _folded(**tables: Table) -> list[Block]:
    return [Numbers(key, table, folded=True) for key, table in tables.items() if table.rows]


def skips(report: Report, data: Json) -> list[Block]:
    """What each kind of skip takes at every connection, or would take where one could be."""
    rows = data["skip_cost"]["connections"]
    if not rows:
        return [Prose("There is no skip connection, and no image that one could be put around.")]
    kinds = {f"skip-{key}": words for key, words in SKIP_KINDS.items()}
    note = "The program has no skip connection: this is what one around each of these images would take."
    if data["skip_cost"]["present"]:
        kinds = {"skip-own": "as it is", **kinds}
        note = "What it takes to join the two branches, without the branches."
    places = [Dots(row["name"], {key: row[key.partition("-")[2]]["ge"] for key in kinds}) for row in rows]
    figure = Figure(
        "skip-costs",
        "Gates of each kind of skip, at every connection",
        f"{len(rows)} connections; gate equivalents of {', '.join(kinds.values())} on a logarithmic axis.",
        dots(places, "gate equivalents", kinds),
        note=f"{note} The axis is logarithmic.",
        legend=legend(kinds),
        tall=True,
    )
    return [figure, Numbers("connections", skips_of(report), folded=len(rows) > 12)]


def microcontrollers(report: Report, data: Json) -> list[Block]:
    """Flash, RAM, instructions and milliseconds, measured against estimated."""
    sizes, times = _filled(microcontrollers_of(report)), _filled(times_of(report))
    if not sizes.rows:
        return []
    if not any(row["measured"] for row in data["devices"].values()):
        words = "All figures are estimates: --measure cross-compiles the program's C and emulates it."
        return [Prose(words), *_folded(mcu_bytes=sizes, mcu_times=times)]
    words = (
        "Measured: the program's C, cross-compiled and linked for the core, and run there under emulation. "
        '"Off by" is the estimate over the measurement, less 1. Milliseconds are never measured: they are '
        "estimated from instructions."
    )
    return [
        Prose(words),
        Numbers("mcu-bytes", sizes),
        Numbers("mcu-times", times),
        *instructions_figures(data),
        *_folded(instructions=instructions_of(report)),
    ]


def energy(report: Report) -> list[Block]:
    """Energy of an inference where it can be estimated, with its range and source."""
    found = {name: verdict.energy for name, verdict in report.devices.items() if verdict.energy}
    if not found:
        return []
    kinds = {"energy": "estimate"}
    figure = Figure(
        "energies",
        "Energy of one inference",
        "; ".join(
            f"{n} {joules(e.nanojoules)}, {joules(e.low)} to {joules(e.high)}" for n, e in found.items()
        ),
        dots([Dots(n, {"energy": e.nanojoules}, (e.low, e.high)) for n, e in found.items()], "nJ", kinds),
        note="Mark: the estimate. Line: the least and the most it may be. The axis is logarithmic.",
    )
    words = "Estimates, not measurements. Each row names its source, and by which factor it may be off."
    return [Prose(words), figure, Numbers("energy-table", energy_of(report))]


def synthesis(report: Report) -> list[Block]:
    """What Yosys and nextpnr made of the circuits, against the model; nothing where they were not asked."""
    found = report.synthesis
    if found is None:
        return []
    placed = placement_of(found)
    return [
        synthesis_figure(found),
        Numbers("synthesized", _filled(synthesis_of(found))),
        *([Numbers("placed", placed)] if placed.rows else []),
    ]


def executors(report: Report) -> list[Block]:
    """Whether every executor gives the same bits, and how long each takes."""
    blocks: list[Block] = []
    verification, speed = report.evidence.verification, report.evidence.speed
    if verification is None:
        blocks.append(Prose("Not verified for this report: --verify compares all executors bit for bit."))
    else:
        words = (
            "Every executor that ran gives the same bits as the interpreter, the definition of a program."
            if verification.comparison.ok
            else "AN EXECUTOR DIFFERS from the interpreter. Do not use the program there."
        )
        blocks += [Prose(words), Numbers("verified", verification_of(report))]
    if speed is None:
        return [*blocks, Prose("Not timed for this report: --bench measures the speed of the executors.")]
    skipped = [Prose(f"Not timed: {name} {why}.") for name, why in speed.skipped.items()]
    times = replace(_filled(speed_of(report)), title="Speed of one sample, one thread")
    machine = f"{BUSY}. {speed.machine}" if speed.machine.busy else str(speed.machine)
    return [*blocks, speed_figure(speed), Numbers("speeds", times), Prose(f"Machine: {machine}."), *skipped]
