"""The cells that circuits are counted in, and what one of each costs.

Gate equivalents (1 GE = one two-input NAND) are the X1 cells of the Nangate 45 nm Open Cell Library divided
by its NAND2_X1 (0.798 um2), except the full adder: measured circuits are synthesized without a full-adder
cell, and 6.0 GE reproduces them (docs/cost-model.md). LUT rates are fitted to the same circuits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from runtime.types import TensorType

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """Cost of one cell: ``ge`` gate equivalents, and look-up tables of 4 and of 6 inputs."""

    ge: float
    lut4: float
    lut6: float


CELLS: dict[str, Cell] = {
    "and": Cell(ge=1.33, lut4=0.33, lut6=0.25),
    "or": Cell(ge=1.33, lut4=0.33, lut6=0.25),
    "xor": Cell(ge=2.0, lut4=0.33, lut6=0.25),
    "not": Cell(ge=0.67, lut4=0.0, lut6=0.0),
    "mux": Cell(ge=2.33, lut4=1.0, lut6=0.5),
    "half_adder": Cell(ge=3.33, lut4=0.5, lut6=0.5),
    "full_adder": Cell(ge=6.0, lut4=1.9, lut6=1.45),
    "register": Cell(ge=5.67, lut4=0.0, lut6=0.0),
}
"""Every cell a circuit is counted in. An FPGA has a flip-flop beside each LUT, so registers take none."""


def rated(counts: Mapping[str, Any], wide: int) -> Any:
    """Look-up tables of ``wide`` inputs, 4 or 6, by the rates alone; of numbers or of arrays of them."""
    return sum(getattr(CELLS[cell], f"lut{wide}") * count for cell, count in counts.items())


@dataclass(frozen=True, slots=True)
class Spared:
    """Look-up tables of 4 and of 6 inputs that a circuit takes fewer than the rates of its cells say."""

    lut4: float = 0.0
    lut6: float = 0.0

    def __add__(self, other: Spared) -> Spared:
        return Spared(self.lut4 + other.lut4, self.lut6 + other.lut6)

    def __mul__(self, times: int) -> Spared:
        return Spared(self.lut4 * times, self.lut6 * times)


@dataclass(frozen=True, slots=True)
class Cells:
    """How many of each cell a circuit has; cells that are absent are zero.

    ``spared``: of its look-up tables; not compared, since circuits of equal cells are equal.
    """

    counts: Counts
    spared: Spared = field(default=Spared(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "counts", MappingProxyType({k: int(v) for k, v in self.counts.items() if v})
        )

    def __getitem__(self, cell: str) -> int:
        return self.counts.get(cell, 0)

    def __add__(self, other: Cells) -> Cells:
        return Cells({cell: self[cell] + other[cell] for cell in CELLS}, self.spared + other.spared)

    def __mul__(self, times: int) -> Cells:
        return Cells({cell: count * times for cell, count in self.counts.items()}, self.spared * times)

    @property
    def ge(self) -> float:
        """Area in gate equivalents."""
        return sum(CELLS[cell].ge * count for cell, count in self.counts.items())

    @property
    def logic_ge(self) -> float:
        """Area in gate equivalents without the registers."""
        return self.ge - CELLS["register"].ge * self["register"]

    def luts(self, wide: int) -> float:
        """Look-up tables of ``wide`` inputs, 4 or 6, as the rates say."""
        return float(rated(self.counts, wide) - getattr(self.spared, f"lut{wide}"))

    @property
    def lut4(self) -> int:
        """Look-up tables of 4 inputs, rounded up."""
        return math.ceil(round(self.luts(4), 6))

    @property
    def lut6(self) -> int:
        """Look-up tables of 6 inputs, rounded up."""
        return math.ceil(round(self.luts(6), 6))

    def to_json(self) -> dict[str, float | int]:
        """``ge`` (one decimal) and the count of every cell."""
        return {"ge": round(self.ge, 1)} | {cell: self[cell] for cell in CELLS}


NONE = Cells({})
"""No cells: wires only."""


def total(parts: Iterable[Cells]) -> Cells:
    """Sum of some circuits."""
    return sum(parts, NONE)


@dataclass(frozen=True, slots=True)
class Circuits:
    """Cells of one op in two circuits.

    ``parallel``: every output position of every channel at once, combinational.
    ``one_position``: one output position of every channel, reused for all positions.
    """

    parallel: Cells
    one_position: Cells

    def __add__(self, other: Circuits) -> Circuits:
        return Circuits(self.parallel + other.parallel, self.one_position + other.one_position)


WIRES = Circuits(NONE, NONE)
"""An op without cells."""


def per_element(cells: Cells, type_: TensorType) -> Circuits:
    """``cells`` for every element of a value; one position of it has one element per channel."""
    return Circuits(cells * type_.size, cells * type_.channels)
