"""Measurements of several machines side by side: a table for each network, a column for each machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.bench.machine import Machine
from toolchain.bench.measure import Row
from toolchain.bench.results import Result
from toolchain.bench.text import contender_name

RANDOM = "random"
"""Inputs that are no images of a data set."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is compared between machines. ``threads``: the limit that was given, for twins too."""

    name: str
    inputs: str
    batch: int
    threads: int


@dataclass(frozen=True, slots=True)
class Cell:
    """The newest measurement of a line on one machine, and the file that it is from."""

    row: Row
    file: str
    time: str

    def to_json(self) -> dict[str, Any]:
        """Times, ratios and where they are from."""
        found = asdict(self.row)
        kept = {key: found[key] for key in found if key not in ("executor", "kind", "batch", "kernel")}
        return {**kept, "time": self.time, "file": self.file}


@dataclass(frozen=True, slots=True)
class Network:
    """One program, told from others of its name by the digest of its file; cells by line and machine."""

    program: str
    sha256: str
    cells: dict[Line, dict[int, Cell]]

    def lines(self) -> list[Line]:
        """Lines by inputs, batch and threads; names in the order they came."""
        names = list(dict.fromkeys(line.name for line in self.cells))
        return sorted(
            self.cells, key=lambda line: (line.inputs, line.batch, line.threads, names.index(line.name))
        )

    def to_json(self) -> dict[str, Any]:
        """Its lines, each with the machines that measured it by number."""
        return {
            "program": self.program,
            "sha256": self.sha256,
            "lines": [
                {
                    "executor": line.name,
                    "inputs": line.inputs,
                    "batch": line.batch,
                    "threads_allowed": line.threads,
                    "machines": {str(n): cell.to_json() for n, cell in sorted(self.cells[line].items())},
                }
                for line in self.lines()
            ],
        }


@dataclass(frozen=True, slots=True)
class Computer:
    """Hardware with its versions, at all times it measured: first and last date, files, highest load."""

    machine: Machine
    dates: tuple[str, str]
    files: int
    load: float | None

    def to_json(self) -> dict[str, Any]:
        """The machine without what changes from file to file, and the ranges of that."""
        found = asdict(self.machine)
        same = {key: found[key] for key in found if key not in ("load", "date")}
        return {**same, "dates": self.dates, "files": self.files, "highest_load": self.load}


@dataclass(frozen=True, slots=True)
class Collection:
    """Networks by name, and computers by number, from 1."""

    networks: tuple[Network, ...]
    computers: dict[int, Computer]

    def title(self, network: Network) -> str:
        """The name of a network, with its digest where another has the same name."""
        alike = sum(other.program == network.program for other in self.networks)
        return network.program if alike == 1 else f"{network.program} ({network.sha256[:12]})"

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "machines": {str(number): found.to_json() for number, found in self.computers.items()},
            "networks": [network.to_json() for network in self.networks],
        }


def collect(results: Iterable[tuple[Path, Result]]) -> Collection:
    """Results, oldest first, in one place. Of equal lines of one machine the newest stands."""
    numbers: dict[Any, int] = {}
    groups: dict[int, list[Machine]] = {}
    networks: dict[tuple[str, str], Network] = {}
    for file, result in results:
        number = numbers.setdefault(_identity(result.machine), len(numbers) + 1)
        groups.setdefault(number, []).append(result.machine)
        key = (result.program, result.sha256)
        network = networks.setdefault(key, Network(*key, cells={}))
        for row in result.rows:
            name = contender_name(row)
            line = Line(name, result.settings.data or RANDOM, row.batch, result.settings.threads)
            network.cells.setdefault(line, {})[number] = Cell(row, file.name, result.time)
    return Collection(
        tuple(networks[key] for key in sorted(networks)),
        {number: _computer(machines) for number, machines in groups.items()},
    )


def _identity(machine: Machine) -> tuple[Any, ...]:
    """What makes two measurements those of one machine: all but its load and the date."""
    hardware = (machine.cpu, machine.flags, machine.cores, machine.system, machine.blas_threads)
    return (*hardware, tuple(sorted(machine.versions.items())))


def _computer(machines: list[Machine]) -> Computer:
    dates = sorted(machine.date for machine in machines)
    loads = [machine.load for machine in machines if machine.load is not None]
    return Computer(machines[-1], (dates[0], dates[-1]), len(machines), max(loads, default=None))
