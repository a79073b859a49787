"""Instructions of a program's C without running it: by its plan and a table of rates.

What a step takes is a sum of amounts that its plan knows (values read and written, sums, the planner's own
cost of a kernel) at rates that ``toolchain.mcu.calibrate_speed`` measured for each core, by kind of step.
Kernels that are driven by their activations take what images of the calibrated programs made them take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from exporters.c99.build import Source
from exporters.c99.plan import Plan, Step

TABLE = "speeds.json"
"""The measured table, beside this file."""

ANY = "*"
"""The row of all kinds together, for a kind that no calibrated program has."""


@dataclass(frozen=True, slots=True)
class Work:
    """One step. ``kind``: the row of the table. ``amounts``: what its rates multiply; ``common``: those of
    the row of all kinds."""

    kind: str
    amounts: tuple[float, ...]
    common: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """Estimated instructions and cycles of one inference."""

    instructions: float
    cycles: float

    def milliseconds(self, clock_hz: int) -> float:
        """Time at that clock, without wait states of the memories."""
        return 1000 * self.cycles / clock_hz


def work_of(step: Step, plan: Plan) -> Work:
    """What ``step`` of ``plan`` does."""
    result, reads = plan.stored[step.result], [plan.stored[key] for key in step.reads]
    size, moved = result.type.size, sum(read.type.size for read in reads)
    layer, chosen = step.layer, step.candidate
    if layer is None or chosen is None:
        forms = [*(read.form.value for read in reads[:1]), result.form.value]
        kind = f"loop {step.node.op.name}" if step.kind == "loop" else " ".join([step.kind, *forms])
        stored = sum(value.bytes(plan.target) for value in (result, *reads))
        amounts = (1, size, size * len(step.chain), moved, stored)
        return Work(kind, amounts, (1, size, moved, 0))
    sums, window = layer.outputs * layer.positions, layer.taps * layer.codes.shape[1]
    levels, rows = layer.level_count, layer.result.shape[1]
    amounts = (
        1,
        chosen.cost,
        sums,
        sums * (levels or len(step.chain)),
        moved * layer.image.bits,
        layer.outputs * window * rows,
        sums * window * layer.image.bits,
        sums * layer.taps,
    )
    kind = f"layer {chosen.kernel} {'levels' if levels else 'sums'}{' dense' * (layer.positions == 1)}"
    return Work(kind, amounts, (1, size, moved, chosen.cost))


def works_of(plan: Plan) -> list[Work]:
    """What every step does."""
    return [work_of(step, plan) for step in plan.steps]


@cache
def _tables() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("toolchain.mcu").joinpath(TABLE).read_text(encoding="utf-8"))
    return loaded


def effort(source: Source, table: Mapping[str, Any] | None = None) -> Effort | None:
    """What one inference of ``source`` is expected to take; None on a core that is not run.

    ``table``: in place of the shipped one.
    """
    rows = (_tables() if table is None else table).get(source.target.name)
    if rows is None:
        return None
    instructions = cycles = 0.0
    for work in works_of(source.plan):
        row = rows.get(work.kind)
        amounts = work.amounts if row else work.common
        row = row or rows[ANY]
        spent = sum(rate * amount for rate, amount in zip(row["rates"], amounts, strict=True))
        instructions += spent
        cycles += spent * row["cycles"]
    return Effort(instructions, cycles)
