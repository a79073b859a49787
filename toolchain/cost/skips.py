"""What a skip connection costs: an OR or a MUX between bits, against adding integers or floats.

A logic-gated skip carries the activation bits themselves. A residual addition carries what it adds:
8-bit integers in an integer network, 32-bit floats in the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from exporters.netlist.digits import integers
from runtime.ir import Node, Program
from runtime.ops import Add, And, Conv2d, Dense, Lookup, Mul, Op, Or, RoundDiv, Select, Threshold, Xor
from runtime.types import BIT, TensorType
from toolchain.cost.cells import CELLS, Cells
from toolchain.cost.columns import compare, compress, sum_over
from toolchain.cost.memory import stored_bytes
from toolchain.cost.nodes import NodeCost

SKIP_OPS: dict[type[Op], str] = {
    Or: "or",
    And: "and",
    Xor: "xor",
    Select: "mux",
    Add: "add",
    Mul: "quotient",
}
"""The ops that join two branches, and what such a skip is called; the branches have one shape. A ``Mul``
joins only where one factor is a gate: a ``Lookup`` of the same layer, of something else than the other."""

FLOAT32_ADD_GE = 5240
"""One float32 adder: 4184 um2 in 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014; areas in
Dally's NIPS 2015 tutorial) over 0.798 um2 of a NAND2. The 137 um2 of their int32 adder make 172 GE by the
same rule, and this model counts 192 for 32 full adders."""

INTEGER_BITS = 8
"""Width of the integer residual stream that is compared with."""


@dataclass(frozen=True, slots=True)
class SkipCost:
    """One way to join two branches.

    ``ge``: gate equivalents of the logic. ``bits``, ``bytes``: of the value carried around the branch.
    ``registers``: bits of the results that are stored.
    """

    ge: float = 0.0
    bits: int = 0
    bytes: int = 0
    registers: int = 0

    def __add__(self, other: SkipCost) -> SkipCost:
        return SkipCost(
            self.ge + other.ge,
            self.bits + other.bits,
            self.bytes + other.bytes,
            self.registers + other.registers,
        )

    @property
    def stored_ge(self) -> float:
        """Gate equivalents with the registers, as the gates of a program are counted."""
        return self.ge + CELLS["register"].ge * self.registers

    def to_json(self) -> dict[str, float | int]:
        """``ge``, ``bits`` and ``bytes``."""
        return {"ge": round(self.ge, 1), "bits": self.bits, "bytes": self.bytes}


def _or(type_: TensorType) -> float:
    return Cells({"or": type_.bits * type_.size}).ge


def _mux(type_: TensorType) -> float:
    """OR, multiplexer, and per channel the condition: the sum over all positions is at least half its
    maximum (thresholded global average pooling)."""
    positions = type_.size // type_.channels
    most = positions * ((1 << type_.bits) - 1)
    width = most.bit_length()
    popcount = compress(np.full((1, type_.bits), positions), integers([0]), width)
    dense = compare(integers([-(-most // 2)]), width, np.array([True]))
    condition = sum_over(popcount, 1).ge + sum_over(dense, 1).ge
    return _or(type_) + Cells({"mux": type_.bits * type_.size}).ge + condition * type_.channels


def _integer_add(type_: TensorType) -> float:
    return Cells({"full_adder": INTEGER_BITS - 1, "half_adder": 1}).ge * type_.size


def _float32_add(type_: TensorType) -> float:
    return FLOAT32_ADD_GE * type_.size


@dataclass(frozen=True, slots=True)
class Kind:
    """``area`` for a shape, ``bits`` of one carried element (None: those of the activation), and how
    many results as wide as it are stored; ``condition``: one more bit per channel is."""

    area: Callable[[TensorType], float]
    bits: int | None = None
    stored: int = 1
    condition: bool = False


KINDS: dict[str, Kind] = {
    "or": Kind(_or),
    "mux": Kind(_mux, stored=2, condition=True),
    "integer_add": Kind(_integer_add, INTEGER_BITS),
    "float32_add": Kind(_float32_add, 32),
}
"""The kinds of skips that are compared."""


def skip_costs(type_: TensorType) -> dict[str, SkipCost]:
    """Every kind of skip around activations of one type."""
    costs = {}
    for name, kind in KINDS.items():
        width = kind.bits or type_.bits
        registers = kind.stored * width * type_.size + kind.condition * type_.channels
        costs[name] = SkipCost(kind.area(type_), width * type_.size, width * -(-type_.size // 8), registers)
    return costs


@dataclass(frozen=True, slots=True)
class Connection:
    """One place where a program joins two branches.

    ``name``: the joined value. ``kind``: a value of ``SKIP_OPS``, "orthogonal" or "quotient". ``type``: the
    activations that are joined, the narrowest of them. ``carried``: the stream around the branch.
    ``nodes``: the results of every node the connection is made of, in order.
    """

    name: str
    layer: str
    kind: str
    type: TensorType
    carried: TensorType
    nodes: tuple[str, ...]

    def cost(self, layers: Mapping[str, NodeCost]) -> SkipCost:
        """What the connection itself costs: the fully parallel circuits of its nodes, from all of
        ``layers`` by name."""
        cells = [layers[name].circuits.parallel for name in self.nodes]
        logic = sum(c.logic_ge for c in cells)
        registers = sum(c["register"] for c in cells)
        return SkipCost(logic, self.carried.bits * self.carried.size, stored_bytes(self.carried), registers)


def connections(program: Program) -> tuple[Connection, ...]:
    """Every place where ``program`` joins two branches, in order.

    A connection is all nodes of one call of a module, the nodes of one layer that follow each other, if
    they join branches once and have no weights. Otherwise the join stands alone; but a ``Select`` takes
    along the join that it alone reads, and the nodes that do nothing but make its condition. A call that
    reads one value alone joins no branches: a quadratic norm adds what it makes itself.
    """
    ends = _join_ends(program)
    for call in _calls(program):
        within = {ends[index] for index in call if index in ends}
        if len(_read_by(program.nodes[index] for index in call)) < 2:
            ends = {index: end for index, end in ends.items() if end not in call}
        elif len(within) == 1 and within <= {*call}:
            ends |= dict.fromkeys(call, within.pop())
    members: dict[int, list[Node]] = {}
    for index in sorted(ends):
        members.setdefault(ends[index], []).append(program.nodes[index])
    paths = _paths(program)
    return tuple(_connection(program, program.nodes[end], members[end], paths) for end in sorted(members))


def _calls(program: Program) -> Iterator[range]:
    """The nodes of each call of a module without weights."""
    for layer, group in groupby(range(len(program.nodes)), lambda index: program.nodes[index].layer):
        indices = [*group]
        call = range(indices[0], indices[-1] + 1)
        if layer and not any(isinstance(program.nodes[index].op, Conv2d | Dense) for index in call):
            yield call


def _read_by(nodes: Iterable[Node]) -> set[str]:
    """What ``nodes`` read and do not make themselves."""
    made: set[str] = set()
    read: set[str] = set()
    for node in nodes:
        read.update(node.operands)
        made.add(node.result)
    return read - made


def _connection(
    program: Program, join: Node, members: list[Node], paths: Mapping[str, frozenset[str]]
) -> Connection:
    """The stream is what the fewest values lead to: the branch begins at it, or is the longer path. Of
    equally many, the widest."""
    types, shape = program.types, join.type.shape
    joined = [name for name in sorted(_read_by(members)) if types[name].shape == shape] or [
        *join.operands[-2:]
    ]
    stream = min(joined, key=lambda name: (len(paths[name]), -types[name].bits))
    narrow = min((types[name].interval for name in joined), key=lambda interval: interval.bits)
    return Connection(
        join.result,
        join.layer,
        _kind(join, members),
        TensorType(shape, narrow),
        TensorType(shape, types[stream].interval),
        tuple(node.result for node in members),
    )


def _kind(join: Node, members: Iterable[Node]) -> str:
    if isinstance(join.op, Add):
        if any(isinstance(node.op, RoundDiv) for node in members):
            return "orthogonal"
        if any(isinstance(node.op, Lookup) and node.result in join.operands for node in members):
            return "quotient"
    return SKIP_OPS[type(join.op)]


def _paths(program: Program) -> dict[str, frozenset[str]]:
    """Every value that leads to each value."""
    paths: dict[str, frozenset[str]] = {name: frozenset() for name in program.types}
    for node in program.nodes:
        paths[node.result] = frozenset(node.operands).union(*(paths[name] for name in node.operands))
    return paths


def _join_ends(program: Program) -> dict[int, int]:
    """For every node that belongs to a join, the node that ends the join."""
    readers = _readers(program)
    joins = _joins(program)
    ends: dict[int, int] = {}
    joined: set[str] = set()
    conditions: set[str] = set()
    for index, node in reversed([*enumerate(program.nodes)]):
        read_by = readers[node.result]
        within = {ends.get(reader) for reader in read_by}  # None: a node outside all joins
        if node.result in conditions - joined and len(within) == 1 and None not in within:
            ends[index] = ends[min(read_by)]
            conditions.update(node.operands)
        elif node.result in joins:
            ends[index] = next(
                (r for r in read_by if read_by == {ends.get(r)} and _is_select(program, r)), index
            )
            conditions.update(node.operands[:-2])
            joined.update(node.operands[-2:])
    return ends


def _joins(program: Program) -> set[str]:
    """The results of all nodes that join two branches."""
    types = program.types
    gates = {(n.layer, n.result): n.operands[0] for n in program.nodes if isinstance(n.op, Lookup)}

    def gated(node: Node) -> bool:
        one, other = node.operands
        return gates.get((node.layer, one), other) != other or gates.get((node.layer, other), one) != one

    return {
        node.result
        for node in program.nodes
        if type(node.op) in SKIP_OPS
        and len({types[name].shape for name in node.operands[-2:]}) == 1
        and (not isinstance(node.op, Mul) or gated(node))
    }


def _is_select(program: Program, index: int) -> bool:
    return isinstance(program.nodes[index].op, Select)


def _readers(program: Program) -> dict[str, set[int]]:
    """The nodes that read each value; what is returned is read after the last node."""
    readers: dict[str, set[int]] = {name: set() for name in program.types}
    for index, node in enumerate(program.nodes):
        for operand in node.operands:
            readers[operand].add(index)
    for name in program.outputs:
        readers[name].add(len(program.nodes))
    return readers


def skip_table(program: Program, layers: Iterable[NodeCost]) -> dict[str, object]:
    """The ``skip_cost`` object of a report; ``layers``: the costs of the nodes.

    ``present``: whether the program has skips. ``per_element``: each kind for one activation of the first
    row of ``connections`` (one bit if there is none). ``connections``: each kind for each connection, and
    ``own``, the connection as it is. Where there is none: each kind for every Threshold image that a skip
    could be put around, without ``kind`` and ``own``.
    """
    costs = {layer.name: layer for layer in layers}
    found = connections(program)
    images = [n for n in program.nodes if isinstance(n.op, Threshold) and len(n.type.shape) == 3]
    rows = [
        _row(costs[c.name], c.type) | {"kind": c.kind, "own": c.cost(costs).to_json()} for c in found
    ] or [_row(costs[node.result], node.type) for node in images]
    types = [at.type for at in found or images]
    element = TensorType((1, 1, 1), types[0].interval if types else BIT)
    return {"present": bool(found), "per_element": _json(element), "connections": rows}


def _row(at: NodeCost, type_: TensorType) -> dict[str, object]:
    shape = list(type_.shape)
    return {"name": at.name, "op": at.op, "shape": shape, "activation_bits": type_.bits} | _json(type_)


def _json(type_: TensorType) -> dict[str, object]:
    return {kind: cost.to_json() for kind, cost in skip_costs(type_).items()}
