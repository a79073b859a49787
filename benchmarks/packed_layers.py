"""The packed executor against the interpreter, layer by layer, and against ONNX Runtime's float32.

Every trained sample program, and VGG-Small at full width untrained: both executors take turns, each from
the first node to the last, and each node is timed. A layer is the nodes that came from one module of the
model; a module that only moves elements counts with the next one, because the packed executor may copy
where the interpreter looks at the same memory in another order. Then VGG-Small as a whole takes turns with
the float32 network of its shape. One thread.

    python benchmarks/packed_layers.py [--turns 9] [--batches 1,64] [--only NAME] [--json]

The exit code is 1 when a layer is slower than in the interpreter, or VGG-Small misses its goal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ.pop("OPENBLAS_CORETYPE", None)  # some shells pin NumPy's BLAS to an old machine

import numpy as np

from exporters.onnx.twin import float32_twin, model_runner
from runtime.ir import Program
from runtime.ops import Concat, Reshape, Roll, Slice, Transpose
from runtime.packed.executor import PackedExecutor
from runtime.serialize import load
from runtime.session import Session

TRAINED = Path(__file__).parent.parent / "sample_models" / "trained"

MOVES = (Concat, Reshape, Roll, Slice, Transpose)

CLOCK_MS = 0.001
"""What reading the clock takes: layers of a few microseconds differ by less than can be told."""

GOAL = 0.9
"""Share of the speed of ONNX Runtime float32 that VGG-Small should have at batch 1."""

UNTRAINED = {"vgg-small ternary x 1 bit": 1, "vgg-small ternary x 2 bits": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """Lower quartiles in milliseconds of one layer, which a busy machine disturbs least."""

    program: str
    batch: int
    layer: str
    kernel: str
    packed_ms: float
    interpreter_ms: float

    @property
    def ratio(self) -> float:
        """How many times faster packed is."""
        return self.interpreter_ms / max(self.packed_ms, 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.program:28} {self.batch:4}  {self.layer:28.28} {self.kernel:24.24} "
            f"{self.packed_ms:8.3f} ms  interpreter {self.interpreter_ms:9.3f} ms  {self.ratio:7.1f}x"
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """VGG-Small against the float32 network of its shape, medians in milliseconds."""

    program: str
    batch: int
    packed_ms: float
    float32_ms: float

    @property
    def ratio(self) -> float:
        """Speed relative to float32."""
        return self.float32_ms / self.packed_ms

    @property
    def good(self) -> bool:
        """Whether the goal is reached, where there is one."""
        return self.batch != 1 or self.ratio >= GOAL

    def __str__(self) -> str:
        return (
            f"{self.program:28} {self.batch:4}  packed {self.packed_ms:8.2f} ms  "
            f"float32 {self.float32_ms:8.2f} ms  {self.ratio:5.2f}x its speed"
        )


def vgg_small(bits: int) -> Program:
    """VGG-Small at full width, its batch norms calibrated on random images."""
    import torch

    from sample_models.vgg import MODELS
    from toolchain.lowering import lower

    torch.manual_seed(0)
    row = MODELS["vgg-small"]
    model = row.build(bits=bits).train()
    with torch.no_grad():
        model(torch.randint(0, 256, (48, *row.input_shape)).float())
    return lower(model.eval(), row.input_shape, row.input_interval, f"vgg-small {bits}")


def programs(only: str | None) -> Iterator[tuple[str, Program]]:
    """Names and programs."""
    for path in sorted(TRAINED.glob("*/program.gfold")):
        if only is None or only in path.parent.name:
            yield path.parent.name, load(path)
    for name, bits in UNTRAINED.items():
        if only is None or only in name:
            yield name, vgg_small(bits)


def images(program: Program, batch: int) -> dict[str, np.ndarray[Any, Any]]:
    """Uniform inputs."""
    rng = np.random.default_rng(0)
    return {
        s.name: rng.integers(s.type.interval.lo, s.type.interval.hi + 1, (batch, *s.type.shape)).astype(
            s.type.interval.dtype
        )
        for s in program.inputs
    }


def layer_names(program: Program) -> dict[str, str]:
    """The layer each node counts with."""
    names = [node.layer or node.result for node in program.nodes]
    moves = set(names) - {
        name for name, node in zip(names, program.nodes, strict=True) if not isinstance(node.op, MOVES)
    }
    for index in range(len(names) - 2, -1, -1):
        if names[index] in moves:
            names[index] = names[index + 1]
    return {node.result: name for node, name in zip(program.nodes, names, strict=True)}


def interpreter_times(program: Program, inputs: dict[str, Any]) -> dict[str, float]:
    """Seconds of each node."""
    values = {name: array.astype(np.int64) for name, array in inputs.items()}
    last, times = program.last_uses(), {}
    for index, node in enumerate(program.nodes):
        operands = [values[name] for name in node.operands]
        start = time.perf_counter()
        values[node.result] = node.op.evaluate(*operands)
        times[node.result] = time.perf_counter() - start
        for name in {*node.operands, node.result}:
            if last[name] <= index:
                del values[name]
    return times


def layer_rows(name: str, program: Program, batch: int, turns: int) -> list[Row]:
    """Both executors in turn, and the quartiles of every layer."""
    inputs, layers = images(program, batch), layer_names(program)
    engine = PackedExecutor(program)
    engine.run(inputs)
    bound, steps = engine.bound(batch), [s for s in engine.plan(batch).steps if not s.work.view]
    owner = {s.stage.result.result: layers[s.stage.nodes[0].result] for s in steps}
    fused = {n.result: s.stage.nodes[0].result for s in steps for n in s.stage.nodes}
    packed: dict[str, list[float]] = {}
    plain: dict[str, list[float]] = {}
    for _ in range(turns):
        for target, array in bound.inputs.items():
            np.copyto(array, inputs[target], casting="unsafe")
        sums: dict[str, float] = dict.fromkeys(layers.values(), 0.0)
        for step, call in zip(steps, bound.calls, strict=True):
            start = time.perf_counter()
            call()
            sums[owner[step.stage.result.result]] += time.perf_counter() - start
        for layer, seconds in sums.items():
            packed.setdefault(layer, []).append(seconds)
        sums = dict.fromkeys(layers.values(), 0.0)
        for result, seconds in interpreter_times(program, inputs).items():
            sums[layers[fused.get(result, result)]] += seconds
        for layer, seconds in sums.items():
            plain.setdefault(layer, []).append(seconds)
    kernels = {
        layer: [s.kernel.name for s in steps if owner[s.stage.result.result] == layer] for layer in sums
    }
    return [
        Row(
            name,
            batch,
            layer,
            ",".join(dict.fromkeys(kernels[layer])),
            1000 * float(np.quantile(packed[layer], 0.25)),
            1000 * float(np.quantile(plain[layer], 0.25)),
        )
        for layer in packed
        if kernels[layer]
    ]


def whole(name: str, program: Program, batch: int, turns: int) -> Whole:
    """VGG-Small and its float32 twin in turn."""
    (spec,) = program.inputs
    given = images(program, batch)[spec.name]
    session, twin = Session(program), model_runner(float32_twin(program), given.astype(np.float32))
    contenders = {"packed": lambda: session.run(given), "float32": twin}
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(turns + 1):
        for key, call in contenders.items():
            start = time.perf_counter()
            call()
            times[key].append(1000 * (time.perf_counter() - start))
    medians = {key: float(np.median(values[1:])) for key, values in times.items()}
    return Whole(name, batch, medians["packed"], medians["float32"])


def main() -> int:
    """Print the rows; see above for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--turns", type=int, default=9, help="turns at batch 1; a third at others")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--only", help="part of a program's name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    wholes: list[Whole] = []
    show = partial(print, file=sys.stderr if options.json else sys.stdout)
    for name, program in programs(options.only):
        for batch in map(int, options.batches.split(",")):
            turns = options.turns if batch == 1 else max(3, options.turns // 3)
            rows += (found := layer_rows(name, program, batch, turns))
            show(*found, sep="\n", flush=True)
            if name in UNTRAINED:
                wholes.append(whole(name, program, batch, turns))
                show(wholes[-1], flush=True)
    slower = [row for row in rows if row.packed_ms > row.interpreter_ms + CLOCK_MS]
    if options.json:
        print(
            json.dumps(
                {"layers": [asdict(r) for r in rows], "networks": [asdict(w) for w in wholes]}, indent=2
            )
        )
    else:
        print(f"{len(rows)} layers, {len(slower)} slower than in the interpreter", *slower, sep="\n")
    return 1 if slower or not all(w.good for w in wholes) else 0


if __name__ == "__main__":
    sys.exit(main())
