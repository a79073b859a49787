"""Small random networks for the table of rates: kernels that few trained programs have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from exporters.c99.selftest import sample_inputs
from runtime.ir import Builder, Program
from runtime.ops import ArgMax, Conv2d, Dense, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from toolchain.vectors import Arrays

SIDE = 12
"""Rows and columns of an image."""

VALUES = {3: 1.0, 5: 0.3, 15: 0.1}
"""Levels of a weight, and the share of its codes that may be other than 0."""


def _weights(rng: np.random.Generator, shape: tuple[int, ...], levels: int, density: float) -> Weights:
    top = levels // 2
    codes = rng.integers(-top, top + 1, shape)
    return Weights(np.where(rng.random(shape) < density, codes, 0), levels)


def _network(channels: int, stride: int, bits: int, levels: int, density: float) -> Program:
    """Bytes through two convolutions and two dense layers, with thresholds amid their sums."""
    rng = np.random.default_rng((channels, stride, bits, levels))
    b = Builder(f"sample {channels}-{stride}-{bits}-{levels}")
    x = b.input("x", (3, SIDE, SIDE), Interval(0, 255))
    inputs, largest, side = 3, 255, SIDE

    def coded(sums: str, outputs: int, fan_in: int) -> str:
        spread = max(1.0, np.sqrt(fan_in * density) * largest / 2)
        steps = np.linspace(-spread, spread, (1 << bits) - 1) if bits > 1 else np.zeros(1)
        thresholds = np.tile(np.rint(steps).astype(np.int64), (outputs, 1))
        return b.add(Threshold(thresholds, np.ones(outputs, np.int64)), sums)

    for step in (1, stride):
        weights = _weights(rng, (channels, inputs, 3, 3), levels, density)
        sums = b.add(Conv2d(weights, padding=(1, 1), stride=(step, step)), x)
        x = coded(sums, channels, 9 * inputs)
        inputs, largest, side = channels, (1 << bits) - 1, -(-side // step)
    size = channels * side * side
    x = b.add(Reshape((size,)), x)
    x = coded(b.add(Dense(_weights(rng, (32, size), levels, density)), x), 32, size)
    return b.build((b.add(ArgMax(), b.add(Dense(_weights(rng, (10, 32), levels, density)), x)),))


def sample_programs(samples: int) -> Iterator[tuple[str, Program, Arrays]]:
    """Name, network and so many random images of each."""
    for channels, stride, bits, (levels, density) in product((12, 40), (1, 2), (1, 2), VALUES.items()):
        program = _network(channels, stride, bits, levels, density)
        yield program.name, program, sample_inputs(program, samples)
