"""Figures of circuits: by the formulas, by the model of the netlist, and by Yosys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

SIZES = ("ge", "lut4", "lut6", "ff")
"""What is compared. Gate equivalents include the registers."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sizes of one position. ``ge``: with registers. ``bram``: block memories. ``depth_*``: gates or tables
    on the longest path."""

    ge: float
    lut4: int
    lut6: int
    ff: int
    bram: int
    depth_ge: int
    depth_lut4: int
    depth_lut6: int


@dataclass(frozen=True, slots=True)
class Placement:
    """``fmax_mhz``: of the slowest clock. ``logic``: cells used of ``logic_available``. ``harness_bits``:
    registers around the circuit, a logic cell each."""

    device: str
    fmax_mhz: float
    logic: int
    logic_available: int
    harness_bits: int


@dataclass(frozen=True, slots=True)
class StageSynthesis:
    """``formula``: ``ge``, ``lut4``, ``lut6`` by the closed formulas, without sharing. ``model``: of
    the netlist that is exported. ``measured``: by Yosys, None where ``why`` says so. ``seconds`` that
    it took."""

    stage: str
    layer: str
    op: str
    bits: int
    formula: Mapping[str, float]
    model: Figures | None
    measured: Figures | None
    why: str = ""
    seconds: float = 0.0
    placed: Placement | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "circuit": self.stage,
            "bits": self.bits,
            "formula": dict(self.formula),
            "model": self.model and asdict(self.model),
            "measured": self.measured and asdict(self.measured),
            "deviation": deviation(self.model, self.measured),
            "seconds": round(self.seconds, 2),
            "not_synthesized": self.why or None,
            "placed": self.placed and asdict(self.placed),
        }


@dataclass(frozen=True, slots=True)
class Synthesis:
    """Every circuit of a program. ``tool``: which Yosys."""

    tool: str
    rows: tuple[StageSynthesis, ...]

    def to_json(self) -> dict[str, Any]:
        """Sums of the circuits that were synthesized."""
        done = [row for row in self.rows if row.measured]
        model = _sum(row.model for row in done)
        measured = _sum(row.measured for row in done)
        return {
            "tool": self.tool,
            "circuits": len(self.rows),
            "synthesized": len(done),
            "formula": {key: round(sum(row.formula[key] for row in done), 1) for key in SIZES[:3]},
            "model": model and asdict(model),
            "measured": measured and asdict(measured),
            "deviation": deviation(model, measured),
        }


def _sum(figures: Iterable[Figures | None]) -> Figures | None:
    """Sizes added up; of depths the largest."""
    rows = [asdict(row) for row in figures if row]
    if not rows:
        return None
    keys = list(rows[0])
    return Figures(*((max if k.startswith("depth") else sum)(row[k] for row in rows) for k in keys))


def deviation(model: Figures | None, measured: Figures | None) -> dict[str, float | None] | None:
    """The model over what was measured, less 1; None where nothing is."""
    if model is None or measured is None:
        return None
    pairs = {key: (getattr(model, key), getattr(measured, key)) for key in SIZES}
    return {key: round(a / b - 1, 5) if b else (0.0 if not a else None) for key, (a, b) in pairs.items()}
