"""The arena over time: buffers as rectangles, steps to the right, offsets upwards; what is live below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from toolchain.devices import number, size
from toolchain.devices.units import KIB
from toolchain.report.html.blocks import Drawing, Figure, Swatch
from toolchain.report.html.svg import line, path, rect, text, ticks

LEFT, WIDTH, TOP, MAP, PROFILE = 70, 940, 26, 280, 70
NARROWEST, MOST_WIDTH = 14, 4000
"""Pixels of a step, where there is room for it."""

Json = Mapping[str, Any]


def memory_figure(data: Json) -> Figure:
    """The memory map of a report's JSON."""
    buffers, steps = data["memory"]["buffers"], ["inputs", *(row["name"] for row in data["layers"])]
    arena, live = data["total"]["arena_bytes"], live_bytes(buffers, len(steps))
    room = max(WIDTH - LEFT - 10, min(MOST_WIDTH, NARROWEST * len(steps)))
    step = room / (len(steps) + 1)
    bottom, floor = TOP + MAP, TOP + MAP + 46 + PROFILE
    peak = live.index(max(live))
    column = rect(LEFT + peak * step, TOP, step, floor - TOP, "peak", f"most is live at {steps[peak]}")
    parts = [
        column,
        *_scale(arena, room),
        *(part for index, b in enumerate(buffers) for part in _buffer(b, index, step, arena, len(steps))),
        line(LEFT, bottom, LEFT + room, bottom, "axis"),
        *(line(x, TOP - 6, x, floor, "bound") for x in (LEFT + peak * step, LEFT + (peak + 1) * step)),
        *_profile(live, step, floor),
        text(
            min(LEFT + peak * step, LEFT + room - 330),
            16,
            f"peak: {size(live[peak])} live at {steps[peak]}",
            "mark",
            330,
        ),
    ]
    return Figure(
        "memory-map",
        "Arena over time",
        f"{len(buffers)} buffers in an arena of {number(arena)} bytes over {len(steps)} steps; most, "
        f"{number(live[peak])} bytes, is live at {steps[peak]}.",
        Drawing(int(LEFT + room + 10), floor + 26, Markup("\n").join(parts)),
        note="A rectangle is a buffer of bit planes: as high as it has bytes, from the step that makes it "
        "to the last that reads it. Marked is the step with most live bytes, which no plan can go below.",
        legend=[Swatch("buffer", "buffer"), Swatch("peak", "busiest step"), Swatch("live", "live bytes")],
    )


def live_bytes(buffers: Sequence[Json], steps: int) -> list[int]:
    """Bytes that are live at each step; the first is that of the inputs."""
    return [
        sum(b["bytes"] for b in buffers if b["live"][0] <= step <= b["live"][1])
        for step in range(-1, steps - 1)
    ]


def _scale(arena: int, room: float) -> list[Markup]:
    parts = []
    unit = KIB if arena > KIB else 1
    for value in (unit * tick for tick in ticks(arena / unit)):
        y = TOP + MAP * (1 - value / max(arena, 1))
        parts += [line(LEFT, y, LEFT + room, y, "grid"), text(4, y + 4, size(value), "quiet")]
    return parts


def _buffer(buffer: Json, index: int, step: float, arena: int, steps: int) -> list[Markup]:
    birth, death = buffer["live"]
    x, width = LEFT + (birth + 1) * step, (min(death, steps) - birth + 1) * step
    height = MAP * buffer["bytes"] / max(arena, 1)
    y = TOP + MAP - MAP * buffer["offset"] / max(arena, 1) - height
    name = buffer["values"][0]
    hint = f"{', '.join(buffer['values'])}: {number(buffer['bytes'])} bytes at {number(buffer['offset'])}"
    parts = [
        rect(x + 0.5, y + 0.5, max(1, width - 1), max(1, height - 1), f"buffer shade{index % 3}", hint)
    ]
    if height >= 16 and width >= 76:
        parts.append(text(x + 6, y + min(height / 2 + 4, 16), name, "on", width - 10))
    return parts


def _profile(live: Sequence[int], step: float, floor: int) -> list[Markup]:
    top = max(*live, 1)
    points = [(LEFT + i * step, floor - PROFILE * value / top) for i, value in enumerate(live)]
    outline = "".join(f"L{x:.1f} {y:.1f}H{x + step:.1f}" for x, y in points)
    end = points[-1][0] + step
    marks = range(0, len(live), max(1, -(-len(live) // 12)))
    return [
        path(f"M{LEFT} {floor}{outline}L{end:.1f} {floor}Z", "live", "live bytes"),
        text(4, floor + 18, "step", "quiet"),
        text(4, floor - PROFILE + 10, size(top), "quiet"),
        text(4, floor, "live", "quiet"),
        line(LEFT, floor, end, floor, "axis"),
        *(text(LEFT + i * step + 2, floor + 18, "in" if i == 0 else f"{i}", "quiet") for i in marks),
    ]
