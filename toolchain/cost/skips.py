"""What a skip connection costs: an OR or a MUX between bits, against adding integers or floats.

A logic-gated skip carries the activation bits themselves. A residual addition carries what it adds:
8-bit integers in an integer network, 32-bit floats in the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import Add, And, Op, Or, Select, Threshold, Xor
from runtime.types import BIT, TensorType
from toolchain.cost.cells import CELLS, Cells
from toolchain.cost.columns import compare, compress, integers, sum_over

SKIP_OPS: dict[type[Op], str] = {Or: "or", And: "and", Xor: "xor", Select: "mux", Add: "add"}
"""The ops that join two branches, and what such a skip is called; the branches have one shape."""

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

    ``name``: the joined value. ``kind``: a value of ``SKIP_OPS``. ``type``: the activations that are
    joined, the narrower of the two. ``carried``: the wider of the two. ``nodes``: the results of every
    node the join is made of, in order.
    """

    name: str
    layer: str
    kind: str
    type: TensorType
    carried: TensorType
    nodes: tuple[str, ...]


def _branches(node: Node, types: dict[str, TensorType]) -> tuple[TensorType, TensorType]:
    """The narrower and the wider of the two operands that ``node`` joins, in the shape of its result."""
    narrow, wide = sorted((types[name].interval for name in node.operands[-2:]), key=lambda i: i.bits)
    return TensorType(node.type.shape, narrow), TensorType(node.type.shape, wide)


def connections(program: Program) -> tuple[Connection, ...]:
    """Every place where ``program`` joins two branches, in order.

    A ``Select`` takes along the join that it alone reads, and the nodes that do nothing but make its
    condition, so that a MUX skip is one connection.
    """
    ends = _join_ends(program)
    types = program.types
    members: dict[int, list[str]] = {}
    for index in sorted(ends):
        members.setdefault(ends[index], []).append(program.nodes[index].result)
    found = []
    for end, names in sorted(members.items()):
        node = program.nodes[end]
        kind = SKIP_OPS[type(node.op)]
        found.append(Connection(node.result, node.layer, kind, *_branches(node, types), tuple(names)))
    return tuple(found)


def _join_ends(program: Program) -> dict[int, int]:
    """For every node that belongs to a join, the node that ends the join."""
    readers, types = _readers(program), program.types
    ends: dict[int, int] = {}
    joined: set[str] = set()
    conditions: set[str] = set()
    for index, node in reversed([*enumerate(program.nodes)]):
        read_by = readers[node.result]
        within = {ends.get(reader) for reader in read_by}  # None: a node outside all joins
        if node.result in conditions - joined and len(within) == 1 and None not in within:
            ends[index] = ends[min(read_by)]
            conditions.update(node.operands)
        elif _is_join(node, types):
            ends[index] = next(
                (r for r in read_by if read_by == {ends.get(r)} and _is_select(program, r)), index
            )
            conditions.update(node.operands[:-2])
            joined.update(node.operands[-2:])
    return ends


def _is_join(node: Node, types: Mapping[str, TensorType]) -> bool:
    return type(node.op) in SKIP_OPS and len({types[name].shape for name in node.operands[-2:]}) == 1


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


def _sites(program: Program) -> tuple[list[tuple[str, str, TensorType]], bool]:
    """``(value, op, type)`` of every place that joins two branches, and True; where there is none, of every
    Threshold image that a skip could be put around, and False."""
    ops = {node.result: node.op.name for node in program.nodes}
    joins = [(place.name, ops[place.name], place.type) for place in connections(program)]
    if joins:
        return joins, True
    sites = [n for n in program.nodes if isinstance(n.op, Threshold) and len(n.type.shape) == 3]
    return [(n.result, n.op.name, n.type) for n in sites], False


def skip_table(program: Program) -> dict[str, object]:
    """The ``skip_cost`` object of a report.

    ``present``: whether the program has skips. ``per_element``: each kind for one activation of the first
    connection (one bit if there is none). ``connections``: each kind for each connection.
    """
    found, present = _sites(program)
    element = TensorType((1, 1, 1), found[0][2].interval if found else BIT)
    rows = [
        {"name": name, "op": op, "shape": list(type_.shape), "activation_bits": type_.bits} | _json(type_)
        for name, op, type_ in found
    ]
    return {"present": present, "per_element": _json(element), "connections": rows}


def _json(type_: TensorType) -> dict[str, object]:
    return {kind: cost.to_json() for kind, cost in skip_costs(type_).items()}
