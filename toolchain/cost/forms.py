"""The forms that the weights of a linear layer could be stored and built in, and what each takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from exporters.netlist.stages import folded_thresholds
from runtime.ir import Node, Program
from runtime.ops import Conv2d, Dense
from runtime.weights import ENCODINGS, Weights
from toolchain.cost.gates import COSTS
from toolchain.cost.nodes import NodeCost, node_costs
from toolchain.hamilton import fast_program

DENSE, SPARSE = ("base", "planes"), ("sparse",)
"""Encodings whose size the values of the weights do not change, and those they do."""


@dataclass(frozen=True, slots=True)
class FormGates:
    """Gate equivalents of one output position of a linear layer, with the Threshold that alone reads it.

    Registers are left out: both forms end in the same one, and what lies between the multiplications of the
    fast form is taken for wires, as the accumulators of the direct form are. ``direct``: the product as it
    is. ``fast``: Hamilton weights in 8 multiplications (``toolchain.hamilton``); None if there is none.
    """

    direct: float
    fast: float | None


@dataclass(frozen=True, slots=True)
class WeightForms:
    """Bytes of the weights of one layer in the smallest encoding of each kind, and gate equivalents.

    ``dense_bytes``, ``sparse_bytes``: of all weights. ``hamilton_bytes``, ``hamilton_sparse_bytes``: of the
    components. ``stored``, ``stored_bytes``: the encoding in the file. ``gates_direct_ge``,
    ``gates_fast_ge``: see ``FormGates``. None where the layer has no such form. ``zero_share``: of the
    stored weights, 0 to 1.
    """

    dense_bytes: int
    sparse_bytes: int | None
    hamilton_bytes: int | None
    hamilton_sparse_bytes: int | None
    stored: str
    stored_bytes: int
    gates_direct_ge: float
    gates_fast_ge: float | None
    zero_share: float

    def to_json(self) -> dict[str, int | float | str | None]:
        """The fields; gate equivalents with one decimal, the share with four."""
        fast = None if self.gates_fast_ge is None else round(self.gates_fast_ge, 1)
        return asdict(self) | {
            "gates_direct_ge": round(self.gates_direct_ge, 1),
            "gates_fast_ge": fast,
            "zero_share": round(self.zero_share, 4),
        }


FORM_KEYS = tuple(field.name for field in fields(WeightForms))
"""Keys of ``WeightForms.to_json``."""


def _smallest(weights: Weights, names: Sequence[str], hamilton: bool) -> int | None:
    """Fewest bytes of the named encodings, of the components or of all weights; None if none applies."""
    if hamilton and not weights.is_hamilton:
        return None
    codes = weights.components if hamilton else weights.codes
    rows = (ENCODINGS[name] for name in names)
    return min(
        (row.size(codes, weights.levels) for row in rows if row.allows(weights.levels)), default=None
    )


def _fast_ge(node: Node, program: Program, threshold: Node | None) -> float | None:
    fast = fast_program(node.op, program.types[node.operands[0]], clip=threshold is None)
    if fast is None:
        return None
    logic = sum(cost.circuits.one_position.logic_ge for cost in node_costs(fast))
    if threshold is not None:
        operand = fast.types[fast.outputs[0]]
        logic += COSTS[type(threshold.op)](threshold.op, (operand,), threshold.type).one_position.ge
    return logic


def gates_of_forms(program: Program, costs: Sequence[NodeCost]) -> dict[str, FormGates]:
    """Both forms of every Conv2d and Dense, by result. ``costs``: those of ``node_costs(program)``."""
    logic = {cost.name: cost.circuits.one_position.logic_ge for cost in costs}
    thresholds, found = folded_thresholds(program), {}
    for node in program.nodes:
        if isinstance(node.op, Conv2d | Dense):
            threshold = thresholds.get(node.result)
            direct = logic[node.result] + (logic[threshold.result] if threshold else 0.0)
            found[node.result] = FormGates(direct, _fast_ge(node, program, threshold))
    return found


def weight_forms(program: Program, costs: Sequence[NodeCost]) -> dict[str, WeightForms]:
    """Every form of the weights of every Conv2d and Dense, by result."""
    gates, found = gates_of_forms(program, costs), {}
    for node in program.nodes:
        if isinstance(node.op, Conv2d | Dense):
            weights, form = node.op.weights, gates[node.result]
            sizes = [_smallest(weights, names, h) for h in (False, True) for names in (DENSE, SPARSE)]
            stored = weights.encoding_label, weights.stored_bytes
            zeros = 1 - float(np.count_nonzero(weights.stored)) / weights.stored.size
            found[node.result] = WeightForms(*sizes, *stored, form.direct, form.fast, zeros)
    return found
