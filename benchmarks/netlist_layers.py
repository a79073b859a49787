"""Convolutional programs layer by layer as gates: every circuit of one position, built, run on real images.

    python -m benchmarks.netlist_layers cifar-ornet-w24 cifar-muxornet-w24 --data-dir DIR

Per circuit: positions, bits it adds up, gate equivalents and tables of the optimized netlist, gate
equivalents by the closed formulas, depth, seconds to build. Then the whole program on the first test
images, every position of every layer through these circuits, against the packed executor. Exit code 1 on
one differing image.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import exporters
import sample_models
from exporters.netlist.limits import summed_bits
from exporters.netlist.stages import Stage, stages
from runtime.ir import Program
from runtime.serialize import load
from runtime.session import Session
from toolchain.cli.common import table
from toolchain.cost.cells import Cells
from toolchain.cost.nodes import node_costs
from toolchain.data import load as load_data

LIMIT = 4_000_000
"""Bits that the circuits of a program may add up here: minutes."""


HEAD = ["circuit", "positions", "bits", "formula GE", "netlist GE", "depth", "s"]


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"


def formula_ge(program: Program) -> dict[str, float]:
    """Gate equivalents of one position by the closed formulas, without registers, by value."""
    return {cost.name: cost.circuits.one_position.logic_ge for cost in node_costs(program)}


def row(stage: Stage, formulas: dict[str, float]) -> list[float | str]:
    """Figures of one circuit."""
    start = time.perf_counter()
    circuit = stage.circuit()
    seconds = time.perf_counter() - start
    naive = sum(formulas.get(name, 0.0) for name in stage.nodes)
    own = Cells(circuit.counts).ge
    return [stage.value, stage.positions, summed_bits(stage), naive, own, circuit.depth, seconds]


def report(name: str, data_dir: Path, images: int) -> bool:
    """Print the table of one trained program; whether its circuits agree with the packed executor."""
    folder = Path(sample_models.__file__).parent / "trained" / name
    program = load(folder / "program.gfold")
    formulas = formula_ge(program)
    rows = [row(stage, formulas) for stage in stages(program).circuits]
    columns = list(zip(*rows, strict=True))
    bits, naive, own, seconds = (sum(map(float, columns[i])) for i in (2, 3, 4, 6))
    rows.append(["sum", "", bits, naive, own, "", seconds])
    print(f"\n{name}\n{table(HEAD, [[_shown(x) for x in r] for r in rows])}", flush=True)
    pixels = load_data(program.metadata["dataset"], data_dir, None).test_images[:images]
    start = time.perf_counter()
    found = Session(program, "netlist", exporters.executors(), limit=LIMIT).run(pixels)
    wanted = Session(program).run(pixels)
    differing = sum(
        int((found[key] != wanted[key]).reshape(images, -1).any(axis=1).sum()) for key in wanted
    )
    print(
        f"{images} test images through the gates: {differing} differ, {time.perf_counter() - start:.0f} s"
    )
    return not differing


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    results = [report(name, options.data_dir, options.images) for name in options.programs]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
