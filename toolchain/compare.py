"""Whether executors agree: the same samples through each, every output compared element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import TooLargeError
from runtime.ir import Program
from runtime.session import ExecutorRow, Session
from toolchain.vectors import Vectors, read_vectors

REFERENCE = "interpreter"
CHUNK = 256

Samples = Mapping[str, NDArray[Any]]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Agreement:
    """One executor against the interpreter. A sample with any differing element is one mismatch."""

    samples: int
    mismatches: int
    skipped: str | None = None


def verdict(name: str, row: Agreement) -> str:
    """What the row of the executor ``name`` means, in words."""
    if row.skipped:
        return f"skipped: {row.skipped}"
    if row.mismatches:
        return "DIFFERS"
    return "the definition" if name == REFERENCE else "equal bit for bit"


@dataclass(frozen=True)
class Comparison:
    """Agreement by executor. ``ok``: something was compared and nothing differed."""

    executors: dict[str, Agreement]
    strict: bool

    @property
    def ok(self) -> bool:
        """False on any mismatch, and on a skipped executor that was asked for by name."""
        rows = self.executors.values()
        return not any(r.mismatches or (self.strict and r.skipped) for r in rows)

    def to_json(self) -> dict[str, Any]:
        """The ``verify`` report: ``ok`` and a row per executor."""
        return {"ok": self.ok, "executors": {k: asdict(v) for k, v in self.executors.items()}}


def random_samples(program: Program, count: int, seed: int) -> Samples:
    """``count`` uniform samples per input, the first two all at the lower and all at the upper end."""
    rng = np.random.default_rng(seed)
    samples = {}
    for spec in program.inputs:
        lo, hi = spec.type.interval.lo, spec.type.interval.hi
        array = rng.integers(lo, hi + 1, (count, *spec.type.shape))
        array[:1], array[1:2] = lo, hi
        samples[spec.name] = array
    return samples


def compare(
    program: Program,
    sets: Sequence[Samples],
    table: Mapping[str, ExecutorRow],
    strict: bool = False,
    progress: Progress | None = None,
    vectors: Vectors | None = None,
) -> Comparison:
    """Run every sample of ``sets`` on every executor of ``table`` and on the interpreter.

    ``strict``: an executor that cannot run here counts as a failure. ``progress`` gets the number of
    samples finished on one executor. ``vectors`` are run too, and compared with the outputs they hold;
    there the interpreter is an executor like any other.
    """
    skipped = {name: row.missing() for name, row in table.items()}
    reference = Session(program, REFERENCE)
    sessions = {}
    for name in [name for name in table if not skipped[name]]:
        try:
            sessions[name] = reference if name == REFERENCE else Session(program, name, table)
        except TooLargeError as error:
            skipped[name] = str(error)
    running = list(sessions)
    mismatches = dict.fromkeys(running, 0)
    total = 0
    stored = [(vectors.inputs, vectors.outputs)] if vectors else []
    for samples, outputs in [*((samples, None) for samples in sets), *stored]:
        size = len(next(iter(samples.values())))
        total += size
        for start in range(0, size, CHUNK):
            part = _part(samples, start)
            expected = _part(outputs, start) if outputs else reference.run(part)
            for name, session in sessions.items():
                found = expected if session is reference and not outputs else session.run(part)
                mismatches[name] += count_differing(expected, found)
                if progress:
                    progress(len(next(iter(part.values()))))
    rows = {
        name: Agreement(0, 0, skipped[name]) if skipped[name] else Agreement(total, mismatches[name])
        for name in table
    }
    return Comparison(rows, strict)


def _part(samples: Samples, start: int) -> Samples:
    return {name: array[start : start + CHUNK] for name, array in samples.items()}


def count_differing(expected: Samples, found: Samples) -> int:
    """Number of samples in which any output differs."""
    differing = [
        (expected[name] != found[name]).reshape(len(expected[name]), -1).any(axis=1) for name in expected
    ]
    return int(np.logical_or.reduce(differing).sum())


def verify(
    program: Program, samples: int = 1000, seed: int = 0, vectors: str | Path | None = None
) -> Comparison:
    """Compare every installed executor with the interpreter on ``samples`` random inputs.

    ``vectors``: a file of test vectors, whose outputs every executor must give as well.
    """
    import exporters

    stored = read_vectors(vectors, program) if vectors else None
    sets = [random_samples(program, samples, seed)]
    return compare(program, sets, exporters.executors(), vectors=stored)
