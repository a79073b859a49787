"""Trained networks as Verilog, simulated on their whole test set.

    python -m benchmarks.verilog_test_set mnist-lut-small mnist-lut fashion-lut --data-dir DIR [--tables 6]

The exported pipeline, unrolled, in a real simulator, against the packed executor; exit code 1 on one
differing image. Building the simulation of the largest takes some minutes, once.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import exporters
import sample_models
from runtime.serialize import load
from runtime.session import Session
from toolchain.data import load as load_data

LIMIT = 400_000
"""Bits that all positions may add up: more than the executor takes by itself, since a compilation takes
long."""


def simulate(name: str, data_dir: Path, tables: int | None) -> int:
    """Print one line; how many images differ."""
    folder = Path(sample_models.__file__).parent / "trained" / name
    program = load(folder / "program.gfold")
    data = load_data(program.metadata["dataset"], data_dir, None)
    start = time.perf_counter()
    session = Session(program, "verilog", exporters.executors(), limit=LIMIT, tables=tables)
    built = time.perf_counter()
    found, wanted = session.run(data.test_images), Session(program).run(data.test_images)
    run = time.perf_counter() - built
    count = len(data.test_images)
    differing = [(found[key] != wanted[key]).reshape(count, -1).any(axis=1) for key in wanted]
    mismatches = int(np.logical_or.reduce(differing).sum())
    right = float((found[program.outputs[-1]].reshape(count) == data.test_labels).mean())
    print(
        f"{name}: {count} images, {mismatches} differ, accuracy {right:.2%}; "
        f"built in {built - start:.0f} s, run in {run:.0f} s",
        flush=True,
    )
    return mismatches


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--tables", type=int, choices=(4, 6), help="look-up tables instead of gates")
    options = parser.parse_args()
    sys.exit(sum(simulate(name, options.data_dir, options.tables) for name in options.programs) > 0)


if __name__ == "__main__":
    main()
