"""When every vector of a design is there: after how many registers, and how many gates behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporters.netlist.pipeline import Schedule, scheduled
from exporters.verilog.wiring import Block, Wiring


@dataclass(frozen=True, slots=True)
class Pipelining:
    """Where registers stand. ``clocked``: anywhere at all. ``layers``: behind every block.

    Otherwise behind every ``levels`` logic levels, wherever those end; None: behind the outputs alone.
    """

    clocked: bool
    layers: bool = False
    levels: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """``clocks``: registers before a vector. ``levels``: gates between them and it."""

    clocks: int
    levels: int


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """``arrivals`` of the vectors; ``starts`` and ``schedules`` of the blocks; ``latency`` of the whole.

    ``levels``: most gates between two registers.
    """

    arrivals: tuple[Arrival, ...]
    starts: tuple[int, ...]
    schedules: tuple[Schedule, ...]
    latency: int
    levels: int


def timed(wiring: Wiring, pipelining: Pipelining) -> Timing:
    """When everything of ``wiring`` happens."""
    arrivals = [Arrival(0, 0) for _ in wiring.inputs]
    starts, schedules, longest = [], [], 0
    for block in wiring.blocks:
        read = [arrivals[source] for source in block.sources]
        start = max((a.clocks for a in read), default=0)
        entered = max((a.levels for a in read if a.clocks == start), default=0)
        levels = pipelining.levels if pipelining.clocked and not pipelining.layers else None
        schedule = scheduled(block.circuit, levels, entered)
        arrival = Arrival(start + schedule.last, schedule.arrival)
        longest = max(longest, *schedule.arrivals.values())
        if pipelining.layers:
            arrival = Arrival(start + 1, 0)
        starts.append(start)
        schedules.append(schedule)
        arrivals += [arrival] * len(block.writes)
    latency = _latency(wiring, arrivals) if pipelining.clocked else 0
    return Timing(tuple(arrivals), tuple(starts), tuple(schedules), latency, longest)


def _latency(wiring: Wiring, arrivals: Sequence[Arrival]) -> int:
    """Registers from the inputs to the outputs, which stand behind a register at least."""
    read = [arrivals[source] for signal in wiring.outputs for source in wiring.sources(signal.bits)]
    return max(1, *(a.clocks + (a.levels > 0) for a in read)) if read else 1


def registers_inside(block: Block, schedule: Schedule, pipelining: Pipelining) -> int:
    """Registers on every path through a module of ``block``."""
    return 1 if pipelining.layers else schedule.last if pipelining.clocked else 0


def fewest_levels(wiring: Wiring, depth: int) -> Pipelining:
    """The pipelining with the shortest paths whose latency is ``depth`` at most."""
    low, high = 1, max(1, timed(wiring, Pipelining(clocked=True)).levels)
    while low < high:
        middle = (low + high) // 2
        if timed(wiring, Pipelining(True, levels=middle)).latency <= depth:
            high = middle
        else:
            low = middle + 1
    return Pipelining(True, levels=low)
