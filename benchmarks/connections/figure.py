"""Accuracy against gates, a panel for each data set. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from benchmarks.connections.runs import FLOAT
from benchmarks.connections.tables import Row
from benchmarks.drawing import save
from benchmarks.study import mean_and_spread

MARKERS = {
    "linear": "o",
    "orthogonal": "s",
    "quotient": "^",
    "or": "D",
    "mux": "v",
    "linear, quadratic": "*",
}

LOOKS: dict[str, dict[str, str]] = {
    FLOAT: {"color": "#777777", "fillstyle": "full"},
    "8-bit": {"color": "#08306b", "fillstyle": "full"},
    "4-bit": {"color": "#d95f0e", "fillstyle": "none"},
    "HEQ-ternary": {"color": "#1b7837", "fillstyle": "bottom", "markerfacecoloralt": "white"},
}
"""Told apart by how much of a marker is filled where colours are not; float32 has a strip of its own."""


MARK: dict[str, Any] = {"linestyle": "none", "markersize": 6}

MARGIN = 1.4
"""Room beside the least and the most gates, as a factor."""


def draw(studies: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the rows of every data set into the SVG file ``path``. Raises InputError where it cannot be
    written."""
    save(partial(_figure, studies), path, "connections")


def _figure(studies: Mapping[str, Sequence[Row]]) -> Figure:
    figure = Figure(figsize=(4.9 * len(studies), 4.2), layout="constrained")
    panels = figure.subplots(1, 2 * len(studies), squeeze=False, width_ratios=[5, 1.5] * len(studies))[0]
    for (data, rows), gates, strip in zip(studies.items(), panels[::2], panels[1::2], strict=True):
        strip.sharey(gates)
        _against_gates(gates, [row for row in rows if row.cost.one_position.ge])
        _side_by_side(strip, [row for row in rows if not row.cost.one_position.ge])
        gates.set_title(data)
    shown = [row for rows in studies.values() for row in rows]
    figure.legend(handles=_legend(shown), loc="outside lower center", ncols=min(5, 3 * len(studies)))
    return figure


def _against_gates(axes: Axes, rows: Sequence[Row]) -> None:
    """Integer programs."""
    for row in rows:
        _mark(axes, row.cost.one_position.ge, row)
    axes.set_xscale("log")
    axes.set_xlim(*_around([row.cost.one_position.ge for row in rows]))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("gate equivalents, one position of every layer")
    axes.set_ylabel("test accuracy [%]")


def _around(gates: Sequence[float]) -> tuple[float, float]:
    """Limits with room on both sides, so that a few close values do not look far apart."""
    return (min(gates) / MARGIN, max(gates) * MARGIN) if gates else (1, 10)


def _side_by_side(axes: Axes, rows: Sequence[Row]) -> None:
    """Networks that the cost model has no gates for."""
    for place, row in enumerate(rows):
        _mark(axes, place, row)
    axes.set_xlim(-1, max(1, len(rows)))
    axes.set_xticks([])
    axes.set_xlabel(FLOAT)
    axes.tick_params(labelleft=False)


def _mark(axes: Axes, place: float, row: Row) -> None:
    """Mean and standard deviation over the seeds."""
    mean, spread = mean_and_spread(row.measured)
    bars = {"yerr": spread, "capsize": 2, "elinewidth": 0.8} if len(row.measured) > 1 else {}
    looks = MARK | LOOKS[row.precision] | bars
    axes.errorbar(place, mean, marker=MARKERS[row.connection], **looks)


def _legend(rows: Sequence[Row]) -> list[Line2D]:
    """Connections as markers, then precisions as fillings, of those that are shown."""
    connections = [name for name in MARKERS if any(row.connection == name for row in rows)]
    precisions = [name for name in LOOKS if any(row.precision == name for row in rows)]
    plain = MARK | {"color": "black", "fillstyle": "none"}
    return [
        *(Line2D([], [], marker=MARKERS[name], label=name, **plain) for name in connections),
        *(Line2D([], [], marker="o", label=name, **(plain | LOOKS[name])) for name in precisions),
    ]
