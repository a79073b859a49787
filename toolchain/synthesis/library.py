"""The cell library that Yosys maps to: the cost model's gates, each with its gate equivalents as area."""

from __future__ import annotations

from toolchain.cost.cells import CELLS

NAND = 1.0
"""Gate equivalents of NAND and NOR of two inputs: the unit."""

LIBRARY: dict[str, tuple[float, str]] = {
    "BUF": (NAND, "A"),  # ABC's mapper fails without one
    "INV": (CELLS["not"].ge, "!A"),
    "NAND2": (NAND, "!(A&B)"),
    "NOR2": (NAND, "!(A|B)"),
    "AND2": (CELLS["and"].ge, "A&B"),
    "OR2": (CELLS["or"].ge, "A|B"),
    "XOR2": (CELLS["xor"].ge, "A^B"),
    "XNOR2": (CELLS["xor"].ge, "!(A^B)"),
    "MUX2": (CELLS["mux"].ge, "(A&!S)|(B&S)"),
}
"""Area and function of every cell. Without adder cells, as gate-level synthesis builds adders itself."""

COVERS: dict[str, tuple[str, ...]] = {
    "BUF": ("1 1",),
    "INV": ("0 1",),
    "NAND2": ("0- 1", "-0 1"),
    "NOR2": ("00 1",),
    "AND2": ("11 1",),
    "OR2": ("1- 1", "-1 1"),
    "XOR2": ("10 1", "01 1"),
    "XNOR2": ("11 1", "00 1"),
    "MUX2": ("1-0 1", "-11 1"),
}
"""Rows of every cell's function in BLIF, its inputs in alphabetical order."""


def liberty() -> str:
    """The library as a liberty file."""
    cells = (_cell(name, area, function) for name, (area, function) in LIBRARY.items())
    return "\n".join(["library(gatefold) {", *cells, "}", ""])


def _cell(name: str, area: float, function: str) -> str:
    inputs = " ".join(f"pin({p}) {{ direction : input; }}" for p in "ABS" if p in function)
    output = f'pin(Y) {{ direction : output; function : "{function}"; }}'
    return f"  cell({name}) {{ area : {area}; {inputs} {output} }}"
