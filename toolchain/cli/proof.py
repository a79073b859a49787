"""``gatefold verify --prove``."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from exporters.netlist.stages import Stage, stages
from exporters.verilog.build import TABLES, checked_numbers, style_of
from runtime.errors import GatefoldError, MismatchError, MissingToolError
from runtime.ir import Program
from toolchain.cli.common import emit, late_status, table
from toolchain.cli.main import Terminated
from toolchain.proof.prove import FAILED, OPEN, PROVED, WRONG, Outcome, Row, prove
from toolchain.proof.top import Form, prove_tops
from toolchain.synthesis.yosys import find_yosys

BAD = (WRONG, FAILED)
"""What must not be overlooked in a table."""

TOPS = ("combinational", "layers")
"""Pipelines of the top modules that are proved where none is asked for."""


def chosen_forms(pipeline: str | None, levels: str, depth: str, tables: str) -> tuple[Form, ...]:
    """What the options of the exporter mean. Raises InputError."""
    if pipeline is None and not (levels or depth):
        return tuple(Form(one, tables=TABLES[tables]) for one in TOPS)
    pipeline = pipeline or ("levels" if levels else "depth")
    return (Form(pipeline, **checked_numbers(pipeline, levels, depth), tables=TABLES[tables]),)


def proofs(
    program: Program, part: str | None, style: str | None, limit: int, forms: tuple[Form, ...]
) -> Iterator[Row]:
    """What is proved of every circuit of ``program`` and of its top module in ``forms``, or of ``part``
    alone, row by row. ``style``: of the circuits; None or ``auto``: as they are exported. Raises
    MissingToolError where Yosys or its ABC is not there."""
    yosys = find_yosys("--prove")
    if yosys.abc is None:
        raise MissingToolError(
            f"--prove needs yosys-abc, which {yosys.name} comes without: pip install 'gatefold[synth]'"
        )
    parts = stages(program)
    if style is None or style == "auto":
        style = style_of(forms[0].tables)
    build = functools.cache(functools.partial(Stage.circuit, style=style))
    with late_status() as tell:
        if part is not None:
            yield from prove([parts.part(part)], yosys, build, limit, progress=tell)
            return
        rows = []
        for row in prove(parts.circuits, yosys, build, limit, progress=tell):
            rows.append(row)
            yield row
        if rows:
            yield from prove_tops(parts, rows, forms, yosys, build, style, limit, progress=tell)


def shown_if_stopped(found: Iterator[Row], as_json: bool) -> list[Row]:
    """All rows of ``found``; those that are done are printed where the command is stopped early."""
    rows = []
    try:
        for row in found:
            rows.append(row)
    except (KeyboardInterrupt, Terminated):
        stopped = {"ok": False, "proof": proof_json(rows) | {"ok": False, "stopped": True}}
        emit(stopped, as_json, f"{proof_table(rows)}; stopped before the rest")
        raise
    return rows


def _counts(rows: list[Row]) -> Counter[str]:
    """How many outcomes have each status."""
    return Counter(outcome.status for row in rows for outcome in (row.program, row.verilog))


def proof_json(rows: list[Row]) -> dict[str, Any]:
    """The rows and their sums, as plain JSON."""
    counts = _counts(rows)
    return {
        "ok": not (counts[WRONG] or counts[FAILED]) and bool(counts[PROVED]),
        "proved": counts[PROVED],
        "differing": counts[WRONG],
        "not_proved": counts[OPEN],
        "failed": counts[FAILED],
        "rows": [row.to_json() for row in rows],
    }


def proof_table(rows: list[Row]) -> str:
    """One row per circuit, and how many are proved."""
    cells = [[row.stage, row.op, row.positions, _text(row.program), _text(row.verilog)] for row in rows]
    counts = _counts(rows)
    return (
        table(["circuit", "op", "positions", "program = netlist", "Verilog = netlist"], cells)
        + f"\n{counts[PROVED]} proved, {counts[WRONG]} differing, {counts[OPEN]} not proved"
        + (f", {counts[FAILED]} failed" if counts[FAILED] else "")
    )


def _text(outcome: Outcome) -> str:
    if outcome.status == PROVED:
        return f"proved: {outcome.method} ({outcome.seconds:.1f} s)"
    return f"{outcome.status.upper() if outcome.status in BAD else outcome.status}: {outcome.method}"


def check_proofs(rows: list[Row]) -> None:
    """Raise MismatchError with the input that shows a difference, GatefoldError where a tool failed or
    nothing is proved."""
    outcomes = [(row.stage, row.program, "the program") for row in rows]
    outcomes += [(row.stage, row.verilog, "its Verilog") for row in rows]
    for stage, outcome, what in outcomes:
        if outcome.status == WRONG:
            raise MismatchError(f"the circuit of {stage!r} is not {what}: {outcome.method}")
    for stage, outcome, what in outcomes:
        if outcome.status == FAILED:
            raise GatefoldError(
                f"the circuit of {stage!r} cannot be compared with {what}: {outcome.method}"
            )
    if not _counts(rows)[PROVED]:
        first = rows[0].program.method if rows else "the program has no gates"
        raise GatefoldError(f"nothing could be proved: {first}")
