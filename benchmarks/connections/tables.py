"""The table of the study: a row for each precision and connection, with what it gains and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.connections.costs import Cost, float32_cost, program_cost
from benchmarks.connections.runs import BASELINE, CONNECTIONS, FLOAT, PRECISIONS, Outcome
from benchmarks.study import conditions, mean_and_spread, with_spread
from runtime.ir import Program
from toolchain.pipeline import lower_run
from toolchain.tables import Table
from toolchain.training import load_run

CRITICAL = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 5 % points of Student's t with 1, 2, .. degrees of freedom; the last serves beyond, where it is
the stricter one."""

HEADERS = (
    "precision",
    "connection",
    "parameters",
    "seeds",
    "accuracy, %",
    "to linear, points",
    "at 5 %",
    "gates, GE",
    "connections, GE",
    "connections, %",
    "LUT6",
    "flash, bytes",
    "RAM, bytes",
)

Key = tuple[str, str]
"""A precision and a connection."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A connection less the linear one, in points of accuracy, paired: one difference a seed.

    Source: Student's paired t test, two-sided, at 5 %, not corrected for the number of connections.
    """

    differences: tuple[float, ...]

    @property
    def significant(self) -> bool | None:
        """Whether the mean differs from 0; None for a single pair, which cannot tell."""
        pairs = len(self.differences)
        if pairs == 1:
            return None
        mean, spread = mean_and_spread(self.differences)
        return abs(mean) > CRITICAL[min(pairs - 1, len(CRITICAL)) - 1] * spread / math.sqrt(pairs)


@dataclass(frozen=True, slots=True)
class Row:
    """One connection at one precision. ``accuracies``: in percent, by seed. ``comparison``: None for the
    linear connection, and where it has no seed in common. ``cost``: of the first seed."""

    precision: str
    connection: str
    parameters: int
    accuracies: Mapping[int, float]
    comparison: Comparison | None
    cost: Cost

    @property
    def measured(self) -> list[float]:
        """The accuracies."""
        return list(self.accuracies.values())


def compare(accuracies: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison | None:
    """``accuracies`` less ``baseline``, both by seed, over the seeds they share; None without any."""
    shared = [seed for seed in accuracies if seed in baseline]
    return Comparison(tuple(accuracies[seed] - baseline[seed] for seed in shared)) if shared else None


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row for each precision and connection among ``outcomes``, in the order of the study.

    Lowers the first run of every quantized row. Raises InputError, LoweringError and ProgramError as
    lowering and the cost model do.
    """
    every = [(precision, connection) for precision in PRECISIONS for connection in CONNECTIONS]
    groups = {
        key: [o for o in outcomes if (o.variant.precision, o.variant.connection) == key] for key in every
    }
    groups = {key: group for key, group in groups.items() if group}
    programs = {key: lower_run(group[0].directory)[0] for key, group in groups.items() if key[0] != FLOAT}
    return [_row(key, groups, programs) for key in groups]


def _row(key: Key, groups: Mapping[Key, Sequence[Outcome]], programs: Mapping[Key, Program]) -> Row:
    precision, connection = key
    model = load_run(groups[key][0].directory).model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if key in programs:
        cost = program_cost(programs[key])
    else:
        alike = [program for (_, joined), program in programs.items() if joined == connection]
        cost = float32_cost(parameters, connection, alike)
    accuracies = _accuracies(groups[key])
    baseline = _accuracies(groups.get((precision, BASELINE), []))
    comparison = None if connection == BASELINE else compare(accuracies, baseline)
    return Row(precision, connection, parameters, accuracies, comparison, cost)


def _accuracies(group: Sequence[Outcome]) -> dict[int, float]:
    return {outcome.variant.seed: outcome.accuracy for outcome in group}


def table(data: str, found: Sequence[Row]) -> Table:
    """The table of one data set. Gates and LUTs are those of one position of every layer."""
    return Table(data, HEADERS, [_cells(row) for row in found], range(2, len(HEADERS)))


def _cells(row: Row) -> list[str]:
    area = row.cost.one_position
    return [
        row.precision,
        row.connection,
        f"{row.parameters:,}",
        str(len(row.accuracies)),
        with_spread(row.measured),
        *_compared(row),
        _number(area.ge),
        _number(area.connections),
        _number(area.share, ".2f"),
        _number(area.lut6),
        _number(row.cost.flash_bytes),
        _number(row.cost.ram_bytes),
    ]


def _compared(row: Row) -> list[str]:
    """The difference, with the number of pairs where it is not that of the seeds, and whether it counts."""
    if row.comparison is None:
        return ["-", "-"]
    differences = row.comparison.differences
    pairs = "" if len(differences) == len(row.accuracies) else f" ({len(differences)} paired)"
    verdicts = {True: "yes", False: "n.s.", None: "-"}
    return [with_spread(differences, "+") + pairs, verdicts[row.comparison.significant]]


def _number(value: float | None, form: str = ",.0f") -> str:
    return "-" if value is None else format(value, form)


def record(outcomes: Sequence[Outcome], found: Sequence[Row]) -> dict[str, Any]:
    """Everything that was measured on one data set, and on what: for the JSON file."""
    return {**conditions(outcomes[0].result), "rows": [_json(row) for row in found]}


def _json(row: Row) -> dict[str, Any]:
    mean, spread = mean_and_spread(row.measured)
    return {
        "precision": row.precision,
        "connection": row.connection,
        "parameters": row.parameters,
        "seeds": list(row.accuracies),
        "accuracies": [round(accuracy, 2) for accuracy in row.measured],
        "accuracy": round(mean, 3),
        "deviation": round(spread, 3),
        "to_linear": row.comparison and _comparison_json(row.comparison),
        "cost": asdict(row.cost),
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    mean, spread = mean_and_spread(comparison.differences)
    return {
        "pairs": len(comparison.differences),
        "mean": round(mean, 3),
        "deviation": round(spread, 3),
        "significant": comparison.significant,
    }
