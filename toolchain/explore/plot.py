"""The picture of an exploration: accuracy against cost, and the front."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from runtime.files import atomic_write
from toolchain.explore.ledger import FINISHED, STOPPED, Row
from toolchain.explore.results import Outcome

PICTURES = ("front.png", "front.svg")

LABELS = {
    "gates": "gate equivalents",
    "lut4": "look-up tables of 4 inputs",
    "lut6": "look-up tables of 6 inputs",
    "flash": "bytes of flash",
    "clocks": "clocks for an image",
}

WIDE = 100
"""Ratio of the dearest to the cheapest from which there is room for two marks a decade."""

MARGIN = 2.0
"""References are shown up to so many percentage points below the worst trial."""


def draw(outcome: Outcome, title: str, directory: Path) -> None:
    """Write ``front.png`` and ``front.svg``: finished trials and the front by their test accuracy, trials
    that were stopped by what they had reached on the validation images, and the references."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    _draw_trials(axes, outcome)
    _draw_references(axes, outcome)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < WIDE * low else (1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.set_xlabel(LABELS[outcome.settings.measure])
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    png, svg = (directory / name for name in PICTURES)
    with atomic_write(png) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
    with atomic_write(svg) as temporary:
        FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None})


def _draw_trials(axes: Axes, outcome: Outcome) -> None:
    measure, front = outcome.settings.measure, outcome.front
    finished = [row for row in outcome.rows if row.fate == FINISHED]
    stopped = [row for row in outcome.rows if row.fate == STOPPED]

    def places(rows: list[Row], accuracy: Callable[[Row], float]) -> tuple[list[int], list[float]]:
        costs = [row.cost.measures[measure] for row in rows if row.cost]
        return costs, [100 * accuracy(row) for row in rows]

    label = "stopped (validation images, so far)"
    axes.plot(*places(stopped, lambda row: row.accuracy), "x", color="0.75", markersize=4, label=label)
    axes.plot(*places(finished, _test), "o", color="0.6", markersize=4, label="finished")
    label = "front, chosen on validation images"
    axes.plot(*places(front, _test), "o-", color="C0", markersize=6, label=label)
    for row in front:
        place = [values[0] for values in places([row], _test)]
        axes.annotate(
            f"{row.number}", place, textcoords="offset points", xytext=(-4, 6), ha="right", fontsize=7
        )


def _draw_references(axes: Axes, outcome: Outcome) -> None:
    """Those that are not far below the trials."""
    accuracies = [row.test for row in outcome.rows if row.test is not None]
    lowest = min(accuracies, default=0.0) - MARGIN / 100
    for reference in outcome.references:
        if reference.accuracy >= lowest:
            place = (reference.measures[outcome.settings.measure], 100 * reference.accuracy)
            axes.plot(*place, "D", color="C3", markersize=5)
            axes.annotate(
                reference.name, place, textcoords="offset points", xytext=(-6, -3), ha="right", fontsize=8
            )


def _test(row: Row) -> float:
    return row.test or 0.0
