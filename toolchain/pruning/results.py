"""What a pruning study has found so far, read from its run directories."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from runtime.files import atomic_write
from toolchain.pruning.plan import Job
from toolchain.pruning.protocol import Runs
from toolchain.training.run import write_json

RESULTS_FILE = "results.json"
TABLE_FILE = "results.csv"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The result of one run.

    ``parameters`` remain, biases included, of which ``weights`` can be pruned; ``percent`` relates them to
    the dense real network. ``accuracy`` (0..1) is that on the test images, of the weights of ``epoch``.
    """

    network: str
    seed: int
    round: int
    protocol: str
    accuracy_protocol: str
    parameters: int
    percent: float
    weights: int
    accuracy: float
    epoch: int
    run: str


@dataclass(frozen=True, slots=True)
class Point:
    """The tickets of all ``seeds`` of a network, a round and an accuracy protocol.

    ``deviation``: sample standard deviation of the accuracies, 0 for a single seed.
    """

    network: str
    round: int
    accuracy_protocol: str
    percent: float
    mean: float
    deviation: float
    seeds: int


def collect(runs: Runs) -> list[Ticket]:
    """The tickets that are trained, in the order of the plan. Raises InputError for a damaged run."""
    return [ticket for job in runs.plan.tickets() if (ticket := _ticket(runs, job))]


def _ticket(runs: Runs, job: Job) -> Ticket | None:
    result = runs.result(job)
    if result is None:
        return None
    size, plan = runs.size(job), runs.plan
    return Ticket(
        network=job.network,
        seed=job.seed,
        round=job.round,
        protocol=plan.settings.protocol,
        accuracy_protocol=job.kind,
        parameters=size.parameters,
        percent=round(100 * size.parameters / plan.reference, 4),
        weights=size.weights,
        accuracy=result.accuracy,
        epoch=result.epoch,
        run=job.run,
    )


def summarize(tickets: Sequence[Ticket]) -> list[Point]:
    """Means over the seeds, in the order in which the tickets come."""
    groups: dict[tuple[str, str, int], list[Ticket]] = {}
    for ticket in tickets:
        key = (ticket.network, ticket.accuracy_protocol, ticket.round)
        groups.setdefault(key, []).append(ticket)
    return [
        Point(
            network=network,
            round=index,
            accuracy_protocol=protocol,
            percent=statistics.fmean(ticket.percent for ticket in group),
            mean=statistics.fmean(ticket.accuracy for ticket in group),
            deviation=statistics.stdev(t.accuracy for t in group) if len(group) > 1 else 0.0,
            seeds=len(group),
        )
        for (network, protocol, index), group in groups.items()
    ]


def write_results(runs: Runs, tickets: Sequence[Ticket]) -> None:
    """Write ``results.json`` and ``results.csv`` into the study's directory."""
    content = {
        "settings": runs.plan.settings.model_dump(mode="json"),
        "reference_parameters": runs.plan.reference,
        "tickets": [asdict(ticket) for ticket in tickets],
    }
    write_json(runs.directory / RESULTS_FILE, content)
    with (
        atomic_write(runs.directory / TABLE_FILE) as temporary,
        Path(temporary).open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Ticket)])
        writer.writerows(asdict(ticket).values() for ticket in tickets)
