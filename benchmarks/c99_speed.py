"""The generated C against ONNX Runtime float32 and int8: VGG-Small and sparse convolutions, one thread.

Every network is untrained, with batch norms calibrated on random images; what is compared is time. Results
are compared bit for bit with the interpreter first. Contenders take turns in one process.

    python benchmarks/c99_speed.py [--target host|x86-64-v3|...] [--only TEXT] [--seconds 8] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ.pop("OPENBLAS_CORETYPE", None)  # some shells pin NumPy's BLAS to an old machine

import numpy as np
import torch

from benchmarks.sparse_conv import CASES, SHAPES, network
from exporters.c99.executor import C99Executor
from exporters.c99.host import HOST
from exporters.onnx.executor import open_model
from exporters.onnx.int8_twin import int8_twin
from exporters.onnx.twin import float32_twin
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.types import IntArray
from sample_models.vgg import MODELS
from toolchain.lowering import lower
from toolchain.timing import alternate

CHECKED = 1
"""Samples compared with the interpreter."""

SMALL, FLASH_GOAL, RAM_GOAL = "VGG-Small ternary x 1 bit", 1.2 * 2**20, 45 * 1024
"""Bytes of constants and arena that this network may take."""


@dataclass(frozen=True, slots=True)
class Goals:
    """How many times faster than float32 and int8 a network should be, by target; 0 for no goal."""

    fp32: dict[str, float]
    int8: dict[str, float]


NONE = Goals({}, {})

NETWORKS: dict[str, tuple[dict[str, int], Goals]] = {
    SMALL: (
        {"bits": 1},
        Goals({"x86-64-v4": 14, "x86-64-v3": 5}, {"x86-64-v4": 3.5}),
    ),
    "VGG-Small ternary x 2 bits": ({"bits": 2}, NONE),
    "VGG-Small quinary x 2 bits": (
        {"bits": 2, "levels": 5},
        Goals({"x86-64-v4": 3.5, "x86-64-v3": 3.5}, {}),
    ),
}

SPARSE_GOAL = 100.0
"""The same for convolutions with 97 % zeros on single bits, on maps of 16x16 and more."""

LAYERS = 8
"""Sparse convolutions in a row: packing one image and unpacking the result weigh as in a network."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians in milliseconds, ratios of medians (and of the best turns), bytes, and the kernels chosen."""

    case: str
    target: str
    mismatches: int
    c99_ms: float
    fp32_ms: float
    int8_ms: float
    ratio_to_fp32: float
    ratio_to_int8: float
    best_ratio_to_fp32: float
    constant_bytes: int
    arena_bytes: int
    kernels: list[str]
    goal: float

    @property
    def good(self) -> bool:
        """Whether the results are right and the goal is reached."""
        return not self.mismatches and self.ratio_to_fp32 >= self.goal

    def __str__(self) -> str:
        goal = f" (goal {self.goal:g})" if self.goal else ""
        return (
            f"{self.case:40} {self.target}  c99 {self.c99_ms:8.3f} ms  fp32 {self.fp32_ms:7.2f}  int8 "
            f"{self.int8_ms:7.2f}  {self.ratio_to_fp32:6.1f}x fp32{goal}  {self.ratio_to_int8:5.1f}x int8  "
            f"best {self.best_ratio_to_fp32:5.1f}x  {self.constant_bytes:,} + {self.arena_bytes:,} B  "
            f"{self.mismatches} mismatches  {','.join(dict.fromkeys(self.kernels))}"
        )


def vgg_small(options: dict[str, int]) -> Program:
    """VGG-Small at full width with calibrated batch norms."""
    torch.manual_seed(0)
    row = MODELS["vgg-small"]
    model = row.build(**options)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(4):
            model.train()(torch.from_numpy(rng.integers(0, 256, (16, 3, 32, 32))).float())
    return lower(model, row.input_shape, row.input_interval, "vgg-small")


def measure(case: str, program: Program, image: IntArray, goal: float, options: argparse.Namespace) -> Row:
    """Check one program, and time it on one image."""
    (spec,) = program.inputs
    engine = C99Executor(program, target=options.target)
    samples = {spec.name: np.repeat(image, CHECKED, axis=0)}
    wanted, found = Interpreter(program).run(samples), engine.run(samples)
    mismatches = sum(int((wanted[name] != found[name]).sum()) for name in wanted)
    fp32 = open_model(float32_twin(program).SerializeToString())
    int8 = open_model(int8_twin(program).SerializeToString())
    # each contender in the type of its own interface
    floats, octets = {spec.name: image.astype(np.float32)}, {spec.name: image.astype(np.uint8)}
    times = alternate(
        {
            "c99": lambda: engine.run(octets),
            "fp32": lambda: fp32.run(None, floats),
            "int8": lambda: int8.run(None, octets),
        },
        options.seconds,
        1000,
    )
    medians = {name: found.median_ms for name, found in times.items()}
    steps = engine.source.plan.steps
    return Row(
        case,
        engine.source.target.name,
        mismatches,
        medians["c99"],
        medians["fp32"],
        medians["int8"],
        medians["fp32"] / medians["c99"],
        medians["int8"] / medians["c99"],
        times["fp32"].best_ms / times["c99"].best_ms,
        engine.source.constant_bytes,
        engine.source.arena_bytes,
        [step.candidate.kernel for step in steps if step.candidate is not None],
        goal,
    )


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Measure every case."""
    rng = np.random.default_rng(1)
    for name, (settings, goals) in NETWORKS.items():
        if options.only not in name:
            continue
        image = rng.integers(0, 256, (1, 3, 32, 32))
        program = vgg_small(settings)
        target = C99Executor(program, target=options.target, optimize="-O0").source.target.name
        yield measure(name, program, image, goals.fp32.get(target, 0), options)
    for case in CASES:
        for channels, side in SHAPES:
            name = f"{LAYERS} {case.name} {case.density:.0%} {channels}x{side}x{side}"
            if options.only not in name:
                continue
            program = network(case, channels, side, LAYERS)
            image = rng.integers(0, 1 << case.bits, (1, channels, side, side))
            goal = SPARSE_GOAL if case.goal and side >= 16 else 0.0
            yield measure(name, program, image, goal, options)


def main() -> int:
    """Print the rows; the exit code is 1 when a result differs or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--target", default=HOST, help="a target this machine runs [default: the best]")
    parser.add_argument("--seconds", type=float, default=8, help="about how long each case is measured")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for row in rows(options):
        found.append(row)
        if not options.json:
            print(row, flush=True)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in found]}, indent=2))
    small = all(
        row.constant_bytes <= FLASH_GOAL and row.arena_bytes <= RAM_GOAL
        for row in found
        if row.case == SMALL
    )
    return 0 if small and all(row.good for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
