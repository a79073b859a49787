"""Removal of values that no output needs."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.ir import Program
from toolchain.passes.rewrite import with_nodes


@dataclass(frozen=True, slots=True)
class DeadCode:
    """Drops every node from which no output can be reached.

    Precondition: a verified program. Postcondition: same inputs and outputs, same results; every value
    except the inputs is read or is an output.
    """

    def __call__(self, program: Program) -> Program:
        needed = set(program.outputs)
        kept = []
        for node in reversed(program.nodes):
            if node.result in needed:
                needed.update(node.operands)
                kept.append(node)
        return program if len(kept) == len(program.nodes) else with_nodes(program, reversed(kept))
