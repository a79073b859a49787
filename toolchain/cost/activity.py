"""How busy a program's stored values are: shares of zeros, of bits that change, of channels that are dead.

An activation that is almost always 0, or always at its largest code, carries no information; a bit that
rarely changes costs little energy. Both depend on the inputs, so the samples are part of the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.ir import Program
from runtime.ops import Reshape
from runtime.types import IntArray, TensorType
from toolchain.cost.memory import fused

MAC_BUDGET = 400_000_000
"""Multiply-accumulates the samples may take in the interpreter: about a second."""

FEWEST, MOST = 4, 64
"""Samples, whatever the budget."""

DIGITS = 6
"""Decimals of a share in the JSON form."""


@dataclass(frozen=True, slots=True)
class ValueActivity:
    """One stored value over all samples; shares are 0..1.

    ``nonzero``, ``maximum``: of its elements that are not 0, and that are its interval's upper end.
    ``toggles``: of its bits that differ between a sample and the next. ``dead_channels``: how many of
    ``channels`` never change, neither between samples nor between positions.
    """

    nonzero: float
    maximum: float
    toggles: float
    dead_channels: int
    channels: int

    def to_json(self) -> dict[str, Any]:
        """The fields, rounded."""
        return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity of every stored value by name; ``source``: where the ``samples`` are from."""

    source: str
    samples: int
    values: Mapping[str, ValueActivity]

    def to_json(self) -> dict[str, Any]:
        """``source``, ``samples`` and ``values``."""
        values = {name: value.to_json() for name, value in self.values.items()}
        return {"source": self.source, "samples": self.samples, "values": values}


def sample_count(macs: int, there: int = MOST) -> int:
    """Samples to measure of ``there``: as many as the budget allows for a program of ``macs``."""
    return min(there, MOST, max(FEWEST, MAC_BUDGET // max(macs, 1)))


def measure_activity(program: Program, inputs: Mapping[str, NDArray[Any]], source: str) -> Activity:
    """Run ``inputs``, arrays of at least two samples by name, in the interpreter and count.

    Values that are never stored, and other names of stored ones, are left out.
    """
    unstored = {node.result for node in program.nodes if isinstance(node.op, Reshape)} | set(fused(program))
    types = program.types
    found = {
        name: _activity(value, types[name])
        for name, value in _values(program, inputs)
        if name not in unstored
    }
    return Activity(source, len(next(iter(inputs.values()))), found)


def _values(program: Program, inputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, IntArray]]:
    """Every value in order, each forgotten after its last use."""
    values: dict[str, IntArray] = {name: array.astype(np.int64) for name, array in inputs.items()}
    yield from values.items()
    last = program.last_uses()
    for index, node in enumerate(program.nodes):
        values[node.result] = node.op.evaluate(*(values[name] for name in node.operands))
        yield node.result, values[node.result]
        for name in {*node.operands, node.result}:
            if last[name] <= index:
                del values[name]


def _activity(value: IntArray, type_: TensorType) -> ValueActivity:
    changed = (value[1:] ^ value[:-1]) & ((1 << type_.bits) - 1)
    channels = type_.shape[0] if type_.shape else 1
    by_channel = np.moveaxis(value.reshape(len(value), channels, -1), 1, 0).reshape(channels, -1)
    return ValueActivity(
        nonzero=float(np.count_nonzero(value) / value.size),
        maximum=float(np.mean(value == type_.interval.hi)),
        toggles=float(np.bitwise_count(changed).sum() / (changed.size * type_.bits)),
        dead_channels=int(np.count_nonzero(np.ptp(by_channel, axis=1) == 0)),
        channels=channels,
    )
