"""A table of text cells, as aligned text and Markdown. Cells come from files and are escaped."""

from __future__ import annotations

import html
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

Row = Sequence[str]

GAP = "  "
NARROWEST_HEADER, NARROWEST_TEXT = 12, 24
"""Where room is short, headers of numbers and a last column of text are folded, but not below these."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table. ``numbers``: the columns set to the right; ``total_row``: the last row is a sum."""

    title: str
    headers: Row
    rows: Sequence[Row]
    numbers: Collection[int] = ()
    total_row: bool = False

    @staticmethod
    def of(headers: Row, rows: Sequence[Sequence[object]]) -> Table:
        """An untitled table of any cells; columns of numbers alone are set to the right."""
        numbers = [i for i in range(len(headers)) if all(isinstance(row[i], int | float) for row in rows)]
        return Table("", headers, [[str(cell) for cell in row] for row in rows], numbers)


def terminal_width() -> int | None:
    """Characters in a line: ``COLUMNS``, else the terminal's; None where the output is no terminal."""
    known = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())
    return shutil.get_terminal_size().columns if known else None


def to_text(table: Table, width: int | None = None) -> str:
    """``table`` in aligned columns, without its title.

    Where it would pass ``width`` characters, headers of numbers and a last column of text are folded;
    if that is not enough, columns of numbers follow in further blocks, each with the leading columns.
    """
    limits = _limits(table, width)
    return "\n\n".join(_block(table, columns, limits) for columns in _blocks(table, limits, width))


def _span(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _limits(table: Table, width: int | None) -> list[int]:
    """Characters of each column."""
    limits = [max(map(len, column)) for column in zip(table.headers, *table.rows, strict=True)]
    if width is None or _span(limits) <= width:
        return limits
    for i in table.numbers:
        cells = max((len(row[i]) for row in table.rows), default=0)
        limits[i] = min(limits[i], max(NARROWEST_HEADER, cells))
    if len(limits) - 1 not in table.numbers:
        room = width - _span([*limits[:-1], 0])
        limits[-1] = min(limits[-1], max(NARROWEST_TEXT, room))
    return limits


def _blocks(table: Table, limits: Sequence[int], width: int | None) -> list[list[int]]:
    """The columns of each block."""
    keys = min(table.numbers, default=len(limits))
    tail = range(keys, len(limits))
    if width is None or _span(limits) <= width or not all(i in table.numbers for i in tail):
        return [list(range(len(limits)))]
    blocks: list[list[int]] = []
    for i in tail:
        if not blocks or _span([limits[j] for j in (*blocks[-1], i)]) > width:
            blocks.append([*range(keys)])
        blocks[-1].append(i)
    return blocks or [[*range(keys)]]


def _block(table: Table, columns: Sequence[int], limits: Sequence[int]) -> str:
    rule = GAP.join("-" * limits[i] for i in columns)
    head = _lines(table, table.headers, columns, limits, bottom=True)
    body = [_lines(table, row, columns, limits) for row in table.rows]
    if table.total_row:
        body.insert(-1, [rule])
    return "\n".join([*head, rule, *(line for lines in body for line in lines)])


def _lines(
    table: Table, row: Row, columns: Sequence[int], limits: Sequence[int], bottom: bool = False
) -> list[str]:
    """One row as as many lines as its most folded cell has; ``bottom``: the others stand at the last."""
    folded = {
        i: [row[i]] if len(row[i]) <= limits[i] else textwrap.wrap(row[i], limits[i]) for i in columns
    }
    height = max(map(len, folded.values()))
    lines = []
    for at in range(height):
        cells = []
        for i, parts in folded.items():
            place = at - (height - len(parts)) * bottom
            cell = parts[place] if 0 <= place < len(parts) else ""
            cells.append(cell.rjust(limits[i]) if i in table.numbers else cell.ljust(limits[i]))
        lines.append(GAP.join(cells).rstrip())
    return lines


def markdown_cell(text: str) -> str:
    """``text`` that Markdown shows as it is."""
    escaped = html.escape(text, quote=False)
    for mark in "\\`*_[]|~":
        escaped = escaped.replace(mark, "\\" + mark)
    return escaped


def to_markdown(table: Table) -> str:
    """``table`` in GitHub-flavoured Markdown, without its title."""
    rule = ["---:" if i in table.numbers else "---" for i in range(len(table.headers))]
    rows = [[markdown_cell(cell.strip()) for cell in row] for row in (table.headers, *table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (rows[0], rule, *rows[1:]))
