"""What a skip connection costs: an OR or a MUX between bits, against adding integers or floats.

A logic-gated skip carries the activation bits themselves. A residual addition carries what it adds:
8-bit integers in an integer network, 32-bit floats in the original.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.ir import Program
from runtime.ops import Add, And, Or, Select, SumPool, Threshold, Xor
from runtime.types import BIT, Interval, TensorType
from toolchain.cost.cells import Cells
from toolchain.cost.linear import linear

SKIP_OPS = (Or, And, Xor, Select, Add)

FLOAT32_ADD_GE = 5240
"""One float32 adder: 4184 um2 in 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014; areas in
Dally's NIPS 2015 tutorial) over 0.798 um2 of a NAND2. The 137 um2 of their int32 adder make 172 GE by the
same rule, and this model counts 192 for 32 full adders."""

INTEGER_BITS = 8
"""Width of the integer residual stream that is compared with."""


@dataclass(frozen=True, slots=True)
class SkipCost:
    """One way to join two branches: gate equivalents, and bits and bytes of the value carried around."""

    ge: float
    bits: int
    bytes: int

    def to_json(self) -> dict[str, float | int]:
        """The three numbers."""
        return {"ge": round(self.ge, 1), "bits": self.bits, "bytes": self.bytes}


def _or(type_: TensorType) -> float:
    return Cells({"or": type_.bits * type_.size}).ge


def _mux(type_: TensorType) -> float:
    """OR, multiplexer, and per channel the condition: the sum over all positions is at least half its
    maximum (thresholded global average pooling)."""
    positions = type_.size // type_.channels
    words = TensorType((1, positions, 1), Interval(0, (1 << type_.bits) - 1))
    half = -(-positions * words.interval.hi // 2)
    test = Threshold(np.array([[half]]), np.array([1]))
    condition = sum(c.parallel.ge for c in linear(SumPool((positions, 1), (1, 1)), words, test))
    return _or(type_) + Cells({"mux": type_.bits * type_.size}).ge + condition * type_.channels


def _integer_add(type_: TensorType) -> float:
    return Cells({"full_adder": INTEGER_BITS - 1, "half_adder": 1}).ge * type_.size


def _float32_add(type_: TensorType) -> float:
    return FLOAT32_ADD_GE * type_.size


KINDS = {
    "or": (_or, None),
    "mux": (_mux, None),
    "integer_add": (_integer_add, INTEGER_BITS),
    "float32_add": (_float32_add, 32),
}
"""Area of each kind for a shape, and the bits of one carried element (None: those of the activation)."""


def skip_costs(type_: TensorType) -> dict[str, SkipCost]:
    """Every kind of skip around activations of one type."""
    costs = {}
    for kind, (area, bits) in KINDS.items():
        width = bits or type_.bits
        costs[kind] = SkipCost(area(type_), width * type_.size, width * -(-type_.size // 8))
    return costs


def connections(program: Program) -> tuple[list[tuple[str, str, TensorType]], bool]:
    """``(value, op, type)`` of every op that joins two branches, and True; where there is none, of every
    Threshold image that a skip could be put around, and False."""
    joins = [n for n in program.nodes if isinstance(n.op, SKIP_OPS)]
    sites = [n for n in program.nodes if isinstance(n.op, Threshold) and len(n.type.shape) == 3]
    return [(n.result, n.op.name, n.type) for n in joins or sites], bool(joins)


def skip_table(program: Program) -> dict[str, object]:
    """The ``skip_cost`` object of a report.

    ``present``: whether the program has skips. ``per_element``: each kind for one activation of the first
    connection (one bit if there is none). ``connections``: each kind for each connection.
    """
    found, present = connections(program)
    element = TensorType((1, 1, 1), found[0][2].interval if found else BIT)
    rows = [
        {"name": name, "op": op, "shape": list(type_.shape), "activation_bits": type_.bits} | _json(type_)
        for name, op, type_ in found
    ]
    return {"present": present, "per_element": _json(element), "connections": rows}


def _json(type_: TensorType) -> dict[str, object]:
    return {kind: cost.to_json() for kind, cost in skip_costs(type_).items()}
