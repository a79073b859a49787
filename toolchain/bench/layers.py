"""Each layer alone: packed against the interpreter, and against the same layer in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.errors import MismatchError
from runtime.ir import Input, Node, Program
from runtime.ops import Conv2d, Dense, Threshold
from runtime.session import Executor, Session
from runtime.types import IntArray
from toolchain.bench.contenders import FP32, twin
from toolchain.bench.settings import Settings
from toolchain.compare import REFERENCE, Samples
from toolchain.timing import Call, alternate

PACKED = "packed"


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer at one batch size: median milliseconds of the engines alone.

    ``node``: its result. ``ratio_to_...``: how many times faster ``packed`` is.
    """

    batch: int
    layer: str
    node: str
    ops: str
    shape: tuple[int, ...]
    kernel: str | None
    packed_ms: float
    interpreter_ms: float
    ratio_to_interpreter: float
    fp32_ms: float | None
    ratio_to_fp32: float | None


def layers_of(program: Program) -> Iterator[tuple[Node, ...]]:
    """Every node; one with weights and a Threshold that alone reads it are one layer, as they are fused."""
    readers = Counter(name for node in program.nodes for name in node.operands)
    readers.update(program.outputs)
    followers = {n.operands[0]: n for n in program.nodes if isinstance(n.op, Threshold)}
    fused: set[str] = set()
    for node in program.nodes:
        follower = followers.get(node.result)
        if node.result in fused:
            continue
        if isinstance(node.op, Conv2d | Dense) and follower and readers[node.result] == 1:
            fused.add(follower.result)
            yield node, follower
        else:
            yield (node,)


def layer_program(program: Program, nodes: tuple[Node, ...]) -> Program:
    """The program of one layer: what its first node reads are its inputs, and may be any integers."""
    types = program.types
    inputs = tuple(Input(name, types[name]) for name in dict.fromkeys(nodes[0].operands))
    return Program(nodes[-1].result, inputs, nodes, (nodes[-1].result,))


def measure_layers(
    program: Program, inputs: Samples, settings: Settings, tell: Callable[[str], None]
) -> list[LayerRow]:
    """A row for each layer on the values it gets when ``program`` runs on ``inputs``."""
    layers = list(layers_of(program))
    last = program.last_uses()
    index = {node.result: i for i, node in enumerate(program.nodes)}
    values: dict[str, IntArray] = {name: array.astype(np.int64) for name, array in inputs.items()}
    rows = []
    for number, nodes in enumerate(layers, 1):
        tell(f"layers: {number} of {len(layers)}")
        layer = layer_program(program, nodes)
        given = {s.name: values[s.name].astype(s.type.interval.dtype) for s in layer.inputs}
        for node in nodes:
            values[node.result] = node.op.evaluate(*(values[name] for name in node.operands))
        rows.append(_measure(layer, given, values[nodes[-1].result], settings, len(layers)))
        for name in [name for name in values if last[name] <= index[nodes[-1].result]]:
            del values[name]
    return rows


def _measure(
    layer: Program, given: Samples, expected: IntArray, settings: Settings, share: int
) -> LayerRow:
    """The row of one layer. Raises MismatchError where packed differs."""
    (name,) = layer.outputs
    options = {"kernel": settings.kernel, "threads": settings.threads}
    packed, plain = Session(layer, PACKED, **options).engine, Session(layer, REFERENCE).engine
    if not np.array_equal(packed.run(given)[name], expected):
        raise MismatchError(
            f"{PACKED} differs from {REFERENCE} in layer {name!r} alone; look closer with `gatefold verify`"
        )
    calls: dict[str, Call] = {PACKED: lambda: packed.run(given), REFERENCE: lambda: plain.run(given)}
    if FP32 in settings.against:
        calls[FP32] = twin(layer, FP32, settings.threads).prepare(given)
    times = alternate(calls, settings.seconds / share, settings.repeats)
    own, float32 = times[PACKED].median_ms, times[FP32].median_ms if FP32 in times else None
    batch = len(next(iter(given.values())))
    return LayerRow(
        batch=batch,
        layer=layer.nodes[0].layer,
        node=name,
        ops=" + ".join(node.op.name for node in layer.nodes),
        shape=layer.nodes[-1].type.shape,
        kernel=kernel_of(packed, batch, name),
        packed_ms=own,
        interpreter_ms=times[REFERENCE].median_ms,
        ratio_to_interpreter=times[REFERENCE].median_ms / own,
        fp32_ms=float32,
        ratio_to_fp32=None if float32 is None else float32 / own,
    )


def kernel_of(engine: Executor, batch: int, node: str) -> str | None:
    """The kernel that an executor has chosen for a value, if it tells."""
    describe = getattr(engine, "describe", None)
    rows = describe(batch) if describe else ()
    return next((row.kernel for row in rows if row.node == node), None)
