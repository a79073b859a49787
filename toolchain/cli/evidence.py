"""What ``gatefold report`` runs beside the formulas: activity, executors against the interpreter, speed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

import exporters
from runtime.errors import FormatError, InputError
from runtime.ir import Program
from runtime.session import check_input
from runtime.version import VERSION
from toolchain.bench import Bench, Settings, bench
from toolchain.bench.contenders import TWINS
from toolchain.bench.machine import blas_warning
from toolchain.cli.bench import test_images, wanted_executors
from toolchain.compare import Agreement, compare, random_samples
from toolchain.cost.activity import measure_activity, sample_count
from toolchain.cost.evidence import Evidence, Origin, Verification
from toolchain.vectors import Arrays, Vectors, read_vectors

VECTORS_FILE = "vectors.npz"
RANDOM = "uniform random inputs, seed 0"
SECONDS = 4.0
"""Of measuring speed."""

LONG = {"verilog": 0, "netlist": 500_000}
"""Executors that build a circuit of every position: up to how many multiply-accumulates of the program that
takes seconds, 0 where it never does."""

LEFT_OUT = "it would build a circuit of every position; `gatefold verify --executors {}` tries"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run. ``data``: a data set to take the inputs from, and ``data_dir`` where its files are."""

    activity: bool = False
    verify: bool = False
    speed: bool = False
    data: str | None = None
    data_dir: Path | None = None


NOTHING = Wanted()
"""The formulas alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Inputs to run; ``source``: where they are from. ``vectors``: those with outputs, if they have any."""

    source: str
    inputs: Arrays
    vectors: Vectors | None = None


def gather(path: Path, program: Program, wanted: Wanted, macs: int, tell: Tell) -> Evidence:
    """Run what is wanted of the ``program`` in ``path``, on as many samples as its ``macs`` allow.

    ``tell`` hears each stage. Raises InputError for data that do not fit it, and MismatchError where two
    executors differ in what is timed.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = Origin(str(path), path.stat().st_size, digest, VERSION)
    if not (wanted.activity or wanted.verify or wanted.speed):
        return Evidence(origin)
    taken = take(path, program, wanted, sample_count(macs))
    activity = verification = speed = None
    if wanted.activity:
        tell("measuring the activity")
        activity = measure_activity(program, taken.inputs, taken.source)
    if wanted.verify:
        tell("verifying")
        verification = verified(program, taken, macs)
    if wanted.speed and (verification is None or verification.comparison.ok):
        speed = timed(program, tell)
    return Evidence(origin, activity, verification, speed)


def take(path: Path, program: Program, wanted: Wanted, count: int) -> Taken:
    """Inputs of the data set that is named, else of the vectors beside the program, else random ones."""
    if wanted.data:
        return _of_data(program, wanted.data, wanted.data_dir, count)
    if vectors := vectors_beside(path, program):
        few = Vectors(
            *({k: v[:count] for k, v in part.items()} for part in (vectors.inputs, vectors.outputs))
        )
        if len(few) > 1:
            return Taken(f"{VECTORS_FILE} beside the program", few.inputs, few)
    return Taken(RANDOM, random_samples(program, count, 0))


def _of_data(program: Program, data: str, data_dir: Path | None, count: int) -> Taken:
    spec, images = test_images(program, data, data_dir)
    return Taken(f"test images of {data}", {spec.name: check_input(images[:count], spec)})


def vectors_beside(path: Path, program: Program) -> Vectors | None:
    """The test vectors that a trained program comes with, if they are there and its own."""
    vectors = path.with_name(VECTORS_FILE)
    if not vectors.is_file():
        return None
    with suppress(InputError, FormatError):
        return read_vectors(vectors, program)
    return None


def verified(program: Program, taken: Taken, macs: int) -> Verification:
    """Every installed executor against the interpreter, but those that would build a large circuit."""
    rows = exporters.executors()
    left_out = [name for name, limit in LONG.items() if macs > limit]
    chosen = {name: row for name, row in rows.items() if name not in left_out}
    sets = [] if taken.vectors else [taken.inputs]
    found = compare(program, sets, chosen, vectors=taken.vectors)
    skipped = {name: Agreement(0, 0, LEFT_OUT.format(name)) for name in left_out}
    return Verification(taken.source, replace(found, executors=found.executors | skipped))


def timed(program: Program, tell: Tell) -> Bench:
    """Speed of the fast executors, in turns with the twins in ONNX Runtime where it is installed, on one
    uniform sample and one thread."""
    rows, skipped = wanted_executors(None)
    if warning := blas_warning():
        click.echo(f"warning: {warning}", err=True)
    against = () if exporters.executors()["onnx"].missing() else tuple(TWINS)
    return bench(program, rows, Settings(against, seconds=SECONDS), tell=tell, skipped=skipped)
