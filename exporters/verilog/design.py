"""A program as hardware: modules, their instances, registers between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.circuit import Circuit
from exporters.netlist.lut import Luts
from exporters.netlist.mapping import cover_circuit
from exporters.netlist.pipeline import registered
from exporters.netlist.rules.words import Nets
from exporters.verilog.timing import Pipelining, Timing, registers_inside, timed
from exporters.verilog.wiring import Block, Signal, Wiring


@dataclass(frozen=True, eq=False)
class Module:
    """A block ready to be written. ``circuit`` has the registers of the pipeline. ``start``: clocks after
    which its operands are there; ``latency``: registers inside. ``luts``: its logic, where that is to be
    look-up tables."""

    block: Block
    circuit: Circuit
    start: int
    latency: int
    luts: Luts | None = None

    @property
    def counts(self) -> Counter[str]:
        """How many of each cell its text has."""
        if self.luts is None:
            return self.circuit.counts
        tables = {
            f"table of {self.luts.size}": self.luts.count,
            "register": self.circuit.counts["register"],
        }
        return Counter({kind: count for kind, count in tables.items() if count})

    @property
    def depth(self) -> int:
        """Look-up tables in a row between registers; of gates, levels from input to output."""
        return self.luts.depth if self.luts else self.block.circuit.depth

    @property
    def clocked(self) -> bool:
        """Whether it has registers."""
        return self.counts["register"] > 0


@dataclass(frozen=True, slots=True, eq=False)
class Tap:
    """A vector ``clocks`` registers after the inputs, and which of its bits are read then or later."""

    vector: int
    clocks: int
    used: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Design:
    """``modules`` in order. ``latency``: registers from input to output; 0: combinational, no clock.
    ``tables``: inputs of the look-up tables that the logic is written as; None: gates and adders."""

    wiring: Wiring
    timing: Timing
    modules: tuple[Module, ...]
    tables: int | None = None

    @property
    def name(self) -> str:
        """Of the top module."""
        return self.wiring.name

    @property
    def inputs(self) -> tuple[Signal, ...]:
        """Ports that the program's inputs are."""
        return self.wiring.inputs

    @property
    def outputs(self) -> tuple[Signal, ...]:
        """Ports that the program's outputs are."""
        return self.wiring.outputs

    @property
    def latency(self) -> int:
        """Clocks from a sample to its result."""
        return self.timing.latency

    @cached_property
    def taps(self) -> tuple[tuple[Tap, ...], ...]:
        """Per vector when it is read, the first time where it appears."""
        used = [
            {arrival.clocks: np.zeros(vector.width, bool)}
            for vector, arrival in zip(self.wiring.vectors, self.timing.arrivals, strict=True)
        ]
        for module in self.modules:
            for bits in module.block.reads:
                self._mark(used, bits, module.start)
        for signal in self.outputs:
            self._mark(used, signal.bits, self.latency)
        return tuple(_chain(number, times) for number, times in enumerate(used))

    def _mark(self, used: list[dict[int, NDArray[np.bool_]]], bits: Nets, clocks: int) -> None:
        flat = bits.reshape(-1)
        owners = self.wiring.owners(flat)
        for number in np.unique(owners[flat > 1]).tolist():
            vector = self.wiring.vectors[number]
            own = flat[(owners == number) & (flat > 1)] - vector.first
            used[number].setdefault(clocks, np.zeros(vector.width, bool))[own] = True

    @cached_property
    def counts(self) -> Counter[str]:
        """Cells of all instances, with the registers between them."""
        total: Counter[str] = Counter()
        for module in self.modules:
            for kind, count in module.counts.items():
                total[kind] += count * module.block.stage.positions
        total["register"] += self.latency  # the valid bits
        for taps in self.taps:
            for before, tap in pairwise(taps):
                total["register"] += int(tap.used.sum()) * (tap.clocks - before.clocks)
        return total


def _chain(number: int, times: dict[int, NDArray[np.bool_]]) -> tuple[Tap, ...]:
    """Taps in order; a bit that a later one needs is used in all before."""
    taps: list[Tap] = []
    later = np.zeros_like(next(iter(times.values())))
    for clocks in sorted(times, reverse=True):
        later = later | times[clocks]
        taps.append(Tap(number, clocks, later))
    return tuple(reversed(taps))


def design(wiring: Wiring, pipelining: Pipelining, tables: int | None = None) -> Design:
    """``wiring`` with the registers of a pipeline, its logic in ``tables`` of so many inputs."""
    timing = timed(wiring, pipelining)
    modules = []
    for block, start, schedule in zip(wiring.blocks, timing.starts, timing.schedules, strict=True):
        latency = registers_inside(block, schedule, pipelining)
        circuit = registered(block.circuit, schedule, latency) if pipelining.clocked else block.circuit
        luts = cover_circuit(circuit, tables) if tables else None
        modules.append(Module(block, circuit, start, latency, luts))
    return Design(wiring, timing, tuple(modules), tables)
