"""Convolution and matrix product on bit planes.

For a weight of sign bit ``neg`` and magnitude planes ``m_i`` and an activation plane ``a``:
``sum_k w_k a_k = sum_i 2^i (popcount((a ^ neg) & m_i) - popcount(neg & m_i))``. A plane ``m_i`` that every
weight has, as ``m_0`` with an even number of levels, need not mask: unused bits of ``a`` and ``neg`` are 0.

Where many weights are 0, ``sparse`` adds up only the others. Which form is faster depends on density, batch
and planes, so both estimate their time, with constants measured on one core of an AVX-512 server with NumPy
2.4: a word of 64 products costs ``XOR_NS + COUNT_NS`` here, and every row of a weight that is not 0 costs
``WORD_NS`` for 64 positions there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.ops import Conv2d, Dense
from runtime.ops.base import pad_image, window_taps
from runtime.packed.chunks import WORD_NS
from runtime.packed.counters import Counters
from runtime.packed.lanes import Taps
from runtime.packed.planes import WORD, Words, pack_bits, words_for
from runtime.packed.scratch import Scratch
from runtime.packed.sparse import SparsePlan
from runtime.packed.value import Value, fits_planes
from runtime.types import TensorType
from runtime.weights import Weights, max_code, planes_of

TILE_WORDS = 1 << 16
"""Words of one tile of the product: half a megabyte, so that it stays in the second-level cache."""

XOR_NS, COUNT_NS = 0.4, 0.8
"""Time of one word of one position and output: the xor, and what every magnitude bit adds, nanoseconds."""

PATCH_WORD_NS, PATCH_TAP_NS = 3_000, 6_000
"""Time of the calls for one word and for one kernel tap of a patch, nanoseconds."""

MAX_TABLE_BYTES = 1 << 26
"""Largest table of bit rows of one image."""

MAX_DENSITY = 0.5
"""Largest share of weights that are not 0 in lists, which take 8 bytes for each and row of it."""

Kernel = Callable[[Sequence[Value]], Value]
Patches = Callable[[Words], Words]
Accumulator = NDArray[Any]


def patch_words(channels: int, taps: int) -> int:
    """Words of one patch."""
    return taps * words_for(channels) if channels > WORD // 2 else -(-taps // (WORD // channels))


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


def dense_nanoseconds(weights: Weights, planes: int, positions: int) -> float:
    """Estimated time of ``dot`` and of its patches."""
    outputs, channels, taps = weights.shape[0], weights.shape[1], weights.codes[0, 0].size
    word = outputs * positions * (XOR_NS + COUNT_NS * max_code(weights.levels).bit_length())
    return planes * float(PATCH_TAP_NS * taps + patch_words(channels, taps) * (PATCH_WORD_NS + word))


def _sparse_plan(op: Conv2d | Dense, taps: Taps, planes: int, scratch: Scratch) -> SparsePlan | None:
    """The plan of sparse weights if it is the faster one at least for large batches."""
    rows = int(np.bitwise_count(np.abs(op.weights.codes)).sum()) * planes
    positions = WORD * taps.grid.used[0] * taps.grid.used[1]
    costly = WORD_NS * rows * taps.grid.lanes > dense_nanoseconds(op.weights, planes, positions)
    large = 8 * taps.rows_of(planes) * taps.grid.words(1) > MAX_TABLE_BYTES
    if costly or large or np.count_nonzero(op.weights.codes) > MAX_DENSITY * op.weights.codes.size:
        return None
    return SparsePlan.of(op.weights, op.bias, taps, planes, scratch)


def _dense(op: Conv2d | Dense, x: TensorType, result: TensorType, patches: Patches) -> Kernel:
    """Kernel by ``dot``; ``patches`` makes its words from those of the operand."""
    outputs, channels = op.weights.shape[:2]
    codes = op.weights.codes.reshape(outputs, channels, -1, 1)
    weights = pack_weights(codes, op.weights.levels, x.interval.hi)

    def kernel(values: Sequence[Value]) -> Value:
        batch = values[0].batch
        sums = _with_bias(dot(patches(values[0].as_words()), weights), op, result)
        return Value(result, batch, array=sums.reshape(outputs, batch, *result.shape[1:]).swapaxes(0, 1))

    return kernel


def _sparse(plan: SparsePlan, x: TensorType, result: TensorType) -> Kernel:
    """Kernel by index lists."""
    image = x.shape if len(x.shape) == 3 else (*x.shape, 1, 1)

    def kernel(values: Sequence[Value]) -> Value:
        batch = values[0].batch
        operand = values[0].as_array().reshape(batch, *image)
        return Value(result, batch, counters=Counters(plan, operand))

    return kernel


def _faster(
    op: Conv2d | Dense, x: TensorType, result: TensorType, plan: SparsePlan | None, patches: Patches
) -> Kernel:
    """The kernel that is estimated to be faster, if need be chosen anew for every batch size."""
    if plan is None:
        return _dense(op, x, result, patches)
    positions, sparse = result.size // result.channels, _sparse(plan, x, result)

    @lru_cache(maxsize=16)
    def is_sparse(batch: int) -> bool:
        return plan.nanoseconds(batch) <= dense_nanoseconds(op.weights, x.bits, batch * positions)

    if is_sparse(1):
        return sparse
    dense = _dense(op, x, result, patches)
    return lambda values: (sparse if is_sparse(values[0].batch) else dense)(values)


def compile_conv2d(
    op: Conv2d, operands: Sequence[TensorType], result: TensorType, scratch: Scratch
) -> Kernel | None:
    """Kernel of a convolution on planes, or None where it must stay in integers."""
    (x,) = operands
    if not fits_planes(x) or op.groups != 1:
        return None
    plan = _sparse_plan(op, tap_rows(op, x, result), x.bits, scratch)
    return _faster(op, x, result, plan, lambda words: _patches(words, op, x))


def tap_rows(op: Conv2d, x: TensorType, result: TensorType) -> Taps:
    """The taps of a convolution as bit rows."""
    _, rows, columns = result.shape
    return Taps.of(x.shape, (rows, columns), op.weights.shape[2:], op.stride, op.padding, op.dilation)


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


def compile_dense(
    op: Dense, operands: Sequence[TensorType], result: TensorType, scratch: Scratch
) -> Kernel | None:
    """Kernel of a matrix product on planes, or None where it must stay in integers."""
    (x,) = operands
    if not fits_planes(x):
        return None
    taps = Taps.of((x.channels, 1, 1), (1, 1), (1, 1), (1, 1), (0, 0), (1, 1))
    return _faster(op, x, result, _sparse_plan(op, taps, x.bits, scratch), lambda words: words)
