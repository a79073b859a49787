"""Measure the table of rates: ``python -m toolchain.mcu.calibrate_speed PROGRAM|MODEL...``.

Runs every program, an untrained network of every model, and small networks of every kind of layer on every
emulated core, counts the instructions of each step, and writes ``speeds.json``. Run it when kernels or the
compiler change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.c99.build import Source, generate
from exporters.c99.selftest import sample_inputs
from runtime.errors import GatefoldError
from runtime.files import atomic_write
from runtime.ir import Program
from runtime.serialize import load
from toolchain.mcu.build import build
from toolchain.mcu.calibrate import MEMORY, least_squares, untrained
from toolchain.mcu.cores import CORES, Core
from toolchain.mcu.emulate import Emulator, Spent
from toolchain.mcu.samples import sample_programs
from toolchain.mcu.speed import ANY, TABLE, Work, effort, works_of
from toolchain.vectors import Arrays, read_vectors

SAMPLE = 3
"""Which sample is run: the first ones of a self-test are its extremes."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """One program on one core: what each step does, and what it took in ``cycles`` and instructions."""

    program: str
    source: Source
    works: Sequence[Work]
    instructions: Sequence[int]
    cycles: Sequence[float]


def count(name: str, program: Program, inputs: Arrays, core: Core) -> Counted | None:
    """Run ``program`` on ``core``; None where it cannot be built for it."""
    assert core.timing is not None
    try:
        source = generate(program, core.name, vectors=0)
        image = build(source, core, MEMORY, profile=True)
        one = {key: array[min(SAMPLE, len(array) - 1)] for key, array in inputs.items()}
        steps: Sequence[Spent] = Emulator(image).run(one, True).steps
    except GatefoldError as error:
        print(f"{name} on {core.name} is left out: {error}", file=sys.stderr)
        return None
    return Counted(
        name,
        source,
        works_of(source.plan),
        [step.instructions for step in steps],
        [step.cycles(core.timing) for step in steps],
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """One step. ``weight``: one over the instructions of its program, of which an error is a share."""

    work: Work
    instructions: int
    cycles: float
    weight: float


def _steps(runs: Iterable[Counted]) -> Iterator[_Step]:
    for run in runs:
        weight = 1 / sum(run.instructions)
        for work, instructions, cycles in zip(run.works, run.instructions, run.cycles, strict=True):
            yield _Step(work, instructions, cycles, weight)


def fit(runs: Sequence[Counted]) -> dict[str, Any]:
    """The table of one core: ``rates`` of each kind of step, and ``cycles`` of one of its instructions."""
    steps = list(_steps(runs))
    kinds: dict[str, list[_Step]] = {}
    for step in steps:
        kinds.setdefault(step.work.kind, []).append(step)
    rows = {kind: _row(found, [step.work.amounts for step in found]) for kind, found in kinds.items()}
    return rows | {ANY: _row(steps, [step.work.common for step in steps])}


def _row(steps: Sequence[_Step], amounts: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Rates without negative ones."""
    most = [max(column) or 1.0 for column in zip(*amounts, strict=True)]
    columns = [[row[i] / top for row in amounts] for i, top in enumerate(most)]
    counts = [step.instructions for step in steps]
    shares = least_squares(columns, counts, [step.weight for step in steps])
    return {
        "rates": [float(f"{share / top:.5g}") for share, top in zip(shares, most, strict=True)],
        "cycles": round(sum(step.cycles for step in steps) / max(sum(counts), 1), 4),
    }


def deviation(run: Counted, table: dict[str, Any]) -> float:
    """By what share the estimate of a program's instructions is off."""
    found = effort(run.source, {run.source.target.name: table})
    assert found is not None
    return found.instructions / sum(run.instructions) - 1


def calibrate(programs: Sequence[tuple[str, Program, Arrays]], cores: Iterable[Core]) -> dict[str, Any]:
    """The table of all ``cores``, each from every program that runs on it."""
    tables = {}
    for core in cores:
        runs = [run for one in programs if (run := count(*one, core)) is not None]
        tables[core.name] = fit(runs)
        own = {run.program: deviation(run, tables[core.name]) for run in runs}
        left = {run.program: deviation(run, fit([r for r in runs if r is not run])) for run in runs}
        print(
            f"{core.name}: {len(runs)} programs; off by, and where left out of the table", file=sys.stderr
        )
        for name, share in own.items():
            print(f"  {name}: {100 * share:+.1f} %, {100 * left[name]:+.1f} %", file=sys.stderr)
    return tables


def _loaded(name: str) -> tuple[str, Program, Arrays]:
    """A program with the images beside it, or an untrained network with random ones."""
    path = Path(name)
    if not path.is_file():
        program = untrained(name)
        return name, program, sample_inputs(program, SAMPLE + 1)
    program = load(path)
    return path.parent.name, program, read_vectors(path.with_name("vectors.npz"), program).inputs


def main(names: Sequence[str]) -> None:
    """Write the table from programs, by path, and models, by name."""
    cores = [core for core in CORES.values() if core.machine and core.timing]
    table = calibrate([*map(_loaded, names), *sample_programs(SAMPLE + 1)], cores)
    with atomic_write(Path(__file__).with_name(TABLE)) as temporary:
        temporary.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
