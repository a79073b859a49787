"""The page of measurements of several machines."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.version import VERSION
from toolchain.bench.collection import RANDOM, Collection, Network
from toolchain.report.html.blocks import Document, Figure, Numbers, Section
from toolchain.report.html.dots import Dots, dots
from toolchain.report.measurements import collection_page, machine_table, network_table, threads_text


def collection_document(collection: Collection) -> Document:
    """A chapter for each network, with a plot and a table, and one for the machines."""
    sections = [
        Section(f"network-{index}", collection.title(network), list(_blocks(index, network, collection)))
        for index, network in enumerate(collection.networks, 1)
    ]
    machines = Section("machines", "Machines", [Numbers("table-machines", machine_table(collection))])
    computers = len(collection.computers)
    lead = (
        f"Milliseconds a batch on {computers} machine{'s' * (computers != 1)}, and how many times faster "
        "that is than the float32 network of the same shape in ONNX Runtime."
    )
    return Document(collection_page(collection).title, "Measurements", lead, [*sections, machines], VERSION)


def _blocks(index: int, network: Network, collection: Collection) -> Iterator[Figure | Numbers]:
    rows = list(_rows(network, collection))
    yield Figure(
        f"speed-{index}",
        "Milliseconds a batch",
        f"{len(rows)} measurements: median and quartiles.",
        dots(rows, "milliseconds", {"median": "median"}),
        note="Named by executor, batch and threads. Mark: the median. Line: first to third quartile. The "
        "axis is logarithmic.",
        tall=True,
    )
    yield Numbers(f"table-{index}", network_table(network, collection))


def _rows(network: Network, collection: Collection) -> Iterator[Dots]:
    for line in network.lines():
        cells = network.cells[line]
        for number, cell in sorted(cells.items()):
            machine = f"{number}: " if len(collection.computers) > 1 else ""
            inputs = "" if line.inputs == RANDOM else f", {line.inputs}"
            name = f"{machine}{line.name}, {line.batch}, {threads_text(line, cells)}{inputs}"
            row = cell.row
            yield Dots(name, {"median": row.median_ms}, (row.quartile1_ms, row.quartile3_ms))
