"""How a program is wired, without its weights: what a report needs to draw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.ir import Input, Program


@dataclass(frozen=True, slots=True)
class Outline:
    """Inputs, names of the outputs, the operands of every node by its result, and the metadata."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    operands: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any]

    @staticmethod
    def of(program: Program) -> Outline:
        """The outline of ``program``."""
        operands = {node.result: node.operands for node in program.nodes}
        return Outline(program.inputs, program.outputs, operands, program.metadata)

    def to_json(self) -> dict[str, Any]:
        """All but the operands, which a report lists with its layers."""
        inputs = [
            {
                "name": spec.name,
                "shape": list(spec.type.shape),
                "bits": spec.type.bits,
                "interval": [spec.type.interval.lo, spec.type.interval.hi],
            }
            for spec in self.inputs
        ]
        return {"inputs": inputs, "outputs": list(self.outputs), "metadata": dict(self.metadata)}
