"""The network drawn from top to bottom: a row per station, edges that skip rows in lanes to the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from toolchain.report.html.blocks import Drawing, Figure, Swatch
from toolchain.report.html.stations import WORDS, Station, ops_text
from toolchain.report.html.svg import line, path, percent, rect, text
from toolchain.report.single import shape_text

ROW, BOX, HEAD = 32, 24, 30
LANE, FIRST_LANE = 12, 14
NAME_WIDTH, OPS_WIDTH = 220, 222
SHAPE, BITS, MARK, BAR = 100, 44, 188, 96
MOST_LANES = 12
"""Further lanes lie on the outermost."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The edges of a station that pass others by: to ``targets``, in the lane of that number from the
    inside."""

    source: int
    targets: tuple[int, ...]
    number: int


def lanes_of(stations: Sequence[Station]) -> list[Lane]:
    """Lanes for all edges but those to the next station; short ones lie inside, and none crosses another
    in one lane."""
    jumps: dict[int, list[int]] = {}
    for index, station in enumerate(stations):
        for source in station.sources:
            if source != index - 1:
                jumps.setdefault(source, []).append(index)
    taken: list[list[tuple[int, int]]] = []
    lanes = []
    for source, targets in sorted(jumps.items(), key=lambda item: (item[1][-1] - item[0], item[0])):
        span = source, targets[-1]
        number = next(
            (i for i, spans in enumerate(taken) if all(span[1] <= a or b <= span[0] for a, b in spans)),
            len(taken),
        )
        if number == len(taken):
            taken.append([])
        taken[number].append(span)
        lanes.append(Lane(source, tuple(targets), min(number, MOST_LANES - 1)))
    return lanes


def network_figure(stations: Sequence[Station]) -> Figure:
    """The drawing; its last column is the share of each station in the gates of the parallel circuit."""
    lanes = lanes_of(stations)
    left = FIRST_LANE + LANE * (1 + max((lane.number for lane in lanes), default=-1)) + 10
    total = sum(station.sums["ge"] for station in stations)
    width = left + NAME_WIDTH + OPS_WIDTH + SHAPE + BITS + MARK + BAR + 60
    parts = [
        *_heads(left),
        *(_edge(left, index) for index, s in enumerate(stations) if index - 1 in s.sources),
        *(part for lane in lanes for part in _lane(lane, left)),
        *(part for index, s in enumerate(stations) for part in _row(s, index, left, total)),
    ]
    skips = sum(mark.startswith("skip") for station in stations for mark in station.marks)
    families = dict.fromkeys(station.family for station in stations if station.family != "input")
    return Figure(
        "network-drawn",
        "The network, top to bottom",
        f"{len(stations)} rows from inputs to outputs, each reading the one above it; {len(lanes)} values "
        f"pass rows by, {skips} of the rows join a skip connection.",
        Drawing(width, HEAD + ROW * len(stations) + 4, Markup("\n").join(parts)),
        note="A row is a layer: its name, its ops in order, the shape and bits of its result, and its "
        "share of the gates, fully parallel. Lines to the left carry values past other layers.",
        legend=[Swatch(f"family-{key}", words) for key, words in WORDS.items() if key in families],
        tall=True,
    )


def _columns(left: int) -> tuple[int, int, int, int]:
    shape = left + NAME_WIDTH + OPS_WIDTH + 12
    return shape, shape + SHAPE, shape + SHAPE + BITS, shape + SHAPE + BITS + MARK


def _heads(left: int) -> list[Markup]:
    shape, bits, mark, bar = _columns(left)
    heads = (
        (left + 12, "layer"),
        (left + NAME_WIDTH, "ops"),
        (shape, "result"),
        (bits, "bits"),
        (mark, ""),
    )
    return [text(x, 16, words, "head") for x, words in (*heads, (bar, "share of GE"))]


def _middle(index: int) -> float:
    return HEAD + ROW * index + ROW / 2


def _edge(left: int, index: int) -> Markup:
    """From the station before to this one."""
    return line(left + 24, _middle(index - 1) + BOX / 2, left + 24, _middle(index) - BOX / 2, "edge")


def _lane(lane: Lane, left: int) -> list[Markup]:
    x = left - 12 - LANE * (lane.number + 1)
    start, end = _middle(lane.source) + 4, _middle(lane.targets[-1]) - 4
    bend = 6
    parts = [
        path(
            f"M{left} {start}H{x + bend}Q{x} {start} {x} {start + bend}V{end - bend}"
            f"Q{x} {end} {x + bend} {end}H{left - 5}",
            "edge skip",
        )
    ]
    parts += [path(f"M{x} {_middle(t) - 4}H{left - 5}", "edge skip") for t in lane.targets[:-1]]
    parts += [
        path(
            f"M{left - 6} {_middle(t) - 7.5}L{left} {_middle(t) - 4}L{left - 6} {_middle(t) - 0.5}Z",
            "arrow",
        )
        for t in lane.targets
    ]
    return parts


def _row(station: Station, index: int, left: int, total: float) -> list[Markup]:
    top, base = _middle(index) - BOX / 2, _middle(index) + 4
    shape, bits, mark, bar = _columns(left)
    share = station.sums["ge"] / total if total else 0.0
    parts = [
        rect(left, top, NAME_WIDTH + OPS_WIDTH, BOX, "box"),
        rect(left, top, 5, BOX, f"family-{station.family}"),
        text(left + 12, base, station.name, "name", NAME_WIDTH - 20),
        text(left + NAME_WIDTH, base, ops_text(station.ops), "quiet", OPS_WIDTH - 8),
        text(shape, base, shape_text(station.shape).replace("x", "\N{MULTIPLICATION SIGN}"), "", SHAPE - 8),
        text(bits, base, f"{station.bits}", "", BITS),
        text(mark, base, ", ".join(station.marks), "mark", MARK - 8),
    ]
    if share:
        parts += [
            rect(bar, base - 10, max(1, BAR * share), 12, "bar"),
            text(bar + max(1, BAR * share) + 6, base, percent(share), "quiet"),
        ]
    return parts
