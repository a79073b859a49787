"""Every op as the circuit of one position: what it reads there, and the op that it is there.

A position is one index into all axes but the first, the channels, of the result. Where a window hangs over
the border its bits are constants. What cannot be cut (a sum over a whole image, a table of matrices) has
one position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from exporters.netlist.rules.words import Nets
from exporters.netlist.words import extend
from runtime.ops import (
    Add,
    And,
    Clip,
    Conv2d,
    FloorSqrt,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Not,
    Op,
    Or,
    ReduceSum,
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
from runtime.ops.base import window_taps
from runtime.types import ZERO, TensorType

Gather = Callable[[Nets], Nets]
"""Nets ``(*type.shape, bits)`` of an operand -> ``(positions, *local type.shape, local bits)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """An op at one position. ``op`` on operands of ``types``, which ``gathers`` cut out, gives
    ``result``."""

    op: Op
    types: tuple[TensorType, ...]
    gathers: tuple[Gather, ...]
    result: TensorType

    @staticmethod
    def of(op: Op, types: tuple[TensorType, ...], gathers: tuple[Gather, ...]) -> Local:
        """With the result that the op has on ``types``."""
        return Local(op, types, gathers, op.infer(*types))


def localize(op: Op, types: tuple[TensorType, ...], result: TensorType) -> Local:
    """``op`` on operands of ``types`` at one position of ``result``."""
    rule = _RULES.get(type(op))
    local = rule(op, types, result) if rule else None
    return local or Local.of(op, types, tuple(_whole for _ in types))


def scatter(nets: Nets, type_: TensorType, signed: bool) -> Nets:
    """Results ``(positions, *local shape, local bits)`` as the nets ``(*type_.shape, type_.bits)`` of a
    value."""
    positions, bits = nets.shape[0], nets.shape[-1]
    flat = nets.reshape(positions, -1, bits)
    if bits < type_.bits:
        fill = flat[..., -1:] if signed else np.zeros_like(flat[..., -1:])
        flat = np.concatenate([flat, np.repeat(fill, type_.bits - bits, axis=-1)], axis=-1)
    flat = flat[..., : type_.bits]
    return np.moveaxis(flat, 0, 1).reshape(*type_.shape, type_.bits)


def _whole(nets: Nets) -> Nets:
    return nets[None]


def _constant(value: int, bits: int) -> Nets:
    return np.array([value >> bit & 1 for bit in range(bits)], np.int64)


def _windows(
    op: Conv2d | SumPool | MaxPool,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    x: TensorType,
    seen: TensorType,
    fill: int,
) -> Gather:
    """Windows of an image, ``fill`` outside it, its words wide enough for ``seen``."""
    taps = window_taps((x.shape[1], x.shape[2]), kernel, op.stride, op.padding, dilation)
    outside = _constant(fill, seen.bits)

    def gather(nets: Nets) -> Nets:
        words = nets.reshape(-1, x.bits).tolist()
        wide = np.array([extend(word, x.interval.signed, seen.bits) for word in words], np.int64)
        pads = [(0, 0), *((p, p) for p in op.padding), (0, 0)]
        image = wide.reshape(*x.shape, seen.bits)
        padded = np.pad(image, pads)
        border = np.pad(np.zeros(image.shape[:-1], bool), pads[:-1], constant_values=True)
        padded[border] = outside
        views = [padded[:, *tap] for tap in taps]  # each (channels, rows, columns, bits)
        stacked = np.stack(views, axis=1).reshape(x.shape[0], *kernel, -1, seen.bits)
        return np.moveaxis(stacked, -2, 0)

    return gather


def _conv(op: Conv2d, types: tuple[TensorType, ...], result: TensorType) -> Local:
    (x,) = types
    kernel = (op.weights.shape[2], op.weights.shape[3])
    seen = replace(x, interval=x.interval.hull(ZERO) if any(op.padding) else x.interval)
    gather = _windows(op, kernel, op.dilation, x, seen, 0)
    local = Conv2d(op.weights, op.bias, groups=op.groups)
    return Local.of(local, (replace(seen, shape=(x.shape[0], *kernel)),), (gather,))


