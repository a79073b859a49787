"""What the model says of every circuit of a program, and what Yosys makes of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from exporters.netlist.circuit import Circuit
from exporters.netlist.limits import check_stage, summed_bits
from exporters.netlist.lut import Luts
from exporters.netlist.mapping import cover_circuit
from exporters.netlist.stages import Stage, stages
from runtime.errors import GatefoldError, TooLargeError
from runtime.ir import Program
from toolchain.cost.cells import CELLS, total
from toolchain.cost.nodes import NodeCost
from toolchain.synthesis.blif import Mapped
from toolchain.synthesis.figures import Figures, Placement, StageSynthesis, Synthesis
from toolchain.synthesis.gates import gate_equivalents
from toolchain.synthesis.map import smallest, synthesize, verilog
from toolchain.synthesis.pnr import Place
from toolchain.synthesis.yosys import TIMEOUT, Yosys

LIMIT = 25_000
"""Most bits that a circuit may add up to be synthesized without being asked to."""

Progress = Callable[[str], None]


def covers_of(gates: Circuit, tables: Circuit) -> dict[int, Luts]:
    """The circuits in the styles ``gates`` and ``lut6``, in look-up tables of 4 and of 6 inputs."""
    return {4: cover_circuit(gates, 4), 6: cover_circuit(tables, 6)}


def model_of(gates: Circuit, covers: Mapping[int, Luts], registers: int) -> Figures:
    """What a circuit and its ``covers_of`` take, without any tool."""
    four, six = covers[4], covers[6]
    ge = gate_equivalents(gates) + CELLS["register"].ge * registers
    return Figures(round(ge, 2), four.count, six.count, registers, 0, gates.depth, four.depth, six.depth)


def measure(
    yosys: Yosys,
    gates: Circuit,
    tables: Circuit,
    covers: Mapping[int, Luts],
    registers: bool,
    what: str,
    timeout: float,
) -> Figures:
    """The same by Yosys; of its ways to map to gates and to tables the one that takes fewest."""
    mapped: dict[str, Mapped] = {}
    for circuit, luts, targets in (
        (gates, None, ("ge", "ge_area", "lut4", "lut4_area")),
        (tables, None, ("lut6", "lut6_area")),
        (gates, covers[4], ("lut4_tables",)),
        (tables, covers[6], ("lut6_tables",)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            text = verilog(circuit, registers, luts)
            mapped |= synthesize(yosys, text, targets, Path(folder), what, timeout)
    found = smallest(mapped)
    ff = found["ge"].registers
    return Figures(
        round(found["ge"].size + CELLS["register"].ge * ff, 2),
        int(found["lut4"].size),
        int(found["lut6"].size),
        ff,
        sum(one.memories for one in found.values()),
        *(found[name].depth for name in ("ge", "lut4", "lut6")),
    )


def synthesize_program(
    program: Program,
    layers: Iterable[NodeCost],
    yosys: Yosys,
    limit: int = LIMIT,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
    place: Place | None = None,
) -> Synthesis:
    """Every circuit of ``program``, one by one; ``layers``: its costs by the formulas.

    ``limit``: most bits that a circuit may add up. Circuits that are larger, or that Yosys does not
    finish in ``timeout`` seconds, are in the result with the reason.
    """
    costs = {cost.name: cost for cost in layers}
    rows = []
    for stage in stages(program).circuits:
        nodes = [costs[name] for name in stage.nodes if name in costs]
        rows.append(_row(stage, nodes, yosys, limit, timeout, progress, place))
    return Synthesis(yosys.name, tuple(rows))


def _row(
    stage: Stage,
    nodes: list[NodeCost],
    yosys: Yosys,
    limit: int,
    timeout: float,
    progress: Progress | None,
    place: Place | None,
) -> StageSynthesis:
    cells = total(node.circuits.one_position for node in nodes)
    registers = cells["register"]
    logic = replace(cells, counts={kind: n for kind, n in cells.counts.items() if kind != "register"})
    formula = {"ge": round(cells.ge, 2), "lut4": logic.lut4, "lut6": logic.lut6}
    bits = summed_bits(stage)
    names = (stage.value, stage.layer, stage.local.op.name, bits, formula)
    try:
        check_stage(stage)
        if bits > limit:
            raise TooLargeError(f"adds up {bits:,} bits, more than {limit:,}")
    except TooLargeError as error:
        return StageSynthesis(*names, None, None, str(error))
    if progress:
        progress(f"synthesizing {stage.value}: {stage.local.op.name}, {bits:,} bits")
    gates, tables = stage.circuit("gates"), stage.circuit("lut6")
    covers = covers_of(gates, tables)
    model = model_of(gates, covers, registers)
    start = time.perf_counter()
    try:
        what = f"synthesizing {stage.value}"
        measured = measure(yosys, gates, tables, covers, registers > 0, what, timeout)
        placed = _placed(place, gates, stage.value) if place else None
    except GatefoldError as error:
        return StageSynthesis(*names, model, None, str(error), time.perf_counter() - start)
    return StageSynthesis(*names, model, measured, "", time.perf_counter() - start, placed)


def _placed(place: Place, circuit: Circuit, name: str) -> Placement:
    with tempfile.TemporaryDirectory() as folder:
        return place(circuit, name, Path(folder))
