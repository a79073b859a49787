"""How large a design may be: counted by formulas before anything is built."""

from __future__ import annotations

from exporters.netlist.limits import check_program, flat_bits
from exporters.netlist.stages import Stages
from runtime.errors import TooLargeError

EXPORTED = 10_000_000
"""Most bits that all positions of an exported design may add up."""

SIMULATED = 50_000
"""Most bits that all positions of a simulated design may add up: about a minute of Verilator and C++."""


def check_exported(parts: Stages) -> None:
    """Raise TooLargeError for a network that is too large to be hardware as a whole."""
    if (bits := flat_bits(parts)) > EXPORTED:
        raise TooLargeError(
            f"a design may add up at most {EXPORTED:,} bits, and all positions of {parts.program.name!r} "
            f"have {bits:,}; export one layer with --part"
        )
    check_program(parts)


def check_simulated(parts: Stages, limit: int = SIMULATED) -> None:
    """Raise TooLargeError for a network that would take minutes to simulate."""
    if (bits := flat_bits(parts)) > limit:
        raise TooLargeError(
            f"a simulated design may add up at most {limit:,} bits, and all positions of "
            f"{parts.program.name!r} have {bits:,}; the executor netlist runs it, and a testbench of one "
            "layer comes with `gatefold export --to verilog --part`"
        )
    check_program(parts)
