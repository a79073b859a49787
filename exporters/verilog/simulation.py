"""Running a design in a real simulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from exporters.c99.compilers import workplace
from exporters.tools import run_command
from exporters.verilog.design import Design
from exporters.verilog.icarus import IcarusSimulation
from exporters.verilog.records import from_records, to_records
from exporters.verilog.simulators import Icarus, find_simulator
from exporters.verilog.sources import sources
from exporters.verilog.verilated import simulation
from runtime.errors import GatefoldError
from runtime.types import IntArray

TIMEOUT = 900.0
"""Seconds that one run may take."""


class Simulation(Protocol):
    """A design ready to run."""

    def run(self, inputs: Mapping[str, IntArray], count: int) -> dict[str, IntArray]:
        """Outputs of the program by name for ``count`` samples, in a stream with bubbles."""
        ...


def simulate(design: Design, texts: Mapping[str, str] | None = None) -> Simulation:
    """``design`` in the simulator that is here. ``texts``: files in place of its ``sources``.

    Raises MissingToolError where there is none, and GatefoldError where it fails.
    """
    simulator = find_simulator()
    texts = sources(design) if texts is None else texts
    if isinstance(simulator, Icarus):
        return IcarusSimulation(design, texts, simulator)
    return VerilatedSimulation(design, simulation(design, texts, simulator))


class VerilatedSimulation:
    """A program made by Verilator, which reads and writes files of records."""

    def __init__(self, design: Design, program: bytes) -> None:
        self._design = design
        self._program = program

    def run(self, inputs: Mapping[str, IntArray], count: int) -> dict[str, IntArray]:
        """Outputs by name."""
        doing = f"simulating {self._design.name}"
        with workplace(doing) as folder:
            program = folder / "driver.exe"
            program.write_bytes(self._program)
            program.chmod(0o700)
            (folder / "in.bin").write_bytes(to_records(self._design.inputs, inputs))
            command = (str(program), "in.bin", "out.bin", str(count))
            outcome = run_command(command, folder, doing, TIMEOUT)
            made = Path(folder, "out.bin")
            if outcome.code or not made.is_file():
                said = " ".join(outcome.output.split())[:300] or f"it ended with {outcome.code}"
                raise GatefoldError(f"{doing} failed: {said}")
            return from_records(self._design.outputs, made.read_bytes(), count)
