"""The text form of a program: stable, one op a line, for reading and for comparing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from runtime.ir import Node, Program
from runtime.types import IntArray, Interval
from runtime.weights import Weights

SHORT = 8
"""Arrays of up to this many elements are spelled out; longer ones are summarized."""


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _fingerprint(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()[:8]


def _array(value: IntArray) -> str:
    if value.size <= SHORT:
        return str(value.tolist()).replace(" ", "")
    interval = Interval(int(value.min()), int(value.max()))
    return f"<{_dimensions(value.shape)} in {interval} #{_fingerprint(value)}>"


def _weights(value: Weights) -> str:
    zeros = 100 * float(np.mean(value.codes == 0))
    return (
        f"<{value.value_set} {_dimensions(value.shape)} {value.encoding_label} "
        f"{zeros:.0f}% zero #{_fingerprint(value.codes)}>"
    )


FORMATS: dict[type, Callable[[Any], str]] = {
    np.ndarray: _array,
    Weights: _weights,
    tuple: lambda value: f"({','.join(map(str, value))})",
}


def attribute_text(op: Any) -> str:
    """The op's attributes as ``name=value``, None left out."""
    pairs = ((f.name, getattr(op, f.name)) for f in fields(op))
    return " ".join(f"{k}={FORMATS.get(type(v), str)(v)}" for k, v in pairs if v is not None)


def node_text(node: Node) -> str:
    """One line for one node."""
    operands = ", ".join(f"%{name}" for name in node.operands)
    attributes = attribute_text(node.op)
    call = f"{node.op.name}({operands})" + (f" {attributes}" if attributes else "")
    layer = f"  # {node.layer}" if node.layer else ""
    return f"%{node.result}: {node.type} = {call}{layer}"


def program_text(program: Program) -> str:
    """The whole program, one line per input, op and output."""
    lines = [f"program {program.name!r}"]
    lines += [f"  input %{v.name}: {v.type}" for v in program.inputs]
    lines += [f"  {node_text(node)}" for node in program.nodes]
    lines += [f"  output %{name}" for name in program.outputs]
    return "\n".join(lines) + "\n"
