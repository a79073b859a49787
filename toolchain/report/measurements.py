"""Measurements of several machines as tables and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toolchain.bench.collection import Cell, Collection, Computer, Line, Network
from toolchain.bench.measure import Row
from toolchain.bench.text import milliseconds, quartiles, times
from toolchain.report.page import Page
from toolchain.tables import Table

MACHINE_COLUMNS: dict[str, Callable[[Computer], str]] = {
    "processor": lambda found: found.machine.cpu,
    "cores": lambda found: str(found.machine.cores),
    "vector instructions": lambda found: " ".join(found.machine.flags) or "-",
    "system": lambda found: found.machine.system,
    "versions": lambda found: ", ".join(f"{name} {v}" for name, v in found.machine.versions.items()),
    "BLAS threads": lambda found: (
        "-" if found.machine.blas_threads is None else str(found.machine.blas_threads)
    ),
    "highest load": lambda found: "-" if found.load is None else f"{found.load:.2f}",
    "measured": lambda found: " to ".join(dict.fromkeys(found.dates)),
    "files": lambda found: str(found.files),
}


def machine_table(collection: Collection) -> Table:
    """A row for each machine; its number heads the columns of the other tables."""
    rows = [
        [str(number), *(text(found) for text in MACHINE_COLUMNS.values())]
        for number, found in collection.computers.items()
    ]
    return Table("Machines", ["machine", *MACHINE_COLUMNS], rows)


CELL_COLUMNS: dict[str, Callable[[Row], str]] = {
    "median ms": lambda row: milliseconds(row.median_ms),
    "quartiles ms": quartiles,
    "x fp32": lambda row: times(row.ratio_to_fp32),
}
"""What every machine has in a line."""


def network_table(network: Network, collection: Collection) -> Table:
    """Lines by batch size and threads, with columns for each machine that measured the network."""
    numbers = sorted({number for cells in network.cells.values() for number in cells})
    headers = ["executor", "inputs", "batch", "threads"]
    headers += [f"{number}: {column}" for number in numbers for column in CELL_COLUMNS]
    rows = [
        [
            *(line.name, line.inputs, str(line.batch), threads_text(line, network.cells[line])),
            *(
                text(network.cells[line][number].row) if number in network.cells[line] else "-"
                for number in numbers
                for text in CELL_COLUMNS.values()
            ),
        ]
        for line in network.lines()
    ]
    return Table(collection.title(network), headers, rows, range(4, len(headers)))


def threads_text(line: Line, cells: Mapping[int, Cell]) -> str:
    """Threads that ran, and how many were allowed where those are not all."""
    used = next(iter(cells.values())).row.threads
    return str(used) if used == line.threads else f"{used} of {line.threads}"


def records_of(collection: Collection) -> list[dict[str, Any]]:
    """A row for each line on each machine."""
    computers = collection.computers
    return [
        {"program": network.program, "sha256": network.sha256}
        | {
            "executor": line.name,
            "inputs": line.inputs,
            "batch": line.batch,
            "threads_allowed": line.threads,
        }
        | {"machine": number, **cell.to_json()}
        | {name.replace(" ", "_"): text(computers[number]) for name, text in MACHINE_COLUMNS.items()}
        for network in collection.networks
        for line in network.lines()
        for number, cell in sorted(network.cells[line].items())
    ]


def collection_page(collection: Collection) -> Page:
    """The page that the formats write."""
    return Page(
        "Speed on several machines" if len(collection.computers) > 1 else "Speed",
        [
            *(network_table(network, collection) for network in collection.networks),
            machine_table(collection),
        ],
        collection.to_json(),
        records_of(collection),
    )
