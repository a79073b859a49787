"""A design in Icarus Verilog: a testbench that prints results, compiled for every batch."""

from __future__ import annotations

from collections.abc import Mapping

from exporters.c99.compilers import workplace
from exporters.tools import run_command
from exporters.verilog.design import Design
from exporters.verilog.records import from_hex, to_hex
from exporters.verilog.simulators import Icarus
from exporters.verilog.testbench import bench_text
from runtime.errors import GatefoldError
from runtime.types import IntArray

TIMEOUT = 900.0
"""Seconds that one batch may take."""


class IcarusSimulation:
    """Files for ``iverilog`` and ``vvp``."""

    def __init__(self, design: Design, texts: Mapping[str, str], simulator: Icarus) -> None:
        self._design = design
        self._texts = texts
        self._simulator = simulator

    def run(self, inputs: Mapping[str, IntArray], count: int) -> dict[str, IntArray]:
        """Outputs by name."""
        name, doing = self._design.name, f"simulating {self._design.name} with Icarus Verilog"
        texts = {**self._texts, f"{name}_tb.v": bench_text(self._design, count, checks=False)}
        with workplace(doing) as folder:
            for path, text in texts.items():
                (folder / path).write_text(text)
            (folder / f"{name}_inputs.hex").write_text(to_hex(self._design.inputs, inputs))
            compiled = (*self._simulator.command, "-g2001", "-o", "design.vvp", *texts)
            said = [run_command(compiled, folder, doing, TIMEOUT)]
            if said[0].code == 0:
                said.append(
                    run_command((*self._simulator.runner, "-n", "design.vvp"), folder, doing, TIMEOUT)
                )
            try:
                if said[-1].code or len(said) == 1:
                    raise ValueError
                found = from_hex(self._design.outputs, said[-1].output)
            except ValueError:
                text = " ".join(said[-1].output.split())[:300]
                raise GatefoldError(f"{doing} failed: {text}") from None
            return found
