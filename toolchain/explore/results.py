"""What an exploration has found so far: its counts, its front, and the tables of both."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.files import atomic_write
from runtime.serialize import load
from toolchain.explore.costs import MEASURES, Limits, cost_of
from toolchain.explore.ledger import FAILED, FINISHED, REJECTED, REPEATED, STOPPED, Row, best_rows
from toolchain.explore.settings import Settings, folding_of
from toolchain.training.run import remove_remains, write_json

FRONT_TABLE, FRONT_FILE, TRIALS_TABLE = "front.csv", "front.json", "trials.csv"


@dataclass(frozen=True, slots=True)
class Reference:
    """A program to compare the front with. ``accuracy``: on test images, as its metadata say."""

    name: str
    accuracy: float
    measures: dict[str, int]
    fits: bool


def read_reference(path: Path, limits: Limits) -> Reference:
    """The program in the file ``path``, judged by one position. Raises InputError."""
    program = load(path)
    accuracy = program.metadata.get("accuracy")
    if not isinstance(accuracy, float):
        raise InputError(
            f"--reference {path} does not say its accuracy; lower it from a run, or leave it out"
        )
    cost = cost_of(program, "", limits)
    return Reference(program.name, accuracy, dict(cost.measures), cost.fits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is reported of an exploration."""

    settings: Settings
    rows: Sequence[Row]
    references: Sequence[Reference]

    @property
    def front(self) -> list[Row]:
        """From the cheapest to the most accurate."""
        return best_rows(self.rows, self.settings.measure)

    @property
    def counts(self) -> dict[str, int]:
        """Trials by what became of them; ``trained``: those of the search that were finished or stopped."""
        kinds = Counter(row.fate for row in self.rows if row.refines is None)
        return {
            "trained": kinds[FINISHED] + kinds[STOPPED],
            "finished": kinds[FINISHED],
            "stopped": kinds[STOPPED],
            "rejected": kinds[REJECTED],
            "refined": sum(row.fate == FINISHED for row in self.rows if row.refines is not None),
            "failed": kinds[FAILED],
            "running": kinds[""],
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON; its keys are part of the interface."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "measure": self.settings.measure,
            "counts": self.counts,
            "front": [row_json(row) for row in self.front],
            "trials": [row_json(row) for row in self.rows if row.fate != REPEATED],
            "references": [
                {"name": r.name, "accuracy": r.accuracy, "measures": r.measures, "fits": r.fits}
                for r in self.references
            ],
        }


def row_json(row: Row) -> dict[str, Any]:
    """A trial as plain JSON; accuracies are shares, ``accuracy`` is on the validation images."""
    return {
        "run": row.run,
        "fate": row.fate or "running",
        "refines": row.refines,
        "point": row.point,
        "folding": folding_of(row.point),
        "accuracy": row.accuracy,
        "test_accuracy": row.test,
        "epochs": len(row.curve),
        "seconds": row.seconds,
        "curve": list(row.curve),
        "cost": row.cost and row.cost.to_json(),
        "untrained_cost": row.guess and row.guess.to_json(),
        "error": row.error or None,
    }


def publish(directory: Path, outcome: Outcome) -> None:
    """Write the tables of the front and of all trials into the exploration's directory."""
    remove_remains(directory, FRONT_TABLE, FRONT_FILE, TRIALS_TABLE)
    write_json(directory / FRONT_FILE, outcome.to_json())
    keys = list(outcome.settings.axes)
    for name, rows in ((FRONT_TABLE, outcome.front), (TRIALS_TABLE, outcome.rows)):
        _write_table(directory / name, rows, keys)


def _write_table(path: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    columns = ["run", "fate", "refines", "accuracy", "test_accuracy", "epochs", "seconds"]
    with atomic_write(path) as temporary, Path(temporary).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *MEASURES, *keys])
        for row in rows:
            if row.fate == REPEATED:
                continue
            plain = row_json(row)
            measures = row.cost.measures if row.cost else {}
            writer.writerow(
                [
                    *(plain[column] for column in columns),
                    *(measures.get(name, "") for name in MEASURES),
                    *(row.point.get(key, "") for key in keys),
                ]
            )
