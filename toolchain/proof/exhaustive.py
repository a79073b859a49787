"""Every valid input of a stage, or of one channel of it, through circuit and interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from exporters.netlist.circuit import Circuit
from exporters.netlist.simulate import Simulator, from_lanes, to_lanes
from exporters.netlist.stages import Stage
from runtime.ops import (
    Add,
    And,
    Clip,
    FloorSqrt,
    Lookup,
    MaxPool,
    Mul,
    Not,
    Op,
    Or,
    Requantize,
    RoundDiv,
    Select,
    ShiftRight,
    Square,
    Sub,
    SumPool,
    Threshold,
    Xor,
)
from runtime.types import IntArray, TensorType
from toolchain.proof.cones import supports

MOST_INPUTS, LAST_RESORT = 1 << 20, 1 << 30
"""Most inputs of a stage, or of one channel, that are all tried at once; and where nothing else proves it,
which may take minutes."""

VALUES = 1 << 22
"""Input values of one batch."""

BY_CHANNEL: tuple[type[Op], ...] = (
    *(Add, And, Clip, FloorSqrt, Lookup, MaxPool, Mul, Not, Or, Requantize),
    *(RoundDiv, Select, ShiftRight, Square, Sub, SumPool, Threshold, Xor),
)
"""Ops each channel of whose result depends on the same channel of the operands alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """An input for which circuit and interpreter differ. ``inputs``: per port; ``element`` of the
    output has the value ``found``, not ``wanted``."""

    inputs: tuple[IntArray, ...]
    element: int
    found: int
    wanted: int

    def __str__(self) -> str:
        values = "; ".join(f"in{i} = {_text(array)}" for i, array in enumerate(self.inputs))
        return f"element {self.element} is {self.found}, not {self.wanted}, for {values}"


def _text(array: IntArray) -> str:
    flat = array.reshape(-1).tolist()
    return str(flat if len(flat) <= 64 else flat[:64])[:-1] + (", ...]" if len(flat) > 64 else "]")


def reference(stage: Stage, arrays: list[IntArray]) -> IntArray:
    """What the interpreter makes of one position of ``stage``."""
    found: IntArray = stage.local.op.evaluate(*arrays)
    return stage.threshold.evaluate(found) if stage.threshold else found


def count(types: tuple[TensorType, ...]) -> int:
    """Valid inputs of operands of ``types``."""
    return prod((t.interval.hi - t.interval.lo + 1) ** t.size for t in types)


def channel_types(stage: Stage) -> tuple[TensorType, ...] | None:
    """Operands of one channel, None where the op does not work channel by channel."""
    if not isinstance(stage.local.op, BY_CHANNEL) or stage.threshold or not stage.local.result.shape:
        return None
    return tuple(TensorType(t.shape[1:], t.interval) for t in stage.local.types)


class Runner:
    """Circuit and interpreter side by side."""

    def __init__(self, stage: Stage, circuit: Circuit) -> None:
        self._stage, self._circuit = stage, circuit
        literals = [literal for port in circuit.inputs for literal in port.literals]
        self._simulator = Simulator(circuit.net, literals, circuit.results)

    def difference(self, arrays: list[IntArray]) -> Counterexample | None:
        """The first of these inputs, ``(samples, *shape)``, for which they differ."""
        samples = len(arrays[0])
        wanted = reference(self._stage, arrays).reshape(samples, -1)
        lanes = [
            to_lanes(array.reshape(samples, -1), port.type.bits)
            for array, port in zip(arrays, self._circuit.inputs, strict=True)
        ]
        (out,) = self._circuit.outputs
        result = self._simulator.run(np.concatenate(lanes))
        found = from_lanes(result, out.type.bits, out.type.interval.signed, samples)
        differing = np.argwhere(found != wanted)
        if not len(differing):
            return None
        sample, element = map(int, differing[0])
        inputs = tuple(array[sample] for array in arrays)
        return Counterexample(inputs, element, int(found[sample, element]), int(wanted[sample, element]))


def difference_of_all(stage: Stage, circuit: Circuit) -> Counterexample | None:
    """The first of all valid inputs for which they differ."""
    return _first(stage, circuit, stage.local.types)


def difference_by_channel(stage: Stage, circuit: Circuit) -> Counterexample | None:
    """The same where all channels run through all their inputs at once.

    That is every input if ``is_by_channel``.
    """
    types = channel_types(stage)
    assert types is not None
    return _first(stage, circuit, types)


def _first(stage: Stage, circuit: Circuit, types: tuple[TensorType, ...]) -> Counterexample | None:
    runner, total = Runner(stage, circuit), count(types)
    step = max(64, VALUES // max(1, sum(t.size for t in stage.local.types)))
    for start in range(0, total, step):
        rows = np.arange(start, min(start + step, total), dtype=np.int64)
        arrays = [
            np.ascontiguousarray(
                np.broadcast_to(part.reshape(len(rows), *_aligned(t, own)), (len(rows), *t.shape))
            )
            for part, t, own in zip(_valid(rows, types), stage.local.types, types, strict=True)
        ]
        if found := runner.difference(arrays):
            return found
    return None


def _aligned(type_: TensorType, own: TensorType) -> tuple[int, ...]:
    """The shape of ``own`` with an axis for the channels where ``type_`` has one more."""
    return own.shape if len(own.shape) == len(type_.shape) else (1, *own.shape)


def _valid(rows: IntArray, types: tuple[TensorType, ...]) -> Iterator[IntArray]:
    """The valid inputs of these numbers, ``(rows, size)`` per operand."""
    for type_ in types:
        span = type_.interval.hi - type_.interval.lo + 1
        columns = []
        for _ in range(type_.size):
            columns.append(rows % span + type_.interval.lo)
            rows = rows // span
        yield np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), np.int64)


def is_by_channel(stage: Stage, circuit: Circuit) -> bool:
    """Whether no gate mixes channels: every output depends on its own, or on operands of one for all."""
    (out,) = circuit.outputs
    channels = stage.result.channels
    rows = out.nets.reshape(channels, -1).tolist()
    own: list[set[int]] = [set() for _ in range(channels)]
    for port in circuit.inputs:
        for channel in range(channels):
            part = port.nets[channel if port.type.shape[0] > 1 else 0]
            own[channel] |= {literal >> 1 for literal in np.ravel(part).tolist()}
    flat = [literal for row in rows for literal in row]
    found = iter(supports(circuit.net, flat))
    return all(next(found) - {0} <= own[channel] for channel, row in enumerate(rows) for _ in row)


def random_difference(stage: Stage, circuit: Circuit, samples: int, seed: int = 0) -> Counterexample | None:
    """A difference on random inputs and on the ends of their ranges."""
    rng = np.random.default_rng(seed)
    return Runner(stage, circuit).difference([random_values(t, samples, rng) for t in stage.local.types])


def random_values(type_: TensorType, samples: int, rng: np.random.Generator) -> IntArray:
    """Values ``(samples, *shape)``: the lowest and the highest alone, a half with few and many at the ends
    of the range, the others uniform."""
    lo, hi = type_.interval.lo, type_.interval.hi
    array = rng.integers(lo, hi + 1, (samples, *type_.shape))
    array[0], array[1 % samples] = lo, hi
    skewed = rng.random((samples, *[1] * len(type_.shape)))
    ends = rng.random(array.shape)
    half = slice(2, samples // 2)
    array[half] = np.where(ends[half] < skewed[half], hi, lo)
    return array
