"""The Hamilton product in 8 multiplications, as a program of other ops.

With H the Walsh-Hadamard matrix of order 4, w = (r, a, b, c), x = (x0, x1, x2, x3), ``*`` entry by entry,

    D  = H (H w * H x) / 4,      D_m = sum_n w_(m xor n) x_n
    p0 = 2 r x0 - D0    p1 = D1 - 2 c x2    p2 = D2 - 2 a x3    p3 = D3 - 2 b x1

is the product of ``runtime.weights.HAMILTON``: 4 multiplications for D and 4 more, in place of 16 (Howell
and Lafon, The complexity of the quaternion product, 1975). The division is exact. Everything is linear in w
and in x, so they may as well be matrices and vectors, or kernels and images: both multiplications then have
the padding, stride and dilation of the layer, and zero padding stays zero padding because H 0 = 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.errors import ProgramError
from runtime.ir import Builder, Program
from runtime.ops import Concat, Conv2d, Dense, Hadamard, Op, Requantize, Reshape, Slice, Sub
from runtime.ops.arithmetic import WALSH_HADAMARD
from runtime.types import IntArray, TensorType
from runtime.weights import MAX_LEVELS, Weights

SIGNS = (-1, 1, 1, 1)
"""Of ``D_m`` in ``p_m``."""

SUBTRACTED = ((0, -2), (3, 2), (1, 2), (2, 2))
"""(component, factor) of what is subtracted from each ``SIGNS[m] D_m``; it multiplies x0, x2, x3 and x1."""


def fast_program(op: Op, x: TensorType, clip: bool) -> Program | None:
    """``op`` in 8 multiplications, on one input of type ``x``; None if there is no such program.

    There is one for ``Conv2d`` and ``Dense`` if the weights are Hamilton, ``H w`` and ``2 w`` are within a
    value set (up to 31 levels they are), and no sum can pass 62 bits. Intervals do not know what cancels,
    so that of the result is too wide; ``clip`` appends a ``Requantize`` to that of ``op``.
    """
    if not isinstance(op, Conv2d | Dense) or not op.weights.is_hamilton:
        return None
    components = op.weights.components.astype(np.int64)
    mixed = np.tensordot(WALSH_HADAMARD, components, 1)
    subtracted = np.stack([factor * components[c] for c, factor in SUBTRACTED])
    if 2 * max(np.abs(mixed).max(), np.abs(subtracted).max()) + 1 > MAX_LEVELS:
        return None
    builder = Builder("product")
    value = builder.input("x", x.shape, x.interval)
    try:
        value = _product(builder, op, value, mixed, subtracted)
        wanted = op.infer(x)
        if clip and builder.type_of(value) != wanted:
            unscaled = np.ones(wanted.channels, np.int64), 0, wanted.interval.lo, wanted.interval.hi
            value = builder.add(_scale(*unscaled), value)
    except ProgramError:  # only by a sum that could pass 62 bits
        return None
    return builder.build((value,))


def _product(builder: Builder, op: Conv2d | Dense, x: str, mixed: IntArray, subtracted: IntArray) -> str:
    if isinstance(op, Dense):
        x = builder.add(Reshape((op.weights.shape[1], 1, 1)), x)
    products = builder.add(_block_by_block(op, mixed), builder.add(Hadamard(), x))
    sums = builder.add(Hadamard(), products)
    most = builder.type_of(sums).interval.magnitude
    quarters = builder.add(_scale(np.repeat(SIGNS, op.weights.shape[0] // 4), 2, -most, most), sums)
    block = op.weights.shape[1] // 4
    slices = (builder.add(Slice(i * block, j * block), x) for i, j in ((0, 1), (2, 4), (1, 2)))
    bias = None if op.bias is None else -op.bias
    rest = builder.add(_block_by_block(op, subtracted, bias), builder.add(Concat(), *slices))
    result = builder.add(Sub(), quarters, rest)
    return builder.add(Reshape(op.weights.shape[:1]), result) if isinstance(op, Dense) else result


def _block_by_block(op: Conv2d | Dense, blocks: IntArray, bias: IntArray | None = None) -> Conv2d:
    """``op`` as a convolution that multiplies every block of channels by its own ``blocks``.

    ``blocks``: (4, O, I) or (4, O, I, rows, columns).
    """
    shape = (op.weights.shape[0], blocks.shape[2], *(blocks.shape[3:] or (1, 1)))
    weights = Weights(blocks.reshape(shape), max(3, 2 * int(np.abs(blocks).max()) + 1))
    if isinstance(op, Dense):
        return Conv2d(weights, bias, groups=4)
    return replace(op, weights=weights, bias=bias, groups=4)


def _scale(sign: IntArray, shift: int, lo: int, hi: int) -> Requantize:
    return Requantize(sign, np.zeros_like(sign), np.full_like(sign, shift), lo, hi)
