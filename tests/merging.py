"""Several programs as one, so that one compilation tests all of them."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.ir import Builder, Program


def merged(name: str, programs: Sequence[Program]) -> Program:
    """One program that runs all of them, so that one compilation tests many; values have numbers."""
    b = Builder(name)
    outputs: list[str] = []
    for number, program in enumerate(programs):
        names: dict[str, str] = {}
        for spec in program.inputs:
            names[spec.name] = b.input(f"p{number}_{spec.name}", spec.type.shape, spec.type.interval)
        for node in program.nodes:
            b.at_layer(f"{number}.{node.layer}")
            operands = [names[operand] for operand in node.operands]
            names[node.result] = b.add(node.op, *operands, name=f"p{number}_{node.result}")
        outputs += [names[value] for value in program.outputs]
    return b.build(outputs=tuple(outputs))


def by_width(programs: Sequence[Program]) -> list[list[Program]]:
    """Programs whose every value fits 16 bits, and the others: constants of C are as wide as the widest."""
    groups: tuple[list[Program], list[Program]] = ([], [])
    for program in programs:
        groups[any(t.interval.magnitude >= 1 << 15 for t in program.types.values())].append(program)
    return [group for group in groups if group]
