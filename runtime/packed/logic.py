"""Thresholds, bitwise ops, multiplexers and pooling, on bit planes or on bytes, whichever is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce

import numpy as np

from runtime.ops import And, MaxPool, Not, Op, Or, Select, Threshold, Xor
from runtime.ops.base import pad_image, window_taps
from runtime.packed.counters import Comparison
from runtime.packed.linear import Kernel
from runtime.packed.planes import Words, pack_bits
from runtime.packed.sparse import SparsePlan
from runtime.packed.value import Value, fits_planes
from runtime.types import TensorType

VERTICAL_THRESHOLDS = 3
"""Up to so many thresholds a channel are compared without unpacking the counters."""


def compile_threshold(op: Threshold, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel that compares integers, or vertical counters as they are.

    A decreasing channel counts ``K - #{x >= t + 1}``, so every channel compares the same way.
    """
    count = op.thresholds.shape[1]
    if not fits_planes(result) or count > np.iinfo(np.uint8).max:
        return None
    decreasing = op.direction < 0
    limits = op.thresholds + decreasing[:, None]

    @lru_cache(maxsize=1)
    def comparison(plan: SparsePlan) -> Comparison:
        return Comparison.of(op, plan, result.bits)

    def kernel(values: Sequence[Value]) -> Value:
        batch, counters = values[0].batch, values[0].counters
        if counters is not None and values[0].array is None and count <= VERTICAL_THRESHOLDS:
            codes = comparison(counters.plan).codes(counters.operand)
            codes = codes.reshape(len(codes), batch, *result.shape[1:])
            return Value(result, batch, array=codes.swapaxes(0, 1))
        array = values[0].as_array().swapaxes(0, 1)
        tail = (1,) * (array.ndim - 1)
        reached = np.zeros(array.shape, np.uint8)
        for k in range(count):
            reached += array >= limits[:, k].reshape(-1, *tail)
        down = decreasing.reshape(-1, *tail)
        codes = np.where(down, np.uint8(count) - reached, reached) if decreasing.any() else reached
        return Value(result, batch, array=codes.swapaxes(0, 1))

    return kernel


def _on_words(op: Op, result: TensorType, function: Callable[..., Words]) -> Kernel:
    """Kernel that applies ``function`` to the planes of all operands if any has them, else evaluates."""

    def kernel(values: Sequence[Value]) -> Value:
        batch = values[0].batch
        if all(v.words is None for v in values):
            return Value(result, batch, array=op.evaluate(*(v.as_array() for v in values)))
        return Value(result, batch, words=function(*(v.as_words() for v in values))[: result.bits])

    return kernel


def _aligned(words: Words, planes: int) -> Words:
    """``words`` with zero planes added on top up to ``planes``."""
    missing = planes - len(words)
    return np.concatenate([words, np.zeros((missing, *words.shape[1:]), np.uint64)]) if missing else words


def _elementwise(function: Callable[[Words, Words], Words]) -> Callable[..., Kernel | None]:
    def compile_(op: Or | And | Xor, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
        if not all(map(fits_planes, operands)):
            return None
        planes = max(x.bits for x in operands)
        return _on_words(op, result, lambda a, b: function(_aligned(a, planes), _aligned(b, planes)))

    return compile_


compile_or = _elementwise(np.bitwise_or)
compile_and = _elementwise(np.bitwise_and)
compile_xor = _elementwise(np.bitwise_xor)


def compile_not(op: Not, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel that inverts the used bits of every word; unused bits stay 0."""
    (x,) = operands
    if not fits_planes(x) or not fits_planes(result):
        return None
    used = pack_bits(np.ones((x.channels, 1), np.uint8)).reshape(-1, 1)

    def invert(words: Words) -> Words:
        inverted: Words = _aligned(words, op.bits) ^ used.reshape((-1,) + (1,) * (words.ndim - 2))
        return inverted

    return _on_words(op, result, invert)


def compile_select(op: Select, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel of the multiplexer, ``b ^ (c & (a ^ b))`` on words."""
    if not all(map(fits_planes, operands)):
        return None
    planes = max(x.bits for x in operands[1:])

    def select(condition: Words, a: Words, b: Words) -> Words:
        a, b = _aligned(a, planes), _aligned(b, planes)
        selected: Words = b ^ (condition & (a ^ b))
        return selected

    return _on_words(op, result, select)


def compile_max_pool(op: MaxPool, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel on planes for single bits that have them, where the maximum is an OR, else on integers."""
    (x,) = operands
    taps = window_taps((x.shape[1], x.shape[2]), op.kernel, op.stride, op.padding)

    def kernel(values: Sequence[Value]) -> Value:
        (value,) = values
        if x.bits == 1 and value.words is not None:
            padded = pad_image(value.words, op.padding)
            words = reduce(np.bitwise_or, (padded[..., *tap] for tap in taps))
            return Value(result, value.batch, words=words)
        array = value.as_array()
        padded = pad_image(array, op.padding, int(np.iinfo(array.dtype).min))
        return Value(result, value.batch, array=reduce(np.maximum, (padded[..., *tap] for tap in taps)))

    return kernel
