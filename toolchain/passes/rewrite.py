"""What passes share: rebuilding a program from changed nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from runtime.ir import Node, Program, infer_node
from runtime.verify import verify


def with_nodes(program: Program, nodes: Iterable[Node]) -> Program:
    """``program`` with other nodes, their types inferred anew, verified. Raises ProgramError."""
    types = {value.name: value.type for value in program.inputs}
    typed = []
    for node in nodes:
        type_ = infer_node(node.op, tuple(types[name] for name in node.operands), node.result)
        types[node.result] = type_
        typed.append(replace(node, type=type_))
    rebuilt = replace(program, nodes=tuple(typed))
    verify(rebuilt)
    return rebuilt


def producers(program: Program) -> dict[str, Node]:
    """The node that makes each value."""
    return {node.result: node for node in program.nodes}


def use_counts(program: Program) -> dict[str, int]:
    """How often each value is read by nodes, plus one for each output it is."""
    counts = dict.fromkeys(program.types, 0)
    for node in program.nodes:
        for operand in node.operands:
            counts[operand] += 1
    for name in program.outputs:
        counts[name] += 1
    return counts
