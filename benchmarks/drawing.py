"""How the figures of the studies look, and how they are written. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from runtime.files import atomic_write

STYLE = {
    "figure.dpi": 100,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text
}


def save(drawing: Callable[[], Figure], path: Path, study: str) -> None:
    """Write the figure that ``drawing`` makes in ``STYLE`` to the SVG file ``path``.

    ``study``: its name; the same runs of a study give the same file. Raises InputError where it cannot be
    written.
    """
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": study}), atomic_write(path) as temporary:
        drawing().savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
