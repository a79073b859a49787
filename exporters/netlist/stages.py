"""A program as stages: circuits of one position, and the wires between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from exporters.legalize import legalize
from exporters.netlist.circuit import Circuit, Port, input_port
from exporters.netlist.convolutions import LINEAR
from exporters.netlist.graph import STYLES, Netlist
from exporters.netlist.positions import Local, localize, scatter
from exporters.netlist.rules import BUILDERS
from exporters.netlist.rules.linear import linear
from exporters.netlist.rules.words import Nets
from exporters.netlist.words import Gates
from runtime.errors import InputError
from runtime.ir import Node, Program
from runtime.ops import Concat, Op, Reshape, Roll, Slice, Threshold, Transpose
from runtime.types import TensorType

WIRES: tuple[type[Op], ...] = (Reshape, Concat, Slice, Transpose, Roll)
"""Ops that only move values."""


@dataclass(frozen=True, eq=False)
class Stage:
    """The circuit of one position of a node, with the Threshold that alone reads it folded in.

    ``operands``: names of the values it reads. ``value``: the one it makes, of ``type``. ``positions``: how
    many copies a fully parallel circuit has. ``nodes``: results of the ops it consists of.
    """

    value: str
    layer: str
    operands: tuple[str, ...]
    type: TensorType
    local: Local
    threshold: Threshold | None
    nodes: tuple[str, ...] = ()

    @property
    def result(self) -> TensorType:
        """Type of the result of one position."""
        return self.threshold.infer(self.local.result) if self.threshold else self.local.result

    @property
    def positions(self) -> int:
        """Copies in a fully parallel circuit."""
        return self.type.size // self.result.size

    def build(self, net: Gates, operands: list[Nets]) -> Nets:
        """The circuit on ``operands``, nets ``(*local type.shape, local bits)`` of one position."""
        local = self.local
        if self.threshold is not None:
            return linear(net, local.op, operands[0], local.types[0], self.result, self.threshold)
        return BUILDERS[type(local.op)](net, local.op, operands, list(local.types), self.result)

    def circuit(self, style: str = "gates") -> Circuit:
        """One position by itself; its inputs are ``in0``, ``in1``, .., its output ``out``.

        ``style``: a row of ``STYLES``.
        """
        net = Netlist(STYLES[style])
        ports = tuple(input_port(net, f"in{i}", type_) for i, type_ in enumerate(self.local.types))
        nets = self.build(net, [port.nets for port in ports])
        return Circuit(self.value, net, ports, (Port("out", self.result, nets),))

    def gather(self, values: Mapping[str, Nets]) -> list[Nets]:
        """What every position reads: per operand ``(positions, *local type.shape, local bits)``."""
        return [g(values[name]) for g, name in zip(self.local.gathers, self.operands, strict=True)]

    def scatter(self, nets: Nets) -> Nets:
        """Results of all positions, ``(positions, *result.shape, result.bits)``, as nets of the value."""
        return scatter(nets, self.type, self.result.interval.signed)


@dataclass(frozen=True, eq=False)
class Wires:
    """An op that moves bits of ``operands`` into ``value``."""

    value: str
    operands: tuple[str, ...]
    type: TensorType
    move: Callable[[list[Nets]], Nets]


@dataclass(frozen=True, eq=False)
class Stages:
    """A program as ``steps`` in order."""

    program: Program
    steps: tuple[Stage | Wires, ...]

    @property
    def circuits(self) -> Iterator[Stage]:
        """The steps that have gates."""
        return (step for step in self.steps if isinstance(step, Stage))

    def part(self, name: str) -> Stage:
        """The stage that makes the value ``name``, or the only one of the layer ``name``. Raises
        InputError."""
        named = [stage for stage in self.circuits if stage.value == name]
        found = named or [stage for stage in self.circuits if stage.layer == name]
        if len(found) == 1:
            return found[0]
        wanted = ", ".join(stage.value for stage in found or self.circuits) or "nothing, it has no gates"
        what = f"{name!r:.80} has {len(found)} of them" if found else f"not {name!r:.80}"
        raise InputError(f"part must be one circuit of {self.program.name!r}: {wanted}; {what}")


def folded_thresholds(program: Program) -> dict[str, Node]:
    """The Threshold that alone reads a linear op, by the result of that op: they are one circuit."""
    readers, found = program.sole_readers(), {}
    for node in program.nodes:
        reader = program.nodes[readers[node.result]] if node.result in readers else None
        if type(node.op) in LINEAR and reader is not None and isinstance(reader.op, Threshold):
            found[node.result] = reader
    return found


def stages(program: Program) -> Stages:
    """``program`` cut into circuits. Raises ProgramError for an op that has no circuit."""
    program = legalize(program, BUILDERS.keys(), "netlist")
    types, folded = program.types, folded_thresholds(program)
    inside = {reader.result for reader in folded.values()}
    steps: list[Stage | Wires] = []
    for node in program.nodes:
        if node.result in inside:
            continue
        operands = tuple(types[name] for name in node.operands)
        if isinstance(node.op, WIRES):
            steps.append(Wires(node.result, node.operands, node.type, _mover(node, operands)))
            continue
        reader = folded.get(node.result, node)
        threshold = reader.op if isinstance(reader.op, Threshold) and reader is not node else None
        local = localize(node.op, operands, node.type)
        nodes = tuple(dict.fromkeys((node.result, reader.result)))
        steps.append(Stage(reader.result, node.layer, node.operands, reader.type, local, threshold, nodes))
    return Stages(program, tuple(steps))


def _mover(node: Node, operands: tuple[TensorType, ...]) -> Callable[[list[Nets]], Nets]:
    builder, nothing = BUILDERS[type(node.op)], Netlist()
    return lambda nets: builder(nothing, node.op, nets, list(operands), node.type)


def flatten(program: Program, style: str = "gates") -> Circuit:
    """The whole program, every position of it, as one combinational circuit.

    Raises ProgramError for an op that has no circuit.
    """
    parts, net = stages(program), Netlist(STYLES[style])
    ports = [input_port(net, spec.name, spec.type) for spec in program.inputs]
    values = {port.name: port.nets for port in ports}
    for step in parts.steps:
        if isinstance(step, Wires):
            values[step.value] = step.move([values[name] for name in step.operands])
            continue
        gathered = step.gather(values)
        built = [step.build(net, [nets[p] for nets in gathered]) for p in range(step.positions)]
        values[step.value] = step.scatter(np.stack(built))
    types = program.types
    outputs = tuple(Port(name, types[name], values[name]) for name in program.outputs)
    return Circuit(program.name, net, tuple(ports), outputs)
