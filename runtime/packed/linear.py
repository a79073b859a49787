"""Convolution and matrix product on bit planes.

For a weight of sign bit ``neg`` and magnitude planes ``m_i`` and an activation plane ``a``:
``sum_k w_k a_k = sum_i 2^i (popcount((a ^ neg) & m_i) - popcount(neg & m_i))``. A plane ``m_i`` that every
weight has, as ``m_0`` with an even number of levels, need not mask: unused bits of ``a`` and ``neg`` are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.ops import Conv2d, Dense
from runtime.ops.base import pad_image, window_taps
from runtime.packed.planes import WORD, Value, Words, fits_planes, pack_bits
from runtime.types import TensorType
from runtime.weights import planes_of

TILE_WORDS = 1 << 16
"""Words of one tile of the product: half a megabyte, so that it stays in the second-level cache."""

Kernel = Callable[[Sequence[Value]], Value]
Accumulator = NDArray[Any]


def join_taps(taps: Sequence[Words], channels: int) -> Words:
    """Words of a whole patch from the words of its taps, each (words, *rest).

    Taps of up to 32 channels share a word; wider ones lie one after the other.
    """
    if channels > WORD // 2:
        return np.concatenate(taps)
    per_word = WORD // channels
    joined = np.zeros((-(-len(taps) // per_word), *taps[0].shape[1:]), np.uint64)
    for index, tap in enumerate(taps):
        joined[index // per_word] |= tap[0] << np.uint64(channels * (index % per_word))
    return joined


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Weight planes in patch order: ``neg`` and every magnitude plane are (words, outputs).

    A magnitude plane is None where every weight has its bit.
    ``offset``: (outputs, 1), what one activation plane of weight 1 subtracts, in a dtype that holds
    every partial sum.
    """

    neg: Words
    magnitudes: tuple[Words | None, ...]
    offset: Accumulator


def pack_weights(codes: NDArray[np.int8], levels: int, top: int) -> PackedWeights:
    """Pack ``codes`` of shape (outputs, channels, rows, columns) for activations in 0..``top``."""
    outputs, channels, rows, columns = codes.shape
    planes = planes_of(codes, levels)
    packed = [
        join_taps([pack_bits(p[:, :, u, v].T) for u, v in np.ndindex(rows, columns)], channels)
        for p in planes
    ]
    flat = planes.reshape(len(planes), outputs, -1)
    negative = np.stack([(flat[0] & m).sum(axis=1) for m in flat[1:]])
    offset = (negative << np.arange(len(negative))[:, None]).sum(axis=0)
    bound = int(np.abs(codes.astype(np.int64)).reshape(outputs, -1).sum(axis=1).max()) * 2 * (top + 1)
    dtype = np.int32 if bound < 2**31 else np.int64
    magnitudes = (None if p.all() else m for p, m in zip(planes[1:], packed[1:], strict=True))
    return PackedWeights(packed[0], tuple(magnitudes), offset.astype(dtype)[:, None])


def dot(patches: Words, weights: PackedWeights) -> Accumulator:
    """Sums of shape (outputs, positions) from patches of shape (planes, words, positions).

    The longer of the two axes is the inner one, so that NumPy's loops stay long at any batch size.
    """
    planes, _, positions = patches.shape
    outputs = weights.offset.size
    result = np.empty((outputs, positions), weights.offset.dtype)
    step = max(1, TILE_WORDS // outputs)
    wide = min(step, positions) >= outputs
    for start in range(0, positions, step):
        tile = patches[:, :, start : start + step]
        if wide:
            result[:, start : start + step] = _tile(tile[:, :, None, :], weights, (slice(None), None))
        else:
            result[:, start : start + step] = _tile(tile[:, :, :, None], weights, (None,)).T
    result -= weights.offset * ((1 << planes) - 1)
    return result


def _tile(tile: Words, weights: PackedWeights, axes: tuple[Any, ...]) -> Accumulator:
    """Weighted popcounts of one tile; ``axes`` lays the outputs along the other axis."""
    planes, words = tile.shape[:2]
    shape = np.broadcast_shapes(tile.shape[2:], weights.neg[0][axes].shape)
    total = np.zeros(shape, weights.offset.dtype)
    flipped, masked = np.empty(shape, np.uint64), np.empty(shape, np.uint64)
    ones = np.empty(shape, np.uint8)
    for plane in range(planes):
        counts = np.zeros((len(weights.magnitudes), *shape), np.uint16 if words < 1024 else np.uint32)
        for word in range(words):
            np.bitwise_xor(tile[plane, word], weights.neg[word][axes], out=flipped)
            for count, magnitude in zip(counts, weights.magnitudes, strict=True):
                if magnitude is not None:
                    np.bitwise_and(flipped, magnitude[word][axes], out=masked)
                np.bitwise_count(flipped if magnitude is None else masked, out=ones)
                np.add(count, ones, out=count)
        for i, count in enumerate(counts):
            total += count.astype(total.dtype) << (plane + i)
    return total


def _with_bias(sums: Accumulator, op: Conv2d | Dense, result: TensorType) -> Accumulator:
    if op.bias is None:
        return sums
    dtype = sums.dtype if result.interval.magnitude < 2**31 else np.dtype(np.int64)
    biased: Accumulator = sums.astype(dtype) + op.bias.astype(dtype)[:, None]
    return biased


def compile_conv2d(op: Conv2d, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel of a convolution on planes, or None where it must stay in integers."""
    (x,) = operands
    if not fits_planes(x) or op.groups != 1:
        return None
    codes = op.weights.codes
    weights = pack_weights(codes, op.weights.levels, x.interval.hi)

    def kernel(values: Sequence[Value]) -> Value:
        patches = _patches(values[0].as_words(), op, x)
        sums = _with_bias(dot(patches, weights), op, result)
        batch = values[0].batch
        array = sums.reshape(len(codes), batch, *result.shape[1:]).swapaxes(0, 1)
        return Value(result, batch, array=array)

    return kernel


def _patches(words: Words, op: Conv2d, x: TensorType) -> Words:
    """(planes, words, positions) of every window of (planes, words, batch, H, W)."""
    rows, columns = op.weights.shape[2:]
    padded = pad_image(words, op.padding)
    size = (x.shape[1], x.shape[2])
    taps = [
        padded[..., *tap] for tap in window_taps(size, (rows, columns), op.stride, op.padding, op.dilation)
    ]
    joined = [join_taps([tap[plane] for tap in taps], x.channels) for plane in range(len(words))]
    return np.stack(joined).reshape(len(words), len(joined[0]), -1)


def compile_dense(op: Dense, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel of a matrix product on planes, or None where it must stay in integers."""
    (x,) = operands
    if not fits_planes(x):
        return None
    weights = pack_weights(op.weights.codes[:, :, None, None], op.weights.levels, x.interval.hi)

    def kernel(values: Sequence[Value]) -> Value:
        sums = _with_bias(dot(values[0].as_words(), weights), op, result)
        return Value(result, values[0].batch, array=sums.swapaxes(0, 1))

    return kernel
