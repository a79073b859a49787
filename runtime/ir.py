"""The program: an immutable list of ops in topological order over named integer values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from runtime.errors import ProgramError
from runtime.ops import OPS, Op
from runtime.types import Interval, TensorType, check_type

NAME_LIMIT = 200
"""Longest name of a value, program or layer."""


@dataclass(frozen=True, slots=True)
class Input:
    """One named input; its interval is what ``run`` accepts."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An op wired into a program: named operands, one named result, and the layer it came from."""

    op: Op
    operands: tuple[str, ...]
    result: str
    type: TensorType
    layer: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Program:
    """An integer program. Build one with ``Builder``, ``load`` or ``lower``: those verify it.

    ``inputs`` and ``nodes`` define values in order; ``outputs`` names the values that ``run`` returns.
    ``metadata`` is JSON (model, recipe, data set, accuracy, versions) and never changes a result.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def types(self) -> dict[str, TensorType]:
        """Type of every value by name."""
        return {v.name: v.type for v in self.inputs} | {n.result: n.type for n in self.nodes}

    def __repr__(self) -> str:
        return f"<Program {self.name!r}: {len(self.nodes)} ops, outputs {', '.join(self.outputs)}>"

    def last_uses(self) -> dict[str, int]:
        """Index of the last node that reads each value; ``len(nodes)`` for outputs, -1 if unread."""
        last = dict.fromkeys(self.types, -1)
        for index, node in enumerate(self.nodes):
            for operand in node.operands:
                last[operand] = index
        for name in self.outputs:
            last[name] = len(self.nodes)
        return last

    def sole_readers(self) -> dict[str, int]:
        """Index of the node that reads a value, for values read exactly once and not returned."""
        reads: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for operand in node.operands:
                reads.setdefault(operand, []).append(index)
        return {name: at[0] for name, at in reads.items() if len(at) == 1 and name not in self.outputs}

    def with_metadata(self, **entries: Any) -> Program:
        """A copy with some metadata entries replaced."""
        return replace(self, metadata={**self.metadata, **entries})


def check_name(name: object, what: str) -> str:
    """``name`` if it is printable text of 1 to 200 characters. Raises ProgramError."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
        raise ProgramError(f"{what} must be 1 to {NAME_LIMIT} printable characters, not {name!r:.80}")
    return name


def infer_node(op: Op, operands: tuple[TensorType, ...], result: str) -> TensorType:
    """Type of ``op`` on ``operands``, checked against the limits. Raises ProgramError naming ``result``."""
    try:
        wanted = op.arity
        if (wanted is None and not operands) or (wanted is not None and len(operands) != wanted):
            raise ProgramError(f"{op.name} takes {wanted or 'one or more'} operands, not {len(operands)}")
        type_ = op.infer(*operands)
        check_type(type_)
    except ProgramError as error:
        raise ProgramError(f"{result}: {error}") from None
    return type_


class Builder:
    """Builds a program op by op; types are inferred, and checked, at once.

    Examples:
        >>> b = Builder("tiny")
        >>> x = b.input("image", (1, 8, 8), Interval(0, 16))
        >>> y = b.add(Conv2d(Weights(codes, levels=3)), x, name="conv")
        >>> program = b.build(outputs=(y,))
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []
        self._types: dict[str, TensorType] = {}
        self._layer = ""

    def type_of(self, value: str) -> TensorType:
        """Type of a value built so far. Raises ProgramError if there is none of that name."""
        if value not in self._types:
            raise ProgramError(f"value {value!r} is used before it is defined")
        return self._types[value]

    def at_layer(self, layer: str) -> None:
        """Attribute the ops added from here on to a layer of the source model."""
        self._layer = layer

    def fresh(self, hint: str) -> str:
        """An unused value name made from ``hint``."""
        base = re.sub(r"\W+", "_", hint).strip("_") or "value"
        name, count = base, 1
        while name in self._types:
            count += 1
            name = f"{base}_{count}"
        return name

    def input(self, name: str, shape: tuple[int, ...], interval: Interval) -> str:
        """Declare an input. Returns its name."""
        self._inputs.append(Input(name, TensorType(tuple(shape), interval)))
        self._types[name] = self._inputs[-1].type
        return name

    def add(self, op: Op, *operands: str, name: str = "") -> str:
        """Append ``op`` on values built before; returns the name of its result."""
        result = self.fresh(name or op.name.lower())
        types = tuple(self.type_of(operand) for operand in operands)
        type_ = infer_node(op, types, result)
        self._nodes.append(Node(op, operands, result, type_, self._layer))
        self._types[result] = type_
        return result

    def build(self, outputs: tuple[str, ...], metadata: Mapping[str, Any] | None = None) -> Program:
        """The finished, verified program."""
        from runtime.verify import verify

        program = Program(
            self._name, tuple(self._inputs), tuple(self._nodes), tuple(outputs), metadata or {}
        )
        verify(program)
        return program


def op_class(name: str) -> type[Op]:
    """The op of that name. Raises ProgramError listing the known ones."""
    if name not in OPS:
        raise ProgramError(f"op must be one of {', '.join(OPS)}, not {name!r:.80}")
    return OPS[name]
