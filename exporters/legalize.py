"""Rewriting the ops an exporter has no rule for, through their own ``decompose``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from runtime.errors import ProgramError
from runtime.ir import Builder, Node, Program
from runtime.ops import Op, Reshape
from runtime.types import TensorType


def legalize(program: Program, supported: Collection[type[Op]], exporter: str) -> Program:
    """``program`` with every op whose class is not ``supported`` replaced by what it decomposes into.

    Value names are kept; the values in between are named ``result.inner``. Raises ProgramError naming
    the op and the value when an op neither has a rule nor decomposes.
    """
    types = program.types
    taken = set(types)
    nodes: list[Node] = []
    for node in program.nodes:
        nodes += _expand(node, types, supported, taken, exporter)
    return replace(program, nodes=tuple(nodes))


def _expand(
    node: Node,
    types: Mapping[str, TensorType],
    supported: Collection[type[Op]],
    taken: set[str],
    exporter: str,
) -> Iterator[Node]:
    if type(node.op) in supported:
        yield node
        return
    builder = Builder(node.op.name)
    operands = [
        builder.input(f"operand{i}", types[name].shape, types[name].interval)
        for i, name in enumerate(node.operands)
    ]
    result = node.op.decompose(builder, *operands)
    if result is None:
        known = ", ".join(sorted(op.__name__ for op in supported))
        raise ProgramError(
            f"{exporter} has no rule for op {node.op.name} of value {node.result!r} and the op does not "
            f"decompose; supported are {known}"
        )
    if result in operands:
        result = builder.add(Reshape(node.type.shape), result)
    inner = builder.build((result,))
    names = dict(zip(operands, node.operands, strict=True)) | {result: node.result}
    for part in inner.nodes:
        if part.result != result:
            names[part.result] = unused(f"{node.result}.{part.result}", taken)
    inner_types = {names[name]: type_ for name, type_ in inner.types.items()}
    for part in inner.nodes:
        wired = replace(
            part,
            operands=tuple(names[o] for o in part.operands),
            result=names[part.result],
            layer=node.layer,
        )
        yield from _expand(wired, inner_types, supported, taken, exporter)


def unused(wanted: str, taken: set[str]) -> str:
    """``wanted``, or ``wanted_2`` and so on, whichever is free; it is added to ``taken``."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name
