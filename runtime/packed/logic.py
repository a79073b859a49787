"""Thresholds, bitwise ops, multiplexers and pooling on bit planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from runtime.ops import And, MaxPool, Not, Or, Select, Threshold, Xor
from runtime.ops.base import pad_image, window_taps
from runtime.packed.linear import Kernel
from runtime.packed.planes import Value, Words, fits_planes, pack_bits, pack_codes
from runtime.types import TensorType


def compile_threshold(op: Threshold, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel that compares integers and packs the counts at once.

    A decreasing channel counts ``K - #{x >= t + 1}``, so every channel compares the same way.
    """
    count = op.thresholds.shape[1]
    if not fits_planes(result) or count > np.iinfo(np.uint8).max:
        return None
    decreasing = op.direction < 0
    limits = op.thresholds + decreasing[:, None]

    def kernel(values: Sequence[Value]) -> Value:
        array = values[0].as_array().swapaxes(0, 1)
        tail = (1,) * (array.ndim - 1)
        reached = np.zeros(array.shape, np.uint8)
        for k in range(count):
            reached += array >= limits[:, k].reshape(-1, *tail)
        down = decreasing.reshape(-1, *tail)
        codes = np.where(down, np.uint8(count) - reached, reached) if decreasing.any() else reached
        return Value(result, values[0].batch, words=pack_codes(codes, result.bits))

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

        def kernel(values: Sequence[Value]) -> Value:
            a, b = (_aligned(v.as_words(), planes) for v in values)
            return Value(result, values[0].batch, words=function(a, b)[: result.bits])

        return kernel

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

    def kernel(values: Sequence[Value]) -> Value:
        words = _aligned(values[0].as_words(), op.bits)
        mask = used.reshape((-1,) + (1,) * (words.ndim - 2))
        return Value(result, values[0].batch, words=(words ^ mask)[: result.bits])

    return kernel


def compile_select(op: Select, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel of the multiplexer, ``b ^ (c & (a ^ b))`` on words."""
    if not all(map(fits_planes, operands)):
        return None
    planes = max(x.bits for x in operands[1:])

    def kernel(values: Sequence[Value]) -> Value:
        condition = values[0].as_words()
        a, b = (_aligned(v.as_words(), planes) for v in values[1:])
        return Value(result, values[0].batch, words=(b ^ (condition & (a ^ b)))[: result.bits])

    return kernel


def compile_max_pool(op: MaxPool, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel for single bits, where the maximum is an OR; None for wider values."""
    (x,) = operands
    if not fits_planes(x) or x.bits != 1:
        return None
    taps = window_taps((x.shape[1], x.shape[2]), op.kernel, op.stride, op.padding)

    def kernel(values: Sequence[Value]) -> Value:
        padded = pad_image(values[0].as_words(), op.padding)
        words = np.bitwise_or.reduce([padded[..., *tap] for tap in taps])
        return Value(result, values[0].batch, words=words)

    return kernel
