"""The paper's comparison at full size: VGG-11, ORNet-11, MUXORNet-11 and AddNet-11 side by side.

    python benchmarks/skip_comparison.py [--size cifar|stl] [--out DIR] [--format table|markdown|json]

The networks are not trained: what a skip costs depends on shapes alone, what a convolution costs hardly on
its weights. Batch norms see one batch of random pixels, so that thresholds lie where sums do. The programs
are left in DIR, for `gatefold report` to compare again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from runtime.serialize import save
from sample_models.residual import FAMILY
from toolchain.lowering import lower
from toolchain.models import model_row

BATCH = 8


def untrained_program(name: str, directory: Path) -> Path:
    """The program of an untrained network in ``directory``."""
    torch.manual_seed(0)
    row = model_row(name)
    model = row.build().train()
    with torch.no_grad():
        model(torch.randint(0, 256, (BATCH, *row.input_shape)).float())
    program = lower(model, row.input_shape, row.input_interval, name)
    return save(program, directory / f"{name}.gfold")


def main() -> None:
    """Lower the four networks and report them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["cifar", "stl"], default="cifar")
    parser.add_argument("--out", type=Path, default=Path("runs/skips"))
    parser.add_argument("--format", choices=["table", "markdown", "json"], default="table")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = [untrained_program(f"{name}-{arguments.size}", arguments.out) for name in FAMILY]
    command = [sys.executable, "-c", "from toolchain.cli import main; main()", "report"]
    subprocess.run([*command, *map(str, files), "--format", arguments.format], check=True)


if __name__ == "__main__":
    main()
