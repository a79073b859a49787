"""Executor ``verilog``: the exported pipeline in a real simulator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporters.netlist.stages import stages
from exporters.verilog.build import style_of
from exporters.verilog.design import Design, design
from exporters.verilog.limits import SIMULATED, check_simulated
from exporters.verilog.names import program_name
from exporters.verilog.simulation import simulate
from exporters.verilog.timing import Pipelining
from exporters.verilog.wiring import whole_plan, wire
from runtime.ir import Program
from runtime.types import IntArray

MAX_CHUNK = 4096
"""Most samples of one run."""


class VerilogExecutor:
    """Executor ``verilog``: registers behind every layer, or where ``pipelining`` says; samples stream
    through with bubbles between them. ``tables``: the logic in look-up tables of so many inputs.

    Raises TooLargeError where all positions add up more than ``limit`` bits: making the simulation would
    take minutes.
    """

    def __init__(
        self,
        program: Program,
        *,
        pipelining: Pipelining | None = None,
        limit: int = SIMULATED,
        tables: int | None = None,
    ) -> None:
        parts = stages(program)
        check_simulated(parts, limit)
        wiring = wire(whole_plan(parts), program_name(program.name), style_of(tables))
        where = pipelining or Pipelining(clocked=True, layers=True)
        self.design: Design = design(wiring, where, tables)
        self._simulation = simulate(self.design)

    def chunk(self, budget: int) -> int:
        """Samples of one run whose bits stay within ``budget`` bytes."""
        bits = sum(signal.width for signal in (*self.design.inputs, *self.design.outputs))
        return max(1, min(MAX_CHUNK, budget // (8 * bits)))

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for inputs of shape ``(batch, *type.shape)``."""
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        count = len(next(iter(arrays.values())))
        if count == 0:
            return {s.value: np.zeros((0, *s.type.shape), np.int64) for s in self.design.outputs}
        return self._simulation.run(arrays, count)
