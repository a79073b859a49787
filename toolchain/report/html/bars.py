"""Plots of rows: bars side by side, and bars in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from toolchain.report.html.blocks import Drawing
from toolchain.report.html.svg import compact, group, line, percent, rect, text, width_of

LABEL, ROW, BAR = 220, 22, 12
GAP, NARROWEST = 18, 130
WIDTH = 940


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of bars: its name, a value for each row, and how a value is written."""

    name: str
    values: Sequence[float]
    text: Callable[[float], str] = compact

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self.values)


def panels(
    labels: Sequence[str],
    columns: Sequence[Panel],
    classes: Sequence[str],
    common: bool = False,
    of_sum: bool = True,
) -> Drawing:
    """A row per label and a bar in it for each column, as long as its share of the column's largest, or of
    the largest of all (``common``).

    ``classes``: the colour of each row. Behind each bar stands its share of the column's sum, which stands
    on top, or with ``of_sum`` false its value.
    """
    width = max(WIDTH, LABEL + NARROWEST * len(columns))
    room = (width - LABEL) / len(columns)
    parts = [rect(0, _top(row), width, ROW, "stripe") for row in range(1, len(labels), 2)]
    parts += [text(4, _top(row) + 15, label, "name", LABEL - 16) for row, label in enumerate(labels)]
    top = max((max(column.values, default=0) for column in columns), default=0)
    for index, column in enumerate(columns):
        x, longest = LABEL + index * room, top if common else max(column.values, default=0)
        parts.append(text(x, 14, column.name, "head", room - 6))
        parts.append(line(x, 38, x, _top(len(labels)), "axis"))
        if of_sum:
            parts.append(text(x, 30, column.text(column.total), "quiet"))
        parts += [
            part
            for row, value in enumerate(column.values)
            if value
            for part in _bar(
                (x, _top(row)),
                max(1.0, (room - GAP - 46) * value / longest),
                classes[row],
                percent(value / column.total) if of_sum else column.text(value),
                f"{labels[row]}: {value:,.0f} {column.name}",
            )
        ]
    return Drawing(int(width), _top(len(labels)) + 4, Markup("\n").join(parts))


def _top(row: int) -> int:
    return 40 + ROW * row


def _bar(at: tuple[float, float], length: float, class_: str, words: str, hint: str) -> list[Markup]:
    x, y = at
    return [rect(x, y + 5, length, BAR, class_, hint), text(x + length + 5, y + 15, words, "quiet")]


def stacked(rows: Mapping[str, Mapping[str, float]], totals: Mapping[str, str]) -> Drawing:
    """A full bar per row of ``rows``, cut into its parts; parts are named by the class they are drawn in.

    ``totals``: what stands behind each bar.
    """
    height, room = 34, WIDTH - LABEL - 150
    parts: list[Markup] = []
    for index, (name, cells) in enumerate(rows.items()):
        y, x, whole = height * index + 4, float(LABEL), sum(cells.values())
        parts.append(text(4, y + 17, name, "name", LABEL - 16))
        for class_, value in cells.items():
            if not value or not whole:
                continue
            length = room * value / whole
            parts.append(
                rect(x, y, max(0.5, length - 1), 24, class_, f"{percent(value / whole)} of {name}")
            )
            if length > width_of(percent(value / whole)) + 8:
                parts.append(text(x + 6, y + 17, percent(value / whole), "on"))
            x += length
        parts.append(text(LABEL + room + 8, y + 17, totals[name], "quiet", 140))
    return Drawing(WIDTH, height * len(rows) + 4, group(parts))


def shares(rows: Mapping[str, tuple[Mapping[str, float], float]], whole: str, other: str) -> Drawing:
    """A row per name: a full bar cut into shares by class, and a second bar of one share.

    ``whole``, ``other``: headings of the two.
    """
    room, beside = 430, 150
    second = LABEL + room + 40
    parts = [text(LABEL, 14, whole, "head"), text(second, 14, other, "head")]
    for index, (name, (cells, share)) in enumerate(rows.items()):
        y, x = 22 + ROW * index, float(LABEL)
        parts.append(text(4, y + 15, name, "name", LABEL - 16))
        for class_, value in cells.items():
            if value:
                hint = f"{name}: {percent(value)}"
                parts.append(rect(x, y + 4, max(0.5, room * value - 1), 14, class_, hint))
            x += room * value
        parts.append(
            rect(second, y + 4, max(1.0, beside * share), 14, "toggles", f"{name}: {percent(share)}")
        )
        parts.append(text(second + beside * share + 6, y + 15, percent(share), "quiet"))
    return Drawing(WIDTH, 26 + ROW * len(rows), group(parts))
