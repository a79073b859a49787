"""Hamilton products in 8 multiplications instead of 16."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from exporters.legalize import unused
from exporters.netlist.stages import folded_thresholds
from runtime.errors import InputError
from runtime.ir import Node, Program
from runtime.types import TensorType
from toolchain.cost.forms import gates_of_forms
from toolchain.cost.nodes import node_costs
from toolchain.hamilton import fast_program
from toolchain.passes.rewrite import with_nodes


def _nowhere(program: Program) -> set[str]:
    return set()


def _wherever_possible(program: Program) -> set[str]:
    types, thresholds = program.types, folded_thresholds(program)
    return {node.result for node in program.nodes if _fast(node, types, thresholds) is not None}


def _where_cheaper(program: Program) -> set[str]:
    gates = gates_of_forms(program, node_costs(program))
    return {name for name, form in gates.items() if form.fast is not None and form.fast < form.direct}


CHOICES: dict[str, Callable[[Program], set[str]]] = {
    "direct": _nowhere,
    "fast": _wherever_possible,
    "cost": _where_cheaper,
}
"""The layers that become fast, by the name of the choice."""


@dataclass(frozen=True, slots=True)
class FastHamilton:
    """``Conv2d`` and ``Dense`` with Hamilton weights in the form of ``toolchain.hamilton``.

    ``choose``: ``cost``, where the cost model counts fewer gate equivalents for one output position
    (``FormGates``); ``fast``, wherever there is such a form; ``direct``, nowhere. The form takes memory: a
    machine that runs op by op stores what lies between the ops, and two larger constants in place of the
    Hamilton weights. So it is none of the ``DEFAULT_PASSES``.

    Precondition: a verified program. Postcondition: same results; the same types too, but where only a
    Threshold reads a layer; layers without such a form stay. Raises InputError for an unknown choice, and
    with ``cost`` ProgramError for an op that has no cost.
    """

    choose: str = "cost"

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise InputError(f"a Hamilton form must be one of {', '.join(CHOICES)}, not {self.choose!r}")

    def __call__(self, program: Program) -> Program:
        chosen = CHOICES[self.choose](program)
        return _rewritten(program, chosen) if chosen else program


def _fast(node: Node, types: Mapping[str, TensorType], thresholds: Collection[str]) -> Program | None:
    """The fast form of ``node``; what only a Threshold reads may have any interval."""
    return fast_program(node.op, types[node.operands[0]], clip=node.result not in thresholds)


def _rewritten(program: Program, chosen: Collection[str]) -> Program:
    types, thresholds, taken = program.types, folded_thresholds(program), set(program.types)
    nodes: list[Node] = []
    for node in program.nodes:
        fast = _fast(node, types, thresholds) if node.result in chosen else None
        nodes += [node] if fast is None else _in_place_of(node, fast, taken)
    return with_nodes(program, nodes)


def _in_place_of(node: Node, fast: Program, taken: set[str]) -> Iterator[Node]:
    """The nodes of ``fast`` between operand and result of ``node``; their values are ``result.inner``."""
    names = {fast.inputs[0].name: node.operands[0], fast.outputs[0]: node.result}
    for part in fast.nodes:
        if part.result not in names:
            names[part.result] = unused(f"{node.result}.{part.result}", taken)
        operands = tuple(names[name] for name in part.operands)
        yield replace(part, operands=operands, result=names[part.result], layer=node.layer)
