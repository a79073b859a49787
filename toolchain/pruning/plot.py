"""The picture of a pruning study: accuracy against what remains of the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from runtime.files import atomic_write
from toolchain.pruning.results import Point

PICTURE_FILE = "accuracy.png"
STYLES = {"last": ("-", "last epoch"), "early": ("--", "early stopping")}
"""Line style and label of each accuracy protocol."""


def draw(points: Sequence[Point], title: str, path: Path) -> None:
    """Write a PNG: one colour for each network, one line style for each accuracy protocol.

    Whiskers are one standard deviation over the seeds.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    networks = list(dict.fromkeys(point.network for point in points))
    for index, network in enumerate(networks):
        for protocol, (style, label) in STYLES.items():
            line = [p for p in points if (p.network, p.accuracy_protocol) == (network, protocol)]
            if line:
                _draw_line(axes, line, f"{network}, {label}", style, f"C{index}")
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("remaining parameters, % of the dense real network")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    with atomic_write(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})


def _draw_line(axes: Axes, line: Sequence[Point], label: str, style: str, colour: str) -> None:
    axes.errorbar(
        [point.percent for point in line],
        [100 * point.mean for point in line],
        [100 * point.deviation for point in line] if any(point.seeds > 1 for point in line) else None,
        label=label,
        linestyle=style,
        color=colour,
        marker="o",
        markersize=3,
        capsize=2,
    )
