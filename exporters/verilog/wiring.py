"""A program as blocks of gates at every position, and the vectors of bits between them.

A bit is a number; 0 and 1 are the constants, and every vector has the numbers from its ``first`` on. Values
are arrays of such numbers, so an op that only moves values makes no hardware. What a block makes at one
position is one vector, its channels together: what another block reads of it are then few ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.rules.words import Nets
from exporters.netlist.stages import Stage, Stages, Wires
from exporters.verilog.names import Names, identifier
from runtime.ir import Input, Program
from runtime.types import TensorType

PORTS = ("clk", "rst", "ce", "in_valid", "out_valid")
"""Ports that a pipeline has besides those of its values."""


@dataclass(frozen=True, slots=True)
class Vector:
    """Bits that appear together: an input, or one position of what a block makes. ``name``: an
    identifier."""

    name: str
    value: str
    width: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stage at all its positions. ``reads``: per input of ``circuit`` its bits, (positions, bits).

    ``sources`` and ``writes``: numbers of the vectors it reads, and of those it makes, by position.
    """

    stage: Stage
    module: str
    circuit: Circuit
    reads: tuple[Nets, ...]
    sources: tuple[int, ...]
    writes: range


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A port of the whole for the value ``value``: element by element as in the program, lowest bit
    first."""

    name: str
    value: str
    type: TensorType
    bits: Nets

    @property
    def width(self) -> int:
        """Bits of the port."""
        return self.type.size * self.type.bits


@dataclass(frozen=True, eq=False)
class Wiring:
    """``vectors``: first those of ``inputs``, then those of ``blocks``."""

    name: str
    inputs: tuple[Signal, ...]
    outputs: tuple[Signal, ...]
    vectors: tuple[Vector, ...]
    blocks: tuple[Block, ...]

    def sources(self, bits: Nets) -> tuple[int, ...]:
        """Numbers of the vectors that have any of ``bits``."""
        return tuple(np.unique(self.owners(bits)[bits.reshape(-1) > 1]).tolist())

    def owners(self, bits: Nets) -> Nets:
        """The number of the vector of every bit, of constants -1."""
        return np.searchsorted(self._firsts, bits.reshape(-1), "right") - 1

    @cached_property
    def _firsts(self) -> Nets:
        return np.array([vector.first for vector in self.vectors], np.int64)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be wired: ``steps`` between values of ``inputs`` and ``outputs``."""

    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, TensorType], ...]
    steps: tuple[Stage | Wires, ...]


def whole_plan(parts: Stages) -> Plan:
    """All of a program."""
    program: Program = parts.program
    types = program.types
    return Plan(program.inputs, tuple((n, types[n]) for n in program.outputs), parts.steps)


def part_plan(stage: Stage) -> Plan:
    """One position of a stage; its inputs are ``in0``, ``in1``, .., its output is the stage's value."""
    names = [f"operand{i}" for i in range(len(stage.local.types))]
    inputs = tuple(Input(name, type_) for name, type_ in zip(names, stage.local.types, strict=True))
    gathers = tuple(lambda nets: nets[None] for _ in names)
    local = replace(stage.local, gathers=gathers)
    alone = replace(stage, operands=tuple(names), type=stage.result, local=local)
    return Plan(inputs, ((stage.value, stage.result),), (alone,))


def wire(plan: Plan, name: str, style: str) -> Wiring:
    """The circuits of ``plan``, and what every position of them reads. ``name``: an identifier."""
    scope, modules = Names(name, *PORTS), Names(name, f"{name}_tb")
    inputs = [_input(spec, scope.new(spec.name, "in"), first) for spec, first in _numbered(plan.inputs)]
    ports = [scope.new(value, "out") for value, _ in plan.outputs]
    vectors = [Vector(s.name, s.value, s.width, int(s.bits.flat[0])) for s in inputs]
    values = {signal.value: signal.bits for signal in inputs}
    blocks: list[Block] = []
    for step in plan.steps:
        if isinstance(step, Wires):
            values[step.value] = step.move([values[operand] for operand in step.operands])
            continue
        circuit = positional(step.circuit(style))
        reads = tuple(_by_position(nets) for nets in step.gather(values))
        sources = _sources(vectors, reads)
        module = modules.exact(f"{name}_{identifier(step.value, 'layer')}")
        writes = range(len(vectors), len(vectors) + step.positions)
        blocks.append(Block(step, module, circuit, reads, sources, writes))
        first, width = vectors[-1].first + vectors[-1].width, step.result.size * step.result.bits
        for position in range(step.positions):
            called = step.value if step.positions == 1 else f"{step.value}_{position}"
            vectors.append(Vector(scope.new(called), step.value, width, first + position * width))
        bits = np.arange(first, first + step.positions * width)
        values[step.value] = step.scatter(_made(step, bits))
    outputs = [
        Signal(port, value, type_, values[value])
        for port, (value, type_) in zip(ports, plan.outputs, strict=True)
    ]
    return Wiring(name, tuple(inputs), tuple(outputs), tuple(vectors), tuple(blocks))


def _numbered(inputs: Sequence[Input]) -> Iterator[tuple[Input, int]]:
    sizes = [spec.type.size * spec.type.bits for spec in inputs]
    return zip(inputs, accumulate(sizes, initial=2), strict=False)


def _input(spec: Input, name: str, first: int) -> Signal:
    type_ = spec.type
    bits = np.arange(first, first + type_.size * type_.bits).reshape(*type_.shape, type_.bits)
    return Signal(name, spec.name, type_, bits)


def _sources(vectors: Sequence[Vector], reads: Sequence[Nets]) -> tuple[int, ...]:
    firsts = [vector.first for vector in vectors]
    bits = np.unique(np.concatenate([bits.reshape(-1) for bits in reads]))
    return tuple(np.unique(np.searchsorted(firsts, bits[bits > 1], "right") - 1).tolist())


# --- channels last -----------------------------------------------------------------------------------


def positional(circuit: Circuit) -> Circuit:
    """``circuit`` with the channels of every port behind its other axes."""
    return Circuit(
        circuit.name,
        circuit.net,
        tuple(map(_channels_last, circuit.inputs)),
        tuple(map(_channels_last, circuit.outputs)),
    )


def _channels_last(port: Port) -> Port:
    if len(port.type.shape) < 2:
        return port
    shape = (*port.type.shape[1:], port.type.shape[0])
    return Port(port.name, replace(port.type, shape=shape), np.moveaxis(port.nets, 0, -2))


def _by_position(nets: Nets) -> Nets:
    """``(positions, channels, .., bits)`` as ``(positions, bits)`` in the order of ``positional``."""
    moved = np.moveaxis(nets, 1, -2) if nets.ndim > 3 else nets
    return moved.reshape(len(nets), -1)


def _made(stage: Stage, bits: Nets) -> Nets:
    """Bits of a vector as results of every position: ``(positions, *result.shape, result.bits)``."""
    shape, width = stage.result.shape, stage.result.bits
    if len(shape) < 2:
        return bits.reshape(stage.positions, *shape, width)
    return np.moveaxis(bits.reshape(stage.positions, *shape[1:], shape[0], width), -2, 1)
