"""``gatefold verify --prove``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exporters.netlist.stages import stages
from exporters.verilog.build import TABLES, checked_numbers, style_of
from runtime.errors import GatefoldError, MismatchError, MissingToolError
from runtime.ir import Program
from toolchain.cli.common import table, tell
from toolchain.proof.prove import OPEN, PROVED, WRONG, Outcome, Row, prove
from toolchain.proof.top import Form, prove_tops
from toolchain.synthesis.yosys import find_yosys

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
) -> list[Row]:
    """What is proved of every circuit of ``program`` and of its top module in ``forms``, or of ``part``
    alone. ``style``: of the circuits; None or ``auto``: as they are exported. Raises MissingToolError
    where Yosys or its ABC is not there."""
    yosys = find_yosys("--prove")
    if yosys.abc is None:
        raise MissingToolError(
            f"--prove needs yosys-abc, which {yosys.name} comes without: pip install 'gatefold[synth]'"
        )
    parts = stages(program)
    if style in (None, "auto"):
        style = style_of(forms[0].tables)
    if part is not None:
        return prove([parts.part(part)], yosys, style, limit, progress=tell)
    rows = prove(parts.circuits, yosys, style, limit, progress=tell)
    return rows and rows + prove_tops(parts, rows, forms, yosys, style, limit, progress=tell)


def _counts(rows: list[Row]) -> Counter[str]:
    """How many outcomes have each status."""
    return Counter(outcome.status for row in rows for outcome in (row.program, row.verilog))


def proof_json(rows: list[Row]) -> dict[str, Any]:
    """The rows and their sums, as plain JSON."""
    counts = _counts(rows)
    return {
        "ok": not counts[WRONG] and bool(counts[PROVED]),
        "proved": counts[PROVED],
        "differing": counts[WRONG],
        "not_proved": counts[OPEN],
        "rows": [row.to_json() for row in rows],
    }


def proof_table(rows: list[Row]) -> str:
    """One row per circuit, and how many are proved."""
    cells = [[row.stage, row.op, row.positions, _text(row.program), _text(row.verilog)] for row in rows]
    counts = _counts(rows)
    return (
        table(["circuit", "op", "positions", "program = netlist", "Verilog = netlist"], cells)
        + f"\n{counts[PROVED]} proved, {counts[WRONG]} differing, {counts[OPEN]} not proved"
    )


def _text(outcome: Outcome) -> str:
    if outcome.status == PROVED:
        return f"proved: {outcome.method} ({outcome.seconds:.1f} s)"
    return f"{'DIFFERS' if outcome.status == WRONG else 'not proved'}: {outcome.method}"


def check_proofs(rows: list[Row]) -> None:
    """Raise MismatchError with the input that shows a difference, GatefoldError where nothing is proved."""
    for row in rows:
        for outcome, what in ((row.program, "the program"), (row.verilog, "its Verilog")):
            if outcome.status == WRONG:
                raise MismatchError(f"the circuit of {row.stage!r} is not {what}: {outcome.method}")
    if not _counts(rows)[PROVED]:
        first = rows[0].program.method if rows else "the program has no gates"
        raise GatefoldError(f"nothing could be proved: {first}")
