"""Every stage of a program proved: its circuit against the interpreter, its Verilog against its circuit."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from exporters.netlist.circuit import Circuit
from exporters.netlist.limits import check_stage, summed_bits
from exporters.netlist.mapping import cover_circuit
from exporters.netlist.stages import Stage
from runtime.errors import GatefoldError, TimeLimitError, TooLargeError
from toolchain.proof.elements import Hints, hints, is_polynomial, unproved
from toolchain.proof.equivalence import FORMS, input_text, reference_equals, verilog_equals
from toolchain.proof.exhaustive import (
    LAST_RESORT,
    MOST_INPUTS,
    Counterexample,
    channel_types,
    count,
    difference_by_channel,
    difference_of_all,
    is_by_channel,
    random_difference,
)
from toolchain.proof.reference import has_reference
from toolchain.synthesis.map import verilog
from toolchain.synthesis.yosys import TIMEOUT, Yosys

FEW_INPUTS = 1 << 14
"""Up to so many inputs all are tried before anything else."""

RANDOM_INPUTS = 4096
"""Inputs tried where a proof has failed, in search of the one that shows why."""

PROVED, WRONG, OPEN, FAILED = "proved", "differs", "not proved", "failed"

Progress = Callable[[str], None]
Build = Callable[[Stage], Circuit]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status``: ``proved``, ``differs``, ``not proved``, or ``failed`` where a tool did. ``method``: how,
    or why not, or the input that shows a difference."""

    status: str
    method: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """What is known about one stage."""

    stage: str
    layer: str
    op: str
    positions: int
    program: Outcome
    verilog: Outcome

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def unanswered(error: GatefoldError) -> Outcome:
    """What is known where a tool gave no answer: only that it took too long, or that it failed."""
    return Outcome(OPEN if isinstance(error, TimeLimitError) else FAILED, str(error))


def prove(
    parts: Iterable[Stage],
    yosys: Yosys,
    build: Build = Stage.circuit,
    limit: int = 25_000,
    timeout: float = TIMEOUT,
    progress: Progress = lambda line: None,
) -> Iterator[Row]:
    """A row for every stage, as it is done.

    ``build``: the circuit of a stage. ``limit``: most bits that a stage may add up for its Verilog to be
    synthesized. ``timeout``: seconds that Yosys may take for one stage.
    """
    for stage in parts:
        progress(f"proving {stage.value}: {stage.local.op.name}, {summed_bits(stage):,} bits")
        yield _row(stage, yosys, build, limit, timeout)


def _row(stage: Stage, yosys: Yosys, build: Build, limit: int, timeout: float) -> Row:
    names = (stage.value, stage.layer, stage.local.op.name, stage.positions)
    try:
        check_stage(stage)
    except TooLargeError as error:
        return Row(*names, Outcome(OPEN, str(error)), Outcome(OPEN, "its circuit is too large"))
    circuit = build(stage)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        program = timed(lambda: prove_stage(stage, circuit, hints(stage, circuit), yosys, work, timeout))
        bits = summed_bits(stage)
        if bits > limit:
            why = f"it adds up {bits:,} bits, more than {limit:,}"
            return Row(*names, program, Outcome(OPEN, why))
        covers = {tables: cover_circuit(circuit, tables) if tables else None for tables in FORMS}
        texts = {tables: verilog(circuit, False, luts) for tables, luts in covers.items()}
        return Row(
            *names, program, timed(lambda: prove_verilog(stage, circuit, texts, yosys, work, timeout))
        )


def timed(make: Callable[[], Outcome]) -> Outcome:
    """What ``make`` gives, with the seconds that it took."""
    start = time.perf_counter()
    outcome = make()
    return replace(outcome, seconds=round(time.perf_counter() - start, 3))


def prove_stage(
    stage: Stage, circuit: Circuit, found: Hints, yosys: Yosys, folder: Path, timeout: float = TIMEOUT
) -> Outcome:
    """Whether ``circuit`` is the op of ``stage`` with its Threshold, for all valid inputs of one
    position."""
    inputs = count(stage.local.types)
    if inputs <= FEW_INPUTS:
        return _tried(difference_of_all(stage, circuit), f"all {inputs:,} inputs")
    why = "there is no method for this op at this size"
    if is_polynomial(stage):
        wrong = list(unproved(stage, circuit, found))
        if not wrong:
            return Outcome(PROVED, "linear certificate")
        why = f"the certificate fails on {len(wrong)} outputs, the first {wrong[0][0]}"
    if sample := random_difference(stage, circuit, RANDOM_INPUTS):
        return Outcome(WRONG, str(sample))
    return _searched(stage, circuit, yosys, folder, timeout) or Outcome(OPEN, why)


def _searched(stage: Stage, circuit: Circuit, yosys: Yosys, folder: Path, timeout: float) -> Outcome | None:
    """By all inputs or by ABC; None where neither can."""
    if found := _all(stage, circuit, MOST_INPUTS):
        return found
    proved = None
    if has_reference(stage.local.op) and stage.threshold is None and yosys.abc:
        proved = _by_reference(stage, circuit, yosys, folder, timeout)
    if proved is None or proved.status == OPEN:
        return _all(stage, circuit, LAST_RESORT) or proved
    return proved


def _all(stage: Stage, circuit: Circuit, most: int) -> Outcome | None:
    """By all inputs, or all of every channel; None where those are more than ``most``."""
    inputs, own = count(stage.local.types), channel_types(stage)
    if inputs <= most:
        return _tried(difference_of_all(stage, circuit), f"all {inputs:,} inputs")
    if own is not None and count(own) <= most and is_by_channel(stage, circuit):
        return _tried(difference_by_channel(stage, circuit), f"all {count(own):,} inputs of every channel")
    return None


def _tried(difference: Counterexample | None, method: str) -> Outcome:
    return Outcome(WRONG, str(difference)) if difference else Outcome(PROVED, method)


def _by_reference(stage: Stage, circuit: Circuit, yosys: Yosys, folder: Path, timeout: float) -> Outcome:
    try:
        found = reference_equals(yosys, stage, circuit, folder, timeout)
    except GatefoldError as error:
        return unanswered(error)
    if found.equal is None:
        return Outcome(OPEN, found.why)
    if found.equal:
        return Outcome(PROVED, "behavioural Verilog, ABC")
    return Outcome(WRONG, f"they differ for {input_text(circuit, found.difference)}")


def prove_verilog(
    stage: Stage,
    circuit: Circuit,
    texts: Mapping[int | None, str],
    yosys: Yosys,
    folder: Path,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Whether the Verilog ``texts``, by the inputs of the tables that they consist of, None: gates, are
    ``circuit`` after synthesis."""
    if yosys.abc is None:
        return Outcome(OPEN, yosys.without_abc)
    if all(literal < 2 for literal in circuit.results):
        return Outcome(PROVED, "constants")
    what = f"synthesizing {stage.value}"
    for tables, text in texts.items():
        try:
            found = verilog_equals(yosys, circuit, text, FORMS[tables], folder, what, timeout)
        except GatefoldError as error:
            return unanswered(error)
        if found.equal is None:
            return Outcome(OPEN, found.why)
        if not found.equal:
            return Outcome(WRONG, f"they differ for {input_text(circuit, found.difference)}")
    return Outcome(PROVED, "gates, LUT6, tables, ABC")
