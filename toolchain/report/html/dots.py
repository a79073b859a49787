"""Plots of marks on a logarithmic axis, told apart by shape as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.report.html.bars import LABEL, WIDTH
from toolchain.report.html.blocks import Drawing, Swatch
from toolchain.report.html.svg import decade, group, line, path, text

ROW = 26

SHAPES = (
    "M{x} {y}m-6.5 0a6.5 6.5 0 1 1 13 0a6.5 6.5 0 1 1 -13 0Z",
    "M{x} {y}m-4.5 -4.5h9v9h-9Z",
    "M{x} {y}m0 -5.5l5.5 10h-11Z",
    "M{x} {y}m0 -6l6 6l-6 6l-6 -6Z",
    "M{x} {y}m-5.5 -5h11l-5.5 10Z",
    "M{x} {y}m-6 -1.5h12v3h-12Z",
)
"""Circle, square, triangle, diamond, triangle down, bar. The circle is the largest: it is drawn first."""


@dataclass(frozen=True, slots=True)
class Dots:
    """One row of a dot plot: values by class; ``span``: a range to draw behind them."""

    name: str
    values: Mapping[str, float]
    span: tuple[float, float] | None = None


def legend(kinds: Mapping[str, str]) -> list[Swatch]:
    """The mark of every class of ``kinds``, and what it stands for in words."""
    return [
        Swatch(class_, words, _shape(place, 7, 6)) for place, (class_, words) in enumerate(kinds.items())
    ]


def dots(rows: Sequence[Dots], unit: str, kinds: Mapping[str, str]) -> Drawing:
    """Values on a common logarithmic axis, a line for every decade; values of 0 or less are left out."""
    seen = [value for row in rows for value in (*row.values.values(), *(row.span or ())) if value > 0]
    low = math.floor(math.log10(min(seen, default=1)))
    high = max(low + 1, math.ceil(math.log10(max(seen, default=1))))
    room, bottom = WIDTH - LABEL - 60, 30 + ROW * len(rows)

    def at(value: float) -> float:
        return LABEL + room * (math.log10(value) - low) / (high - low)

    parts = [text(LABEL, 12, unit, "head")]
    for exponent in range(low, high + 1):
        x = at(10**exponent)
        parts += [line(x, 20, x, bottom, "grid"), text(x - 4, bottom + 16, decade(exponent), "quiet")]
    for index, row in enumerate(rows):
        y = 36 + ROW * index
        parts.append(text(4, y + 4, row.name, "name", LABEL - 16))
        values = {class_: row.values[class_] for class_ in kinds if row.values.get(class_, 0) > 0}
        if values:
            least, most = row.span or (min(values.values()), max(values.values()))
            parts.append(line(at(least), y, at(most), y, "range" if row.span else "thread"))
        for place, class_ in enumerate(kinds):
            if class_ in values:
                hint = f"{row.name}, {kinds[class_]}: {values[class_]:,.4g} {unit}"
                parts.append(path(_shape(place, at(values[class_]), y), class_, hint))
    return Drawing(WIDTH, bottom + 24, group(parts))


def _shape(place: int, x: float, y: float) -> str:
    return SHAPES[place % len(SHAPES)].format(x=round(x, 1), y=y)