def _sum_pool(op: SumPool, types: tuple[TensorType, ...], result: TensorType) -> Local:
    (x,) = types
    seen = replace(x, interval=x.interval.hull(ZERO) if any(op.padding) else x.interval)
    gather = _windows(op, op.kernel, (1, 1), x, seen, 0)
    return Local.of(
        SumPool(op.kernel, op.kernel), (replace(seen, shape=(x.shape[0], *op.kernel)),), (gather,)
    )


def _max_pool(op: MaxPool, types: tuple[TensorType, ...], result: TensorType) -> Local:
    (x,) = types
    gather = _windows(op, op.kernel, (1, 1), x, x, x.interval.lo)
    return Local.of(MaxPool(op.kernel, op.kernel), (replace(x, shape=(x.shape[0], *op.kernel)),), (gather,))


def _elementwise(op: Op, types: tuple[TensorType, ...], result: TensorType) -> Local | None:
    """One element per channel; an operand with one channel for all keeps one."""
    if not result.shape:
        return None
    types_, gathers = [], []
    for x in types:
        types_.append(TensorType(x.shape[:1], x.interval))
        gathers.append(_columns((x.shape[0], *result.shape[1:])))
    return Local.of(op, tuple(types_), tuple(gathers))


def _columns(shape: tuple[int, ...]) -> Gather:
    """Operands broadcast to ``shape``, position by position."""

    def gather(nets: Nets) -> Nets:
        bits = nets.shape[-1]
        spread = np.broadcast_to(nets, (*shape, bits)).reshape(shape[0], -1, bits)
        return np.moveaxis(spread, 1, 0)

    return gather


def _reduce_sum(op: ReduceSum, types: tuple[TensorType, ...], result: TensorType) -> Local | None:
    (x,) = types
    if op.axes != (0,):
        return None
    gather = _columns(x.shape)
    return Local.of(ReduceSum((0,)), (replace(x, shape=x.shape[:1]),), (gather,))


def _mat_mul(op: MatMul, types: tuple[TensorType, ...], result: TensorType) -> Local | None:
    """A column of one matrix; of a stack of matrices an element of each."""
    a, b = types
    if len(a.shape) == 2:
        columns = replace(b, shape=(b.shape[0], 1))

        def each(nets: Nets) -> Nets:
            return np.broadcast_to(nets, (b.shape[1], *nets.shape))

        return Local.of(op, (a, columns), (each, lambda nets: np.moveaxis(nets, 1, 0)[:, :, None]))
    if len(a.shape) != 3:
        return None
    c, m, k = a.shape
    n = b.shape[2]

    def rows(nets: Nets) -> Nets:
        spread = np.broadcast_to(nets[:, :, None], (c, m, n, k, a.bits)).reshape(c, m * n, 1, k, a.bits)
        return np.moveaxis(spread, 1, 0)

    def columns_(nets: Nets) -> Nets:
        turned = np.moveaxis(nets, 1, 2)[:, None]
        spread = np.broadcast_to(turned, (c, m, n, k, b.bits)).reshape(c, m * n, k, 1, b.bits)
        return np.moveaxis(spread, 1, 0)

    return Local.of(op, (replace(a, shape=(c, 1, k)), replace(b, shape=(c, k, 1))), (rows, columns_))


_ELEMENTWISE: tuple[type[Op], ...] = (
    *(Threshold, Or, And, Xor, Not, Select, Add, Sub, Mul, Square),
    *(RoundDiv, FloorSqrt, ShiftRight, Clip, Requantize, Lookup),
)

_RULES: dict[type[Op], Callable[..., Local | None]] = {
    Conv2d: _conv,
    SumPool: _sum_pool,
    MaxPool: _max_pool,
    ReduceSum: _reduce_sum,
    MatMul: _mat_mul,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
}
