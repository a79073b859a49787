"""Sparse convolutions in the packed executor against ONNX Runtime's dense float32 convolution.

Each case is a 3x3 convolution that keeps a few of its weights, with thresholds behind it (a Relu in the
float32 twin). Results are compared bit for bit with the interpreter. Then the contenders take turns in one
process on one thread, a few calls a turn, so that none always starts on the caches of another.

    python benchmarks/sparse_conv.py [--repeats 20] [--json]

``conv``: the convolution alone, from bytes of its operand to sums as vertical counters.
``run``: what a user gets, ``Session.run`` on such bytes: check, convolution, thresholds, bytes again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ.pop("OPENBLAS_CORETYPE", None)  # some shells pin NumPy's BLAS to an old machine

import numpy as np

from exporters.onnx.executor import open_model
from exporters.onnx.twin import float32_twin
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Threshold
from runtime.packed.layer import Layer
from runtime.packed.layout import Call, run_all
from runtime.packed.sparse import SparsePlan
from runtime.session import Session
from runtime.types import Interval
from runtime.weights import Weights

GOALS = {1: 9.0, 64: 12.0}
"""How many times faster than float32 a convolution with 97 % zeros on single bits should be, by batch."""

SHAPES = ((128, 32), (256, 16), (512, 8))
"""Channels in and out, and rows and columns, of equal numbers of products."""

CALLS = 4
"""Calls of one turn."""

CHECKED = 8
"""Samples compared with the interpreter."""


@dataclass(frozen=True, slots=True)
class Case:
    """Weights of one value set on activations of some bits; ``goal``: whether the goals are for it."""

    name: str
    density: float
    levels: int = 3
    bits: int = 1
    hamilton: bool = False
    goal: bool = False


CASES = (
    Case("ternary x 1 bit", 0.03, goal=True),
    Case("ternary x 2 bits", 0.03, bits=2),
    Case("quinary x 1 bit", 0.03, levels=5),
    Case("Hamilton ternary x 1 bit", 0.03, hamilton=True, goal=True),
    Case("ternary x 1 bit", 0.1),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Measured: milliseconds as quartiles (lower, median, upper); ratios of medians, float32 to packed."""

    case: str
    density: float
    shape: str
    batch: int
    mismatches: int
    goal: float
    float32_ms: list[float]
    conv_ms: list[float]
    run_ms: list[float]
    conv_ratio: float
    run_ratio: float

    @property
    def good(self) -> bool:
        """Whether the results are right and the goal is reached."""
        return not self.mismatches and self.conv_ratio >= self.goal

    def __str__(self) -> str:
        conv, run = (
            f"{m:6.2f} ms ({low:.2f}..{high:.2f}) {ratio:4.1f}x"
            for (low, m, high), ratio in ((self.conv_ms, self.conv_ratio), (self.run_ms, self.run_ratio))
        )
        return (
            f"{self.case:24} {self.density:4.0%}  {self.shape:9} batch {self.batch:2}  "
            f"float32 {self.float32_ms[1]:6.2f} ms  conv {conv}  run {run}  {self.mismatches} mismatches"
        )


def sparse_weights(rng: np.random.Generator, case: Case, channels: int) -> Weights:
    """3x3 weights with the case's share of codes that are not zero."""
    blocks = (4, channels // 4, channels // 4) if case.hamilton else (channels, channels)
    top = case.levels // 2
    values = rng.integers(1, top + 1, (*blocks, 3, 3)) * rng.choice((-1, 1), (*blocks, 3, 3))
    codes = np.where(rng.random(values.shape) < case.density, values, 0)
    return Weights.hamilton(codes, case.levels) if case.hamilton else Weights(codes, case.levels)


def network(case: Case, channels: int, side: int, layers: int = 1) -> Program:
    """Convolutions with thresholds near the mean of their sums, every second one falling."""
    b = Builder(f"{case.name} {channels}x{side}x{side}")
    x = b.input("x", (channels, side, side), Interval(0, (1 << case.bits) - 1))
    for layer in range(layers):
        weights = sparse_weights(np.random.default_rng(channels + layer), case, channels)
        mean = weights.codes.reshape(channels, -1).sum(axis=1) * ((1 << case.bits) - 1) / 2
        steps = np.arange((1 << case.bits) - 1) - (1 << case.bits) // 2 + 1
        direction = np.where(np.arange(channels) % 2, -1, 1)
        thresholds = np.round(mean)[:, None] + 3 * steps * direction[:, None]
        y = b.add(Conv2d(weights, padding=(1, 1)), x)
        x = b.add(Threshold(thresholds.astype(np.int64), direction), y)
    return b.build((x,))


def quartiles(contenders: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Quartiles of each contender's milliseconds; the first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, call in contenders.items():
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                if turn:
                    times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.quantile(values, (0.25, 0.5, 0.75)).tolist() for name, values in times.items()}


def counting(plan: SparsePlan, images: np.ndarray[Any, Any]) -> Callable[[], None]:
    """A call that counts the sums of ``images`` tile by tile."""
    step = plan.images(len(images))
    sizes = (step, len(images) % step or step)
    memory = {n: [np.empty(b.shape, b.dtype) for b in plan.blocks(n)] for n in sizes}
    calls: list[Call] = []
    for start in range(0, len(images), step):
        tile = images[start : start + step]
        codes, sources, *rest = memory[len(tile)]
        calls += (*plan.load(tile, codes, sources), *plan.calls(len(tile), sources, *rest))
    return partial(run_all, calls)


def measure(case: Case, channels: int, side: int, batch: int, turns: int) -> Row:
    """Check one case, and time it."""
    program = network(case, channels, side)
    (output,), (conv, _) = program.outputs, program.nodes
    images = np.random.default_rng(1).integers(0, 1 << case.bits, (batch, channels, side, side), np.uint8)
    floats = images.astype(np.float32)
    session, twin = Session(program, "packed"), open_model(float32_twin(program).SerializeToString())
    count = counting(SparsePlan.of(Layer(conv.op, program.inputs[0].type, conv.type)), images)
    wanted = Interpreter(program).run({"x": images[:CHECKED]})[output]
    found = session.run(images)[output][:CHECKED]
    times = quartiles(
        {
            "float32": lambda: twin.run(None, {"x": floats}),
            "conv": count,
            "run": lambda: session.run(images),
        },
        turns,
    )
    return Row(
        case=case.name,
        density=case.density,
        shape=f"{channels}x{side}x{side}",
        batch=batch,
        mismatches=int((found != wanted).sum()),
        goal=GOALS[batch] if case.goal else 0.0,
        float32_ms=times["float32"],
        conv_ms=times["conv"],
        run_ms=times["run"],
        conv_ratio=times["float32"][1] / times["conv"][1],
        run_ratio=times["float32"][1] / times["run"][1],
    )


def main() -> int:
    """Print the rows; the exit code is 1 when a result differs or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=20, help="turns at batch 1; a quarter at batch 64")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for case, (channels, side), batch in product(CASES, SHAPES, GOALS):
        turns = options.repeats if batch == 1 else -(-options.repeats // 4)
        rows.append(measure(case, channels, side, batch, turns))
        if not options.json:
            print(rows[-1], flush=True)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
