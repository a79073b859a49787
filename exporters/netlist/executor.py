"""Executor ``netlist``: the gates themselves, one bit of 64 samples a word."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporters.netlist.limits import PROGRAM_BITS, check_program
from exporters.netlist.rules.words import Nets
from exporters.netlist.simulate import Lanes, Simulator, from_lanes, to_lanes
from exporters.netlist.stages import Stage, Wires, stages
from runtime.ir import Program
from runtime.types import IntArray


class NetlistExecutor:
    """Every stage's circuit of one position, run at all positions of all samples at once.

    A value is an array of row numbers of a table of lanes, so that moving values moves numbers. Raises
    TooLargeError where the circuits add up more than ``limit`` bits: building them would take minutes.
    """

    def __init__(self, program: Program, *, limit: int = PROGRAM_BITS) -> None:
        parts = stages(program)
        check_program(parts, limit)
        self._program = program
        self._types = program.types
        self._steps = [_Step(step) if isinstance(step, Stage) else step for step in parts.steps]
        sizes = [spec.type for spec in program.inputs] + [s.type for s in parts.circuits]
        self._rows = 2 + sum(type_.size * type_.bits for type_ in sizes)

    def chunk(self, budget: int) -> int:
        """Samples of one run whose table stays within ``budget`` bytes."""
        return max(64, budget // (8 * self._rows) * 64)

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for inputs of shape ``(batch, *type.shape)``."""
        batch = len(next(iter(inputs.values())))
        table = np.zeros((self._rows, -(-batch // 64)), np.uint64)
        table[1] = ~np.uint64(0)
        top, values = 2, dict[str, Nets]()
        for spec in self._program.inputs:
            lanes = to_lanes(np.asarray(inputs[spec.name]).reshape(batch, -1), spec.type.bits)
            top, values[spec.name] = _append(table, top, lanes, (*spec.type.shape, spec.type.bits))
        for step in self._steps:
            if isinstance(step, Wires):
                values[step.value] = step.move([values[name] for name in step.operands])
            else:
                top, nets = step.run(table, top, values)
                values[step.stage.value] = step.stage.scatter(nets)
        return {name: self._output(table, values[name], name, batch) for name in self._program.outputs}

    def _output(self, table: Lanes, nets: Nets, name: str, batch: int) -> IntArray:
        type_ = self._types[name]
        flat = from_lanes(table[nets.reshape(-1)], type_.bits, type_.interval.signed, batch)
        return flat.reshape(batch, *type_.shape)


def _append(table: Lanes, top: int, lanes: Lanes, shape: tuple[int, ...]) -> tuple[int, Nets]:
    """Put ``lanes`` into the table from row ``top`` on; the next free row, and the rows in ``shape``."""
    end = top + len(lanes)
    table[top:end] = lanes
    return end, np.arange(top, end).reshape(shape)


class _Step:
    """A stage ready to run."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        circuit = stage.circuit()
        literals = [literal for port in circuit.inputs for literal in port.literals]
        self._simulator = Simulator(circuit.net, literals, circuit.results)

    def run(self, table: Lanes, top: int, values: Mapping[str, Nets]) -> tuple[int, Nets]:
        """The results of all positions, appended to the table."""
        stage, words = self.stage, table.shape[1]
        gathered = [nets.reshape(stage.positions, -1) for nets in stage.gather(values)]
        reads = np.concatenate(gathered, axis=1).T  # (bits, positions)
        lanes = table[reads].reshape(len(reads), -1)
        found = self._simulator.run(lanes).reshape(-1, stage.positions, words)
        rows = np.moveaxis(found, 0, 1).reshape(-1, words)
        return _append(table, top, rows, (stage.positions, *stage.result.shape, stage.result.bits))
