"""A convolution with stride 2 by every kernel that can compute it, one against the other.

    python -m benchmarks.c99_strided

Each kernel runs the same layers, 3x3 with thresholds, in turns; medians of microseconds, the layer's input
packed and its result unpacked included. The one the planner takes is marked. Exit code 1 where two results
differ.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

from benchmarks.c99_vectorized import Build
from exporters.c99.build import Source, generate
from exporters.c99.compilers import find_compiler
from exporters.c99.host import find_host_target
from exporters.c99.plan import KERNELS
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Threshold
from runtime.types import Interval
from runtime.weights import Weights

LAYERS = (
    (64, 32, 1, 0.03),
    (64, 32, 1, 0.66),
    (128, 16, 1, 0.03),
    (128, 16, 1, 0.66),
    (64, 16, 2, 0.03),
    (64, 16, 2, 0.66),
    (32, 28, 1, 0.03),
    (32, 28, 2, 0.66),
)
"""Channels of the input, half as many as of the result; rows and columns; bits; share of weights not 0."""

TURNS = 31


def layer(channels: int, side: int, bits: int, density: float) -> Program:
    """A ternary convolution that halves the map, and thresholds of as many bits as its operand has."""
    rng = np.random.default_rng(0)
    b = Builder("strided")
    shape, outputs, levels = (2 * channels, channels, 3, 3), 2 * channels, (1 << bits) - 1
    codes = np.where(rng.random(shape) < density, rng.choice([-1, 1], shape), 0)
    x = b.input("x", (channels, side, side), Interval(0, levels))
    sums = b.add(Conv2d(Weights(codes, 3), None, (2, 2), (1, 1)), x)
    limits = np.tile(np.arange(levels) - levels // 2, (outputs, 1))
    return b.build(outputs=(b.add(Threshold(limits, np.ones(outputs, int)), sums),))


def used(source: Source) -> str:
    """The kernel of the only layer."""
    (kernel,) = (step.candidate.kernel for step in source.plan.steps if step.candidate)
    return kernel


def main() -> int:
    """Print one row for each layer; 1 where kernels disagree."""
    target, compiler = find_host_target(), find_compiler()
    print(f"{target.name}, {compiler.version.splitlines()[0]}; microseconds, * what the planner takes")
    differing = 0
    for row in LAYERS:
        program = layer(*row)
        taken = used(generate(program, target, vectors=0))
        sources = {k: generate(program, target, vectors=0, kernel=k) for k in KERNELS}
        builds = {k: Build(source, compiler) for k, source in sources.items() if used(source) == k}
        times: dict[str, list[float]] = {kernel: [] for kernel in builds}
        results = set()
        for _ in range(TURNS):
            for kernel, build in builds.items():
                seconds, result = build.call()
                times[kernel].append(1e6 * seconds)
                results.add(result)
        differing += len(results) != 1
        found = {kernel: statistics.median(all_) for kernel, all_ in times.items()}
        cells = [
            f"{k}{'*' * (k == taken)} {us:.0f}" for k, us in sorted(found.items(), key=lambda kv: kv[1])
        ]
        channels, side, bits, density = row
        shape = f"{channels}x{side}x{side}, {bits} bit{'s' * (bits > 1)}, {100 * density:.0f} % not 0"
        print(f"{shape}: {', '.join(cells)}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
