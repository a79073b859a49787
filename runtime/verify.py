"""The verifier: everything a program must satisfy before it may run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime import strict_json
from runtime.errors import ProgramError
from runtime.ir import Program, check_name, infer_node
from runtime.types import TensorType, check_type

NODE_LIMIT = 100_000
"""Most nodes a program may have."""


def verify(program: Program) -> None:
    """Raise ProgramError, naming the value, unless every rule of the IR holds.

    Names are unique and defined before use; every type is re-inferred and equals the stored one, so
    no accumulator can overflow; outputs exist; metadata is finite JSON.
    """
    check_name(program.name, "the program name")
    if not program.inputs or not program.outputs:
        raise ProgramError("a program must have at least one input and one output")
    if len(program.nodes) > NODE_LIMIT:
        raise ProgramError(f"a program may have at most {NODE_LIMIT} nodes, not {len(program.nodes)}")
    types = _verify_inputs(program)
    _verify_nodes(program, types)
    if len(set(program.outputs)) != len(program.outputs):
        raise ProgramError("output names must be unique")
    for name in program.outputs:
        if name not in types:
            raise ProgramError(f"output {name!r} is not a value of the program")
    verify_metadata(program.metadata)


def _verify_inputs(program: Program) -> dict[str, TensorType]:
    types: dict[str, TensorType] = {}
    for value in program.inputs:
        check_name(value.name, "an input name")
        if value.name in types:
            raise ProgramError(f"value {value.name!r} is defined twice")
        check_type(value.type)
        types[value.name] = value.type
    return types


def _verify_nodes(program: Program, types: dict[str, TensorType]) -> None:
    for node in program.nodes:
        check_name(node.result, "a value name")
        if node.layer:
            check_name(node.layer, "a layer name")
        if node.result in types:
            raise ProgramError(f"value {node.result!r} is defined twice")
        for operand in node.operands:
            if operand not in types:
                raise ProgramError(f"{node.result}: operand {operand!r:.80} is used before it is defined")
        inferred = infer_node(node.op, tuple(types[o] for o in node.operands), node.result)
        if inferred != node.type:
            raise ProgramError(f"{node.result}: type is {node.type}, inferred {inferred}")
        types[node.result] = inferred


def verify_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise ProgramError unless ``metadata`` is a JSON object with finite numbers."""
    try:
        same = strict_json.loads(strict_json.dumps(dict(metadata))) == dict(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(f"metadata must be plain JSON: {error}") from None
    if not same:
        raise ProgramError("metadata must be plain JSON: lists, objects with text keys, numbers, text")
