"""The plan of a program: stages once, and for every batch size kernels, layouts and places in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import Conv2d, Dense, Threshold
from runtime.packed.arena import Span, carve, place
from runtime.packed.kernels import kernels_of, layer_kernels
from runtime.packed.layer import MAX_COUNT, Layer
from runtime.packed.layout import (
    ALWAYS,
    BATCH_FIRST,
    CHANNELS_LAST,
    FROM_PLANES,
    Call,
    Kernel,
    Layout,
    Work,
    fits_planes,
    narrow,
    run_all,
)
from runtime.packed.planes import Bytes, Integers
from runtime.types import IntArray, TensorType

AUTO = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One node, or a layer with weights and the Threshold behind it, and the kernels that can run it."""

    nodes: tuple[Node, ...]
    kernels: tuple[Kernel, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of what it reads."""
        return self.nodes[0].operands

    @property
    def result(self) -> Node:
        """The node whose value it writes."""
        return self.nodes[-1]

    def choose(self, wanted: str, batch: int) -> Kernel:
        """The wanted kernel if it can run this stage, else the one estimated fastest."""
        kernels = [kernel for kernel in self.kernels if kernel.name == wanted] or self.kernels
        if len(kernels) == 1:
            return kernels[0]
        operands = [Layout(CHANNELS_LAST, np.dtype(np.uint8))] * len(self.operands)
        return min(kernels, key=lambda kernel: kernel.work(operands, False, batch).nanoseconds)


def stages_of(program: Program) -> tuple[Stage, ...]:
    """The stages of a program in order."""
    types, readers = program.types, _readers(program)
    stages: list[Stage] = []
    fused: set[str] = set()
    for node in program.nodes:
        if node.result in fused:
            continue
        operands = [types[name] for name in node.operands]
        if not isinstance(node.op, Conv2d | Dense):
            stages.append(Stage((node,), kernels_of(node.op, operands, node.type)))
            continue
        follower = readers[node.result][0] if len(readers[node.result]) == 1 else None
        threshold = _threshold(follower)
        codes = follower.type if threshold and follower else None
        kernels = layer_kernels(Layer(node.op, operands[0], node.type, threshold, codes))
        if kernels and threshold and follower:
            fused.add(follower.result)
            stages.append(Stage((node, follower), kernels))
        else:
            stages.append(Stage((node,), kernels or kernels_of(node.op, operands, node.type)))
    return tuple(stages)


def _readers(program: Program) -> dict[str, list[Node | None]]:
    """Nodes that read each value; None for whoever asks for the program's outputs."""
    readers: dict[str, list[Node | None]] = {name: [] for name in program.types}
    for node in program.nodes:
        for name in dict.fromkeys(node.operands):
            readers[name].append(node)
    for name in program.outputs:
        readers[name].append(None)
    return readers


def _threshold(node: Node | None) -> Threshold | None:
    """The Threshold of a node that a layer can end with."""
    if node is None or not isinstance(node.op, Threshold) or not fits_planes(node.type):
        return None
    return node.op if node.op.thresholds.shape[1] <= MAX_COUNT else None


@dataclass(frozen=True, slots=True)
class Row:
    """One stage of a plan: ``bytes`` of its result and working memory, estimated ``nanoseconds``."""

    node: str
    kernel: str
    layout: str
    tile: str
    bytes: int
    nanoseconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A stage at one batch size."""

    stage: Stage
    kernel: Kernel
    work: Work

    def row(self, batch: int) -> Row:
        """What the plan tells of it."""
        work, node = self.work, self.stage.result
        held = 0 if work.view else work.result.block(node.type, batch).bytes
        size = held + sum(block.bytes for block in work.scratch) + work.transient
        layout = f"{work.result.order} {work.result.dtype}"
        return Row(node.result, self.kernel.name, layout, work.tile, size, work.nanoseconds)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How one batch size runs. ``arena_bytes``: peak of all values and working memory that are placed.

    ``transient_bytes``: most that the calls of one step allocate beside them.
    ``places``: where each value of ``blocks`` starts in the arena; then the same of every step's scratch.
    """

    batch: int
    program: Program
    steps: tuple[Step, ...]
    layouts: Mapping[str, Layout]
    places: Mapping[str, int]
    scratch: tuple[tuple[int, ...], ...]
    arena_bytes: int
    transient_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Most memory a run holds, beside weights and what it returns."""
        return self.arena_bytes + self.transient_bytes

    @property
    def nanoseconds(self) -> float:
        """Estimated time of the batch."""
        return sum(step.work.nanoseconds for step in self.steps)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row a stage."""
        return tuple(step.row(self.batch) for step in self.steps)

    def bind(self, memory: Bytes) -> Bound:
        """The plan on an arena: every view made, ready to run again and again."""
        types = self.program.types
        values: dict[str, Integers] = {}

        def own(name: str) -> Integers:
            layout = self.layouts[name]
            return layout.view(carve(memory, self.places[name], layout.block(types[name], self.batch)))

        for spec in self.program.inputs:
            values[spec.name] = own(spec.name)
        calls: list[Call] = []
        for step, starts in zip(self.steps, self.scratch, strict=True):
            name, operands = step.stage.result.result, [values[o] for o in step.stage.operands]
            if step.work.view:
                values[name] = step.work.view(operands[0])
                continue
            values[name] = own(name)
            blocks = [carve(memory, s, b) for s, b in zip(starts, step.work.scratch, strict=True)]
            assert step.work.bind is not None
            calls.append(step.work.bind(operands, values[name], blocks))
        inputs = {spec.name: values[spec.name] for spec in self.program.inputs}
        return Bound(memory, inputs, {name: values[name] for name in self.program.outputs}, tuple(calls))


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A plan with its memory. One thread at a time may run it."""

    memory: Bytes
    inputs: Mapping[str, Integers]
    outputs: Mapping[str, Integers]
    calls: tuple[Call, ...]

    def run(self, arrays: Mapping[str, IntArray]) -> dict[str, Integers]:
        """Copies of the outputs for ``arrays`` of the plan's batch size."""
        for name, target in self.inputs.items():
            np.copyto(target, arrays[name], casting="unsafe")
        run_all(self.calls)
        return {name: array.copy(order="C") for name, array in self.outputs.items()}


def plan_batch(program: Program, stages: Sequence[Stage], wanted: str, batch: int) -> Plan:
    """The plan for one batch size."""
    types = program.types
    chosen = [stage.choose(wanted, batch) for stage in stages]
    planes = _on_planes(program, stages, chosen)
    layouts = {s.name: Layout(BATCH_FIRST, narrow(s.type.interval)) for s in program.inputs}
    steps = []
    for stage, kernel in zip(stages, chosen, strict=True):
        name = stage.result.result
        work = kernel.work([layouts[o] for o in stage.operands], name in planes, batch)
        layouts[name] = work.result
        steps.append(Step(stage, kernel, work))
    spans = dict(_value_spans(program, steps, layouts, types, batch))
    scratch = [(Span(b, i, i)) for i, step in enumerate(steps) for b in step.work.scratch]
    starts, size = place([*spans.values(), *scratch])
    rest = iter(starts[len(spans) :])
    return Plan(
        batch,
        program,
        tuple(steps),
        layouts,
        dict(zip(spans, starts, strict=False)),
        tuple(tuple(next(rest) for _ in step.work.scratch) for step in steps),
        size,
        max((step.work.transient for step in steps), default=0),
    )


def _value_spans(
    program: Program,
    steps: Sequence[Step],
    layouts: Mapping[str, Layout],
    types: Mapping[str, TensorType],
    batch: int,
) -> Iterator[tuple[str, Span]]:
    """Every value that has memory of its own, from where it is written to where it is last read."""
    owner = {spec.name: spec.name for spec in program.inputs}
    first = {spec.name: -1 for spec in program.inputs}
    last = dict(first)
    for index, step in enumerate(steps):
        name = step.stage.result.result
        owner[name] = owner[step.stage.operands[0]] if step.work.view else name
        first.setdefault(owner[name], index)
        for used in (name, *step.stage.operands):
            last[owner[used]] = index
    for name in program.outputs:
        last[owner[name]] = len(steps)
    for name, start in first.items():
        yield name, Span(layouts[name].block(types[name], batch), start, last[name])


def _on_planes(program: Program, stages: Sequence[Stage], chosen: Sequence[Kernel]) -> set[str]:
    """Values held as planes: those that a kernel on planes alone reads, at whatever remove, and all can."""
    types = program.types
    kernels = {s.result.result: k for s, k in zip(stages, chosen, strict=True)}
    operands = {s.result.result: s.operands for s in stages}
    planes = {
        n for n, k in kernels.items() if k.gives_planes in (ALWAYS, FROM_PLANES) and fits_planes(types[n])
    }
    planes -= set(program.outputs)
    changed = True
    while changed:
        bad = {
            n
            for n in planes
            if kernels[n].gives_planes == FROM_PLANES and not planes.issuperset(operands[n])
        }
        needed: set[str] = set()
        for name, kernel in kernels.items():
            if not kernel.takes_planes or (kernel.gives_planes == FROM_PLANES and name not in planes):
                bad |= planes.intersection(operands[name])
            elif kernel.gives_planes == ALWAYS or name in planes:
                needed |= planes.intersection(operands[name])
        bad |= planes - needed
        changed = bool(bad)
        planes -= bad
    return planes
