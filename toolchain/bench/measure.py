"""The measurement: contenders agree first, then take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np

from runtime.errors import MismatchError
from runtime.ir import Program
from runtime.serialize import dumps
from runtime.session import ExecutorRow, Session
from toolchain.bench.contenders import FP32, INT8, Contender, executor, twin
from toolchain.bench.layers import LayerRow, measure_layers
from toolchain.bench.machine import Machine, describe_machine, one_blas_thread
from toolchain.bench.settings import Settings
from toolchain.compare import REFERENCE, Samples, count_differing
from toolchain.timing import Call, Times, alternate

SCHEMA = 1
"""Of the report as JSON: a file of another one is not read back."""

REFERENCE_SAMPLES = 2
"""Samples of a batch that the interpreter checks, which is slow; executors are compared on all of them."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One executor or twin at one batch size: milliseconds a batch, through ``Session.run``.

    ``ratio_to_fp32``: how many times faster than the float32 twin; None without one. ``engine_ms``: the
    median without the checks and conversions of a Session. ``calls`` were made in ``turns``.
    """

    executor: str
    kind: str
    batch: int
    threads: int
    median_ms: float
    ratio_to_fp32: float | None
    ratio_to_int8: float | None
    engine_ms: float | None
    quartile1_ms: float
    quartile3_ms: float
    best_ms: float
    turns: int
    calls: int
    kernel: str | None


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything measured. ``sha256``: of the program's file. ``time``: when it was done, in UTC.

    ``skipped``: executors that cannot run here, and why.
    """

    program: str
    sha256: str
    time: str
    rows: tuple[Row, ...]
    layers: tuple[LayerRow, ...]
    settings: Settings
    machine: Machine
    skipped: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The ``bench`` report."""
        return {"schema": SCHEMA, **asdict(self)}


def bench(
    program: Program,
    executors: Mapping[str, ExecutorRow],
    settings: Settings,
    samples: Callable[[int], Samples] | None = None,
    tell: Tell = lambda _: None,
    skipped: Mapping[str, str] | None = None,
) -> Bench:
    """Measure ``executors`` and the twins of ``program``.

    ``samples``: inputs of a batch size, else uniform ones. ``tell`` hears each stage. Raises MismatchError
    where two executors differ on what is measured, MissingToolError where something is not installed.
    """
    take = samples or (lambda batch: uniform_samples(program, batch))
    contenders = list(_contenders(program, executors, settings, tell))
    rows: list[Row] = []
    layers: list[LayerRow] = []
    with one_blas_thread():
        machine = describe_machine()
        for batch in settings.batches:
            inputs = take(batch)
            check_agreement(program, contenders, inputs, tell)
            rows += _measure(contenders, inputs, settings, tell)
            if settings.layers:
                layers += measure_layers(program, inputs, settings, tell)
    return Bench(
        program=program.name,
        sha256=sha256(dumps(program)).hexdigest(),
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rows=tuple(rows),
        layers=tuple(layers),
        settings=settings,
        machine=machine,
        skipped=dict(skipped or {}),
    )


def uniform_samples(program: Program, count: int) -> Samples:
    """Uniform inputs, in the dtypes that images come in."""
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.integers(
            spec.type.interval.lo, spec.type.interval.hi + 1, (count, *spec.type.shape)
        ).astype(spec.type.interval.dtype)
        for spec in program.inputs
    }


def _contenders(
    program: Program, executors: Mapping[str, ExecutorRow], settings: Settings, tell: Tell
) -> Sequence[Contender]:
    found = []
    for name, row in executors.items():
        tell(f"preparing: {name}")
        found.append(executor(program, name, row, settings.kernel, settings.threads))
    for name in settings.against:
        tell(f"preparing: {name}")
        found.append(twin(program, name, settings.threads))
    return found


def check_agreement(
    program: Program, contenders: Sequence[Contender], inputs: Samples, tell: Tell = lambda _: None
) -> None:
    """Raise MismatchError unless all executors give the same outputs for ``inputs``.

    The interpreter is asked about the first samples, the first executor about all of them.
    """
    batch = len(next(iter(inputs.values())))
    few = {name: array[:REFERENCE_SAMPLES] for name, array in inputs.items()}
    tell(f"checking batch {batch}: {REFERENCE}")
    expected, first = Session(program, REFERENCE).run(few), None
    for contender in contenders:
        if contender.session is None:
            continue
        tell(f"checking batch {batch}: {contender.name}")
        found = contender.session.run(inputs)
        head = {name: array[:REFERENCE_SAMPLES] for name, array in found.items()}
        _demand_equal(contender.name, REFERENCE, expected, head, batch)
        if first:
            _demand_equal(contender.name, first[0], first[1], found, batch)
        first = first or (contender.name, found)


def _demand_equal(name: str, other: str, expected: Samples, found: Samples, batch: int) -> None:
    if differing := count_differing(expected, found):
        raise MismatchError(
            f"{name} differs from {other} on {differing} of {len(next(iter(found.values())))} samples at "
            f"batch {batch}, so its speed means nothing; look closer with `gatefold verify`"
        )


def _measure(contenders: Sequence[Contender], inputs: Samples, settings: Settings, tell: Tell) -> list[Row]:
    """Rows of one batch size, all contenders in turn."""
    batch = len(next(iter(inputs.values())))
    calls: dict[str, Call] = {c.name: c.prepare(inputs) for c in contenders}
    engines = {c.name: call for c in contenders if (call := c.engine(inputs))}
    times = alternate(
        {**calls, **{f"{name} engine": call for name, call in engines.items()}},
        settings.seconds,
        settings.repeats,
        lambda what: tell(f"measuring batch {batch}: {what}"),
    )
    return [_row(c, batch, times) for c in contenders]


def _row(contender: Contender, batch: int, times: Mapping[str, Times]) -> Row:
    own, engine = times[contender.name], times.get(f"{contender.name} engine")

    def ratio_to(name: str) -> float | None:
        return times[name].median_ms / own.median_ms if name in times else None

    return Row(
        executor=contender.name,
        kind=contender.kind,
        batch=batch,
        threads=contender.threads(batch),
        ratio_to_fp32=ratio_to(FP32),
        ratio_to_int8=ratio_to(INT8),
        engine_ms=engine and engine.median_ms,
        kernel=contender.kernel,
        **asdict(own),
    )
