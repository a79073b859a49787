"""What one node costs: parameters, operations, bytes of constants, cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from exporters.netlist.stages import folded_thresholds
from runtime.errors import ProgramError
from runtime.ir import Builder, Node, Program
from runtime.ops import Conv2d, Dense, Lookup, MatMul, Mul, Op, Square, Threshold
from runtime.types import Interval, TensorType
from runtime.weights import Weights
from toolchain.cost.cells import WIRES, Cells, Circuits
from toolchain.cost.gates import COSTS
from toolchain.cost.linear import linear
from toolchain.cost.memory import fused, stored_bytes


@dataclass(frozen=True, slots=True)
class Constants:
    """Bytes of an op's constants as the file stores them.

    ``weight_bytes``: packed weights. ``threshold_bytes``: thresholds and directions. ``lookup_bytes``:
    tables. ``bias_bytes``: biases, and the numbers of Requantize.
    """

    weight_bytes: int = 0
    threshold_bytes: int = 0
    lookup_bytes: int = 0
    bias_bytes: int = 0

    def __add__(self, other: Constants) -> Constants:
        return Constants(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Constants)))

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.weight_bytes + self.threshold_bytes + self.lookup_bytes + self.bias_bytes


@dataclass(frozen=True, slots=True)
class NodeCost:
    """Costs of one node.

    ``parameters``: stored weights and integer biases, zeros included; of Hamilton weights the components
    are stored, a quarter. ``nonzero``: stored weights that are not 0. ``macs``: multiply-accumulates for
    one sample, padding and zero weights included, Hamilton weights as the matrix they stand for; products
    of activations count like those with weights. ``bops``: macs times the bits of both factors.
    ``activation_bytes``: its result in the arena; 0 if it is not stored.
    """

    name: str
    op: str
    layer: str
    type: TensorType
    parameters: int = 0
    nonzero: int = 0
    macs: int = 0
    bops: int = 0
    constants: Constants = Constants()
    circuits: Circuits = WIRES
    activation_bytes: int = 0


KINDS: dict[type[Op], str] = {Threshold: "threshold_bytes", Lookup: "lookup_bytes"}
"""Which sum the integer arrays of an op belong to; ``bias_bytes`` for all others."""


def constants_of(op: Op) -> Constants:
    """Bytes of every array and every weight among the fields of ``op``."""
    parts = Constants()
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Weights):
            parts += Constants(weight_bytes=value.stored_bytes)
        elif isinstance(value, np.ndarray):
            dtype = Interval(int(value.min()), int(value.max())).dtype
            parts += Constants(**{KINDS.get(type(op), "bias_bytes"): value.size * dtype.itemsize})
    return parts


def macs_of(op: Conv2d | Dense, result: TensorType) -> int:
    positions = result.size // result.channels
    return op.weights.codes.size * positions


PRODUCTS: dict[type[Op], Callable[[Sequence[TensorType]], int]] = {
    Mul: lambda operands: 1,
    Square: lambda operands: 1,
    MatMul: lambda operands: operands[0].shape[-1],
}
"""Products of activations in one element of the result, by op."""


def _own_cost(node: Node, operands: Sequence[TensorType], circuits: Circuits) -> NodeCost:
    cost = NodeCost(
        node.result, node.op.name, node.layer, node.type, constants=constants_of(node.op), circuits=circuits
    )
    if type(node.op) in PRODUCTS:
        macs = PRODUCTS[type(node.op)](operands) * node.type.size
        return replace(cost, macs=macs, bops=macs * operands[0].bits * operands[-1].bits)
    if not isinstance(node.op, Conv2d | Dense):
        return cost
    weights, bias, macs = node.op.weights, node.op.bias, macs_of(node.op, node.type)
    return replace(
        cost,
        parameters=weights.stored.size + (0 if bias is None else bias.size),
        nonzero=int(np.count_nonzero(weights.stored)),
        macs=macs,
        bops=macs * weights.bits * operands[0].bits,
    )


def _decomposed(node: Node, operands: Sequence[TensorType]) -> NodeCost:
    """Cost of an op without a rule: the sum of the ops it decomposes into, whose results are not stored."""
    builder = Builder(node.result)
    names = [builder.input(f"operand_{i}", t.shape, t.interval) for i, t in enumerate(operands)]
    result = node.op.decompose(builder, *names)
    if result is None:
        raise ProgramError(
            f"every op needs a cost: {node.op.name} of {node.result!r} has no row in COSTS and no "
            "decompose; add one of them"
        )
    parts = _unregistered(builder.build(outputs=(result,)))
    return NodeCost(
        node.result,
        node.op.name,
        node.layer,
        node.type,
        **{key: sum(getattr(p, key) for p in parts) for key in ("parameters", "nonzero", "macs", "bops")},
        constants=sum((p.constants for p in parts), Constants()),
        circuits=sum((p.circuits for p in parts), WIRES),
    )


def _stored(cost: NodeCost) -> NodeCost:
    """With a pipeline register for every bit of the result, and its bytes."""
    bits = cost.type.bits
    registers = Circuits(
        Cells({"register": bits * cost.type.size}), Cells({"register": bits * cost.type.channels})
    )
    return replace(cost, circuits=cost.circuits + registers, activation_bytes=stored_bytes(cost.type))


def _folded(program: Program) -> dict[str, Circuits]:
    """Circuits of linear ops and of the Thresholds folded into them."""
    types, readers, found = program.types, folded_thresholds(program), {}
    for node in program.nodes:
        if (reader := readers.get(node.result)) is not None:
            found[node.result], found[reader.result] = linear(node.op, types[node.operands[0]], reader.op)
    return found


def _unregistered(program: Program) -> list[NodeCost]:
    """Costs of every node without the registers and bytes of stored results."""
    types, folded = program.types, _folded(program)
    costs = []
    for node in program.nodes:
        operands = tuple(types[operand] for operand in node.operands)
        rule = COSTS.get(type(node.op))
        if rule is None:
            costs.append(_decomposed(node, operands))
        else:
            circuits = folded.get(node.result) or rule(node.op, operands, node.type)
            costs.append(_own_cost(node, operands, circuits))
    return costs


def node_costs(program: Program) -> tuple[NodeCost, ...]:
    """Costs of every node, in order. Raises ProgramError for an op that cannot be costed."""
    unstored = fused(program)
    return tuple(
        cost if cost.name in unstored or cost.op == "Reshape" else _stored(cost)
        for cost in _unregistered(program)
    )
