"""Linear ops: constant integer weights times activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import (
    Op,
    int_array,
    pad_image,
    pair,
    per_channel,
    require_rank,
    window_grid,
    window_taps,
)
from runtime.types import FLOAT64_EXACT, INT64_LIMIT, ZERO, IntArray, Interval, TensorType
from runtime.weights import HAMILTON, Weights


def accumulator_interval(weights: Weights, operand: Interval, bias: IntArray | None) -> Interval:
    """Hull over output channels of ``sum_k w_k x_k + bias`` for independent ``x_k`` in ``operand``.

    Exact for one output position. Raises ProgramError when a partial sum could pass 62 bits.
    """
    flat = weights.codes.reshape(weights.shape[0], -1)
    positive = np.maximum(flat, 0).sum(axis=1, dtype=np.int64)
    negative = np.minimum(flat, 0).sum(axis=1, dtype=np.int64)
    offset = np.zeros(1, np.int64) if bias is None else bias
    bound = int((positive - negative).max()) * operand.magnitude
    if bound + int(np.abs(offset).max()) > INT64_LIMIT:
        raise ProgramError("an accumulator would exceed 62 bits")
    lowest = positive * operand.lo + negative * operand.hi + offset
    highest = positive * operand.hi + negative * operand.lo + offset
    return Interval(int(lowest.min()), int(highest.max()))


def exact_product(x: IntArray, w: IntArray) -> IntArray:
    """``x @ w`` of int64 arrays (..., inputs) and (inputs, outputs), int64.

    Where no partial sum can pass 2**53, in whatever order it is added up, float64 holds every one of
    them exactly, and its matrix product is far faster than that of int64.
    """
    largest = int(np.abs(x).max(initial=0)) * int(np.abs(w).max(initial=0)) * len(w)
    if largest > FLOAT64_EXACT:
        product: IntArray = x @ w
        return product
    rows = x.reshape(-1, len(w)).astype(np.float64)
    return (rows @ w.astype(np.float64)).astype(np.int64).reshape(*x.shape[:-1], -1)


def apply_weights(
    product: Callable[[IntArray, IntArray], IntArray], x: IntArray, weights: Weights
) -> IntArray:
    """``product(x, codes)``, for Hamilton weights as the quaternion product of components and blocks of x.

    ``product(x, codes)`` is linear in both, with inputs on axis 1 of both, and gives outputs on axis 1.
    Block ``a`` of the result is the sum over the blocks ``b`` of x of ``sign * product(x_b, w_c)`` with
    ``(c, sign) = HAMILTON[a][b]``: what the expanded codes give, as ``Weights`` has checked.
    """
    if not weights.is_hamilton:
        return product(x, weights.codes.astype(np.int64))
    components = weights.components.astype(np.int64)
    blocks = np.split(x, 4, axis=1)
    outputs = [
        np.sum([sign * product(x_b, components[c]) for x_b, (c, sign) in zip(blocks, row, strict=True)], 0)
        for row in HAMILTON
    ]
    return np.concatenate(outputs, axis=1)


def _check_bias(bias: object, outputs: int, op: str) -> IntArray | None:
    if bias is None:
        return None
    array = int_array(bias, 1, f"{op} bias")
    if array.size != outputs:
        raise ProgramError(f"{op} bias has {array.size} entries for {outputs} outputs")
    if int(np.abs(array).max()) > INT64_LIMIT or int(array.min()) == np.iinfo(np.int64).min:
        raise ProgramError(f"{op} bias must be within 62 bits")
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Conv2d(Op):
    """Two-dimensional cross-correlation with zero padding.

    ``y[o, i, j] = bias[o] + sum_{c, u, v} w[o, c, u, v] * x[g + c, s0 i + d0 u - p0, s1 j + d1 v - p1]``
    where ``x`` is 0 outside the image and ``g`` is the first channel of the group of ``o``.

    ``weights``: (outputs, inputs / groups, rows, columns). ``bias``: (outputs,) or None.
    ``stride``, ``padding`` (both sides), ``dilation``: (rows, columns). Operand: (inputs, H, W).
    """

    weights: Weights
    bias: IntArray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if len(self.weights.shape) != 4:
            raise ProgramError(f"Conv2d weights must have rank 4, not shape {list(self.weights.shape)}")
        outputs = self.weights.shape[0]
        if self.groups < 1 or outputs % self.groups:
            raise ProgramError(f"Conv2d groups {self.groups} must divide {outputs} outputs")
        if self.weights.is_hamilton and self.groups != 1:
            raise ProgramError(f"Hamilton weights need groups 1, not {self.groups}")
        object.__setattr__(self, "bias", _check_bias(self.bias, outputs, "Conv2d"))
        object.__setattr__(self, "stride", pair(self.stride, 1, "Conv2d stride"))
        object.__setattr__(self, "padding", pair(self.padding, 0, "Conv2d padding"))
        object.__setattr__(self, "dilation", pair(self.dilation, 1, "Conv2d dilation"))

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_rank(x, 3, "Conv2d")
        outputs, inputs, rows, columns = self.weights.shape
        if x.shape[0] != inputs * self.groups:
            raise ProgramError(
                f"Conv2d weights expect {inputs * self.groups} input channels, operand has {x.shape[0]}"
            )
        height, width = window_grid(x, (rows, columns), self.stride, self.padding, self.dilation)
        seen = x.interval.hull(ZERO) if any(self.padding) else x.interval
        interval = accumulator_interval(self.weights, seen, self.bias)
        return TensorType((outputs, height, width), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        result = apply_weights(self._correlate, x, self.weights)
        return result if self.bias is None else result + per_channel(self.bias, result)

    def _correlate(self, x: IntArray, codes: IntArray) -> IntArray:
        """The op without bias and with ``codes`` as its weights."""
        padded = pad_image(x, self.padding)
        outputs, inputs, *kernel = codes.shape
        taps = window_taps(x.shape[2:], (kernel[0], kernel[1]), self.stride, self.padding, self.dilation)
        positions = padded[:, 0, *taps[0]].shape[1:]
        result = np.zeros((len(x), outputs, *positions), np.int64)
        per_group = outputs // self.groups
        for group in range(self.groups):
            source = padded[:, group * inputs : (group + 1) * inputs]
            target = slice(group * per_group, (group + 1) * per_group)
            for tap, weights in zip(taps, codes[target].reshape(per_group, inputs, -1).T, strict=True):
                values = source[:, :, *tap].transpose(0, 2, 3, 1)
                result[:, target] += exact_product(values, weights).transpose(0, 3, 1, 2)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Op):
    """Matrix-vector product: ``y[o] = bias[o] + sum_i w[o, i] * x[i]``.

    ``weights``: (outputs, inputs). ``bias``: (outputs,) or None. Operand: (inputs,).
    """

    weights: Weights
    bias: IntArray | None = None

    def __post_init__(self) -> None:
        if len(self.weights.shape) != 2:
            raise ProgramError(f"Dense weights must have rank 2, not shape {list(self.weights.shape)}")
        object.__setattr__(self, "bias", _check_bias(self.bias, self.weights.shape[0], "Dense"))

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_rank(x, 1, "Dense")
        outputs, inputs = self.weights.shape
        if x.shape[0] != inputs:
            raise ProgramError(f"Dense weights expect {inputs} inputs, operand has {x.shape[0]}")
        return TensorType((outputs,), accumulator_interval(self.weights, x.interval, self.bias))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        result = apply_weights(lambda block, codes: exact_product(block, codes.T), x, self.weights)
        return result if self.bias is None else result + self.bias


OPS: tuple[type[Op], ...] = (Conv2d, Dense)
