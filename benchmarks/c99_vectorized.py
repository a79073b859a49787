"""Whether the compiler still makes vectors of the bit kernels: a layer against its scalar build.

    python benchmarks/c99_vectorized.py

Each kernel runs one layer twice, compiled as always and with ``GF_NATIVE_BITS`` 0, in turns; the best of
all turns count. Exit code 1 where the vectors are not at least three times as fast, or a result differs.
"""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np

from exporters.c99.build import Source, generate
from exporters.c99.compilers import Compiler, compile_shared, find_compiler
from exporters.c99.executor import library_files
from exporters.c99.host import find_host_target
from exporters.c99.library import Library
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Threshold
from runtime.types import Interval
from runtime.weights import Weights

LEAST = 3.0
"""Times as fast as the scalar build that vectors have to be; they are ten times and more."""

ROUNDS, TRIES = 7, 3
"""Turns of one measurement, and how often a slow one is repeated: others may use the machine."""

KERNELS = ("lanes", "columns")
"""Kernels that work on lanes, and so depend on vectors."""


def layer() -> Program:
    """A convolution of 64 x 512 channels, which fill lanes of every width, with thresholds on 24 x 24
    positions."""
    rng = np.random.default_rng(0)
    b = Builder("vectorized")
    x = b.input("x", (64, 24, 24), Interval(0, 1))
    conv = Conv2d(Weights(rng.integers(-1, 2, (512, 64, 3, 3)), 3), None, (1, 1), (1, 1))
    bits = Threshold(rng.integers(-9, 9, (512, 1)), np.ones(512, int))
    return b.build(outputs=(b.add(bits, b.add(conv, x)),))


class Build:
    """``source`` compiled with vectors or without, and memory to run it in."""

    def __init__(self, source: Source, compiler: Compiler, scalar: bool = False) -> None:
        files = library_files(source)
        if scalar:
            header = f"{source.name}_weights.h"
            files[header] = b"#define GF_NATIVE_BITS 0\n" + files[header]
        self._library = Library(compile_shared(files, compiler, source.target))
        self._run = self._library.functions[f"{source.name}_run_batch"]
        self._run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t] * 2
        rng = np.random.default_rng(1)
        (image,), (out,) = source.inputs, source.outputs
        memory = np.empty(source.arena_bytes + 64, np.uint8)
        self._arena = memory[-memory.ctypes.data % 64 :]
        self._x, self._y = (
            rng.integers(0, image.type.interval.hi + 1, image.type.shape, np.uint8),
            np.empty(out.type.shape, np.uint8),
        )
        self._size = source.arena_bytes

    def call(self) -> tuple[float, bytes]:
        """Seconds and output of one call."""
        start = time.perf_counter()
        code = self._run(self._x.ctypes.data, self._y.ctypes.data, self._arena.ctypes.data, self._size, 1)
        seconds = time.perf_counter() - start
        if code:
            raise RuntimeError(f"the program returned {code}")
        return seconds, self._y.tobytes()


def ratio(kernel: str) -> float:
    """How many times as fast the vectors of a kernel are. Raises RuntimeError where results differ, or the
    layer has another kernel."""
    source = generate(layer(), find_host_target(), vectors=0, kernel=kernel)
    used = [step.candidate.kernel for step in source.plan.steps if step.candidate]
    if used != [kernel]:
        raise RuntimeError(f"{kernel}: the layer takes {', '.join(used)}")
    compiler = find_compiler()
    builds = [Build(source, compiler, scalar) for scalar in (False, True)]
    times: list[list[float]] = [[], []]
    results = set()
    for _ in range(ROUNDS):
        for build, found in zip(builds, times, strict=True):
            seconds, result = build.call()
            found.append(seconds)
            results.add(result)
    if len(results) != 1:
        raise RuntimeError(f"{kernel}: the builds give different results")
    return min(times[1]) / min(times[0])


def main() -> int:
    """Print one line for each kernel; 1 where one is too slow."""
    slow = 0
    for kernel in KERNELS:
        best = 0.0
        for _ in range(TRIES):
            best = max(best, ratio(kernel))
            if best >= LEAST:
                break
        verdict = "vectors" if best >= LEAST else f"NO VECTORS: at least {LEAST:g} expected"
        print(f"{kernel:8} {best:6.1f} times as fast as without vectors   {verdict}")
        slow += best < LEAST
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
