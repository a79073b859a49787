"""Latency and file size of exported ONNX models against the float32 network of the same shape.

Builds VGG-like programs on 32x32x3 bytes with random weights and thresholds at the quantiles of their
sums, checks both profiles bit for bit against the interpreter, then times the float32 twin and the
exported models in turn, one process, one thread.

    python benchmarks/onnx_latency.py [--channels 128] [--repeats 40] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass

os.environ.pop("OPENBLAS_CORETYPE", None)  # some shells pin NumPy's BLAS to an old machine

import numpy as np

from exporters.onnx.build import build
from exporters.onnx.executor import OnnxExecutor, open_model
from exporters.onnx.twin import float32_twin
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, MaxPool, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights

LATENCY_GOAL = 0.4
"""Largest share of the twin's time a ternary network with binary activations should take."""

SIZE_GOAL = 14.0
"""How many times smaller than the twin's file a ternary network should be."""

QUANTILES = {1: (0.0,), 3: (-0.6745, 0.0, 0.6745)}
"""Standard normal quantiles that split sums into equally likely codes, by thresholds per channel."""


@dataclass(frozen=True, slots=True)
class Case:
    """One network: value set of the weights, thresholds per channel."""

    name: str
    levels: int
    steps: int


CASES = (Case("ternary x binary", 3, 1), Case("quinary x 2-bit", 5, 3))


@dataclass(frozen=True, slots=True)
class Row:
    """Measured: milliseconds are medians, ratios are against the twin in the same run."""

    case: str
    profile: str
    mismatches: int
    twin_ms: float
    gatefold_ms: float
    latency_ratio: float
    twin_bytes: int
    gatefold_bytes: int
    size_ratio: float


def vgg(case: Case, channels: int, seed: int = 0) -> Program:
    """Six 3x3 convolutions with a 2x2 MaxPool after every second one, and a dense head."""
    rng = np.random.default_rng(seed)
    b = Builder(f"vgg {case.name}")
    x = b.input("image", (3, 32, 32), Interval(0, 255))
    mean, variance = 127.5, 255**2 / 12
    codes_out = np.arange(case.steps + 1)
    for layer in range(6):
        b.at_layer(f"features.{layer}")
        shape = (channels, b.type_of(x).shape[0], 3, 3)
        weights = Weights(rng.integers(-(case.levels // 2), case.levels // 2 + 1, shape), case.levels)
        x = b.add(Conv2d(weights, padding=(1, 1)), x, name=f"conv{layer + 1}")
        if layer % 2:
            x = b.add(MaxPool((2, 2), (2, 2)), x, name=f"pool{layer + 1}")
        x = b.add(_quantile_thresholds(rng, weights, mean, variance, case.steps), x, name=f"act{layer + 1}")
        mean, variance = codes_out.mean(), codes_out.var()
    b.at_layer("head")
    x = b.add(Reshape((b.type_of(x).size,)), x, name="flat")
    codes = rng.integers(-(case.levels // 2), case.levels // 2 + 1, (10, b.type_of(x).size))
    return b.build(outputs=(b.add(Dense(Weights(codes, case.levels)), x, name="scores"),))


def _quantile_thresholds(
    rng: np.random.Generator, weights: Weights, mean: float, variance: float, steps: int
) -> Threshold:
    flat = weights.codes.reshape(weights.shape[0], -1).astype(float)
    spread = np.sqrt(np.square(flat).sum(axis=1) * variance)
    centre = flat.sum(axis=1) * mean
    thresholds = np.round(centre[:, None] + spread[:, None] * np.array(QUANTILES[steps]))
    direction = rng.choice((-1, 1), weights.shape[0])
    ordered = np.where(direction[:, None] > 0, thresholds, thresholds[:, ::-1])
    return Threshold(ordered.astype(np.int64), direction)


def measure(case: Case, channels: int, repeats: int) -> list[Row]:
    """Check and time one network in both profiles, with the twin in turn."""
    program = vgg(case, channels)
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32))
    wanted = Interpreter(program).run({"image": images})["scores"]
    twin = float32_twin(program).SerializeToString()
    models = {name: build(program, name).SerializeToString() for name in ("portable", "modern")}
    sessions = {name: open_model(model) for name, model in {"twin": twin, **models}.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    feeds = {name: images[:1].astype(np.float32 if name == "twin" else np.uint8) for name in sessions}
    for _ in range(repeats + 3):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"image": feeds[name]})
            times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: float(np.median(values[3:])) for name, values in times.items()}
    rows = []
    for name, model in models.items():
        got = OnnxExecutor(program, name).run({"image": images})["scores"]
        rows.append(
            Row(
                case=case.name,
                profile=name,
                mismatches=int((got != wanted).sum()),
                twin_ms=medians["twin"],
                gatefold_ms=medians[name],
                latency_ratio=medians[name] / medians["twin"],
                twin_bytes=len(twin),
                gatefold_bytes=len(model),
                size_ratio=len(twin) / len(model),
            )
        )
    return rows


def main() -> int:
    """Print the rows; the exit code is 1 when a result differs or a ternary goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for case in CASES for row in measure(case, options.channels, options.repeats)]
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        for row in rows:
            print(
                f"{row.case:17} {row.profile:9} {row.mismatches} mismatches  "
                f"{row.gatefold_ms:6.2f} ms / {row.twin_ms:6.2f} ms = {row.latency_ratio:.2f}  "
                f"{row.gatefold_bytes:8} of {row.twin_bytes} bytes = {row.size_ratio:.1f}x smaller"
            )
    ternary = [row for row in rows if row.case == CASES[0].name]
    good = not any(row.mismatches for row in rows) and all(
        row.latency_ratio <= LATENCY_GOAL and row.size_ratio >= SIZE_GOAL for row in ternary
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
