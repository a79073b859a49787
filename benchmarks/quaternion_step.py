"""What a training step of quaternion layers costs against real layers of the same expanded size.

    python benchmarks/quaternion_step.py [--steps N] [--threads N] [--json]

Layers alone and whole networks: forward, backward and Adam, one step of each kind in turn, on random images
in memory; medians, in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sample_models.lottery import MODELS
from toolchain.layers import QuaternionConv2d, QuaternionLinear, RealConv2d, RealLinear

WARM_UP = 3
BATCH = 60

Make = Callable[[str], nn.Module]


def conv(channels: int) -> Make:
    """A 3x3 convolution that keeps its shape."""
    kinds = {"real": RealConv2d, "quaternion": QuaternionConv2d}
    return lambda algebra: kinds[algebra](channels, channels, 3, padding=1)


def dense(inputs: int, outputs: int) -> Make:
    """A dense layer."""
    kinds = {"real": RealLinear, "quaternion": QuaternionLinear}
    return lambda algebra: kinds[algebra](inputs, outputs)


def network(name: str) -> Make:
    """One of the networks of the pruning studies."""
    return lambda algebra: MODELS[name].build(algebra=algebra)


CASES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "conv 64 -> 64, 32x32": (conv(64), (64, 32, 32)),
    "conv 128 -> 128, 16x16": (conv(128), (128, 16, 16)),
    "conv 256 -> 256, 8x8": (conv(256), (256, 8, 8)),
    "dense 16384 -> 256": (dense(16384, 256), (16384,)),
    "dense 784 -> 300": (dense(784, 300), (784,)),
    "lenet-300-100": (network("lenet-300-100"), (1, 28, 28)),
    "conv-2": (network("conv-2"), (3, 32, 32)),
    "conv-4": (network("conv-4"), (3, 32, 32)),
}
"""What is trained, and the shape of its input without the batch."""


def channels_last(thing: nn.Module | Tensor, rank: int) -> nn.Module | Tensor:
    """As training lays out images and their weights."""
    return thing.to(memory_format=torch.channels_last) if rank == 3 else thing


def stepper(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """One step of training towards zero."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def measure(make: Make, shape: tuple[int, ...], steps: int) -> dict[str, float]:
    """Median milliseconds of each algebra's step, taken in turn."""
    torch.manual_seed(0)
    x = channels_last(torch.randint(0, 256, (BATCH, *shape)).float(), len(shape))
    takers = {a: stepper(channels_last(make(a), len(shape)), x) for a in ("real", "quaternion")}
    times: dict[str, list[float]] = {name: [] for name in takers}
    for _ in range(WARM_UP + steps):
        for name, step in takers.items():
            started = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values[WARM_UP:]) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, (make, shape) in CASES.items():
        median = measure(make, shape, arguments.steps)
        ratio = median["quaternion"] / median["real"]
        rows.append({"case": name, **median, "ratio": ratio})
        if not arguments.json:
            real, quaternion = median["real"], median["quaternion"]
            print(f"{name:24} real {real:8.2f} ms   quaternion {quaternion:8.2f} ms   ratio {ratio:5.2f}")
    if arguments.json:
        print(json.dumps({"batch": BATCH, "threads": arguments.threads, "rows": rows}))


if __name__ == "__main__":
    main()
