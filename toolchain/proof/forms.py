"""What every output element of a stage is as a polynomial over the bits that come in.

Linear ops are asked, not read: the coefficients are what ``evaluate`` gives for one input that is 1, so
nothing here shares a rule with the circuits. Products are pairs of elements by the definition of the
op.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.circuit import Port
from exporters.netlist.stages import Stage
from runtime.ops import Add, Conv2d, Dense, MatMul, Mul, Op, ReduceSum, Square, Sub, SumPool, Threshold
from runtime.types import TensorType

LINEAR: tuple[type[Op], ...] = (Conv2d, Dense, SumPool, Add, Sub, ReduceSum)
PRODUCTS: tuple[type[Op], ...] = (Mul, Square, MatMul)

Bits = tuple[int, ...]
"""Nodes of one or two input bits, in order; none for the constant."""

PROBES = 512
"""Inputs of a linear op that are asked at once."""


@dataclass(frozen=True, slots=True)
class Form:
    """``sum(coefficient * product of bits)``, and the ends between which it lies for valid inputs."""

    terms: dict[Bits, int]
    lo: int
    hi: int


def forms(stage: Stage, ports: tuple[Port, ...]) -> Iterator[Form]:
    """The form of every output element of the op of ``stage``, before its Threshold, in order; of a
    Threshold by itself those of its operand."""
    op = stage.local.op
    if isinstance(op, Threshold):
        return _operand_forms(ports[0])
    if isinstance(op, LINEAR):
        return _linear_forms(stage, ports)
    if isinstance(op, PRODUCTS):
        return _product_forms(stage, ports)
    raise TypeError(f"{op.name} is no polynomial")


def _words(port: Port) -> list[list[tuple[int, int]]]:
    """Per element of a port its bits: node and weight."""
    bits = port.type.bits
    weights = [1 << bit for bit in range(bits)]
    if port.type.interval.signed:
        weights[-1] = -weights[-1]
    rows = port.nets.reshape(-1, bits).tolist()
    return [[(literal >> 1, w) for literal, w in zip(row, weights, strict=True)] for row in rows]


def _operand_forms(port: Port) -> Iterator[Form]:
    for word in _words(port):
        yield Form({(node,): weight for node, weight in word}, port.type.interval.lo, port.type.interval.hi)


def linear_matrix(op: Op, types: tuple[TensorType, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Coefficients (inputs, outputs) and constants (outputs) of a linear op."""
    sizes = [type_.size for type_ in types]

    def ask(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        arrays = [part.reshape(-1, *type_.shape) for part, type_ in zip(parts, types, strict=True)]
        found: NDArray[np.int64] = op.evaluate(*arrays).reshape(len(rows), -1)
        return found

    total = sum(sizes)
    constant = ask(np.zeros((1, total), np.int64))[0]
    blocks = []
    for start in range(0, total, PROBES):
        rows = np.eye(total, dtype=np.int64)[start : start + PROBES]
        blocks.append(ask(rows) - constant)
    return np.concatenate(blocks), constant


def _linear_forms(stage: Stage, ports: tuple[Port, ...]) -> Iterator[Form]:
    matrix, constants = linear_matrix(stage.local.op, stage.local.types)
    words = [word for port in ports for word in _words(port)]
    ends = [(p.type.interval.lo, p.type.interval.hi) for p in ports for _ in range(p.type.size)]
    for column, constant in zip(matrix.T, constants.tolist(), strict=True):
        terms: dict[Bits, int] = {(): constant}
        lo = hi = constant
        for element in np.flatnonzero(column).tolist():
            weight = int(column[element])
            for node, plane in words[element]:
                terms[(node,)] = terms.get((node,), 0) + weight * plane
            low, high = sorted(weight * end for end in ends[element])
            lo, hi = lo + low, hi + high
        yield Form(terms, lo, hi)


def _factors(op: Op, types: tuple[TensorType, ...]) -> Iterator[list[tuple[int, int]]]:
    """Per output element the pairs of elements whose products it sums, by their place in the ports."""
    places, first = [], 0
    for type_ in types:
        places.append(np.arange(first, first + type_.size).reshape(type_.shape))
        first += type_.size
    if isinstance(op, MatMul):
        a, b = places
        left, right = np.broadcast_arrays(a[..., :, None, :], np.swapaxes(b, -1, -2)[..., None, :, :])
        terms = a.shape[-1]
    else:
        left, right = np.broadcast_arrays(places[0], places[-1])
        terms = 1
    for x, y in zip(left.reshape(-1, terms).tolist(), right.reshape(-1, terms).tolist(), strict=True):
        yield list(zip(x, y, strict=True))


def _product_forms(stage: Stage, ports: tuple[Port, ...]) -> Iterator[Form]:
    words = [word for port in ports for word in _words(port)]
    interval = stage.local.result.interval
    for pairs in _factors(stage.local.op, stage.local.types):
        terms: dict[Bits, int] = {}
        for x, y in pairs:
            for a, left in words[x]:
                for b, right in words[y]:
                    bits = tuple(sorted({a, b}))
                    terms[bits] = terms.get(bits, 0) + left * right
        yield Form(terms, interval.lo, interval.hi)
