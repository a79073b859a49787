"""Circuits of pools, reductions and the ops that only move values."""

from __future__ import annotations

from functools import reduce

import numpy as np

from exporters.netlist.graph import Word
from exporters.netlist.rules.words import Builder, Nets
from exporters.netlist.words import Columns, Gates, compress, extend, larger
from runtime.ops import (
    ArgMax,
    Concat,
    MaxPool,
    Op,
    ReduceSum,
    Reshape,
    Roll,
    Slice,
    Transpose,
)
from runtime.types import TensorType


def _maximum(net: Gates, a: Word, b: Word, signed: bool) -> Word:
    wins = larger(net, a, b, signed)
    return [net.gate("mux", wins, low, high) for low, high in zip(b, a, strict=True)]


def _tree(net: Gates, cell: str, nets: Word) -> int:
    """An AND or OR of some nets."""
    left = list(nets)
    while len(left) > 1:
        left.append(net.gate(cell, left.pop(0), left.pop(0)))
    return left[0]


def _largest(net: Gates, words: list[Word], signed: bool) -> Word:
    """The largest of some words of one width."""
    if len(words[0]) == 1:
        return [_tree(net, "and" if signed else "or", [word[0] for word in words])]
    if signed or len(words[0]) != 2 or len(words) == 1:
        return reduce(lambda best, word: _maximum(net, best, word, signed), words)
    # of two bits all at once: a low bit counts where its high bit is set or none is; one after the other,
    # so that each of them and the rest share a table
    high = _tree(net, "or", [word[1] for word in words])
    none = net.gate("not", high)
    counted = [net.gate("and", word[0], net.gate("or", word[1], none)) for word in words]
    return [reduce(lambda low, bit: net.gate("or", low, bit), counted), high]


def _max_pool(
    net: Gates, op: MaxPool, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for c, i, j in np.ndindex(*result.shape):
        words = []
        for u, v in np.ndindex(*op.kernel):
            y, z = i * op.stride[0] + u - op.padding[0], j * op.stride[1] + v - op.padding[1]
            if 0 <= y < type_.shape[1] and 0 <= z < type_.shape[2]:
                words.append([int(n) for n in x[c, y, z]])
        nets[c, i, j] = _largest(net, words, type_.interval.signed)
    return nets


def _reduce_sum(
    net: Gates, op: ReduceSum, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    invert = net.inverter()
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for place in np.ndindex(*result.shape):
        summed = tuple(slice(None) if axis in op.axes else at for axis, at in enumerate(place))
        sums = Columns()
        for word in x[summed].reshape(-1, type_.bits):
            sums.add(word.tolist(), type_.interval.signed, 1, invert)
        nets[place] = compress(net, sums.nets, sums.constant, result.bits)
    return nets


def _argmax(
    net: Gates, op: ArgMax, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    players: list[tuple[Word, Word]] = [([int(n) for n in word], []) for word in x]
    while len(players) > 1:
        last = len(players) == 2
        following = []
        for left, right in zip(players[0::2], players[1::2], strict=False):
            wins = larger(net, left[0], right[0], type_.interval.signed)
            index = [net.gate("mux", wins, r, w) for w, r in zip(left[1], right[1], strict=True)]
            index.append(net.gate("not", wins))
            value = [
                net.gate("mux", wins, r, w) for w, r in zip(left[0], right[0], strict=True) if not last
            ]
            following.append((value, index))
        if len(players) % 2:
            following.append((players[-1][0], [*players[-1][1], 0]))
        players = following
    return np.array(extend(players[0][1], False, result.bits), np.int64)


def _reshape(
    net: Gates, op: Reshape, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0].reshape(*result.shape, result.bits)


def _concat(
    net: Gates, op: Concat, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    parts = [
        np.array([extend(list(w), t.interval.signed, result.bits) for w in x.reshape(-1, t.bits)]).reshape(
            *t.shape, result.bits
        )
        for x, t in zip(operands, types, strict=True)
    ]
    return np.concatenate(parts)


def _slice(
    net: Gates, op: Slice, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0][op.start : op.stop]


def _transpose(
    net: Gates, op: Transpose, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0].transpose(*op.axes, len(op.axes))


def _roll(net: Gates, op: Roll, operands: list[Nets], types: list[TensorType], result: TensorType) -> Nets:
    return np.roll(operands[0], op.shift, axis=0)


BUILDERS: dict[type[Op], Builder] = {
    MaxPool: _max_pool,
    ReduceSum: _reduce_sum,
    ArgMax: _argmax,
    Reshape: _reshape,
    Concat: _concat,
    Slice: _slice,
    Transpose: _transpose,
    Roll: _roll,
}
