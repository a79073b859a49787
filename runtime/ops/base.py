"""What every op is: attributes as frozen fields, and ``infer`` beside ``evaluate``.

An op holds no names and no operands; a ``Node`` of a ``Program`` wires it. Attribute values are
int, str, bool, None, tuples of int, read-only int64 arrays or ``Weights``; the file format and
the printer work from the fields alone, so a new op needs nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.types import ELEMENT_LIMIT, IntArray, Interval, TensorType

if TYPE_CHECKING:
    from runtime.ir import Builder


PAIR_LIMIT = 2**16
"""Largest kernel side, stride, padding or dilation."""


class Op:
    """Base of all ops. Subclasses are frozen dataclasses whose docstring is their specification."""

    arity: ClassVar[int | None] = 1
    """Number of operands; None for one or more."""

    @property
    def name(self) -> str:
        """The op's name in files and listings: its class name."""
        return type(self).__name__

    def infer(self, *operands: TensorType) -> TensorType:
        """Type of the result. Raises ProgramError when the operands do not fit."""
        raise NotImplementedError

    def evaluate(self, *operands: IntArray) -> IntArray:
        """Result for int64 operands of shape ``(batch, *type.shape)``. This defines the op."""
        raise NotImplementedError

    def decompose(self, builder: Builder, *operands: str) -> str | None:
        """Rebuild the op from other ops on ``builder``; the result's name, or None if it is primitive.

        Exporters and cost models fall back on it where they have no rule for the op itself.
        """
        return None


def int_array(values: object, rank: int, what: str) -> IntArray:
    """``values`` as a read-only int64 array of the given rank. Raises ProgramError."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ProgramError(f"{what} must be integers, not {array.dtype}")
    if array.ndim != rank or array.size == 0:
        raise ProgramError(
            f"{what} must be a non-empty array of rank {rank}, not shape {list(array.shape)}"
        )
    if array.dtype == np.uint64 and int(array.max()) > np.iinfo(np.int64).max:
        raise ProgramError(f"{what} must fit int64")
    array = array.astype(np.int64)  # always a copy, so freezing it touches nobody else's array
    array.setflags(write=False)
    return array


def pair(value: int | tuple[int, int], minimum: int, what: str) -> tuple[int, int]:
    """``value`` as (rows, columns), both at least ``minimum``. Raises ProgramError."""
    items = (value, value) if isinstance(value, int) else tuple(value)
    if len(items) != 2 or any(type(i) is not int or not minimum <= i <= PAIR_LIMIT for i in items):
        raise ProgramError(f"{what} must be two integers within {minimum}..{PAIR_LIMIT}, not {value!r:.80}")
    return items[0], items[1]


def window_grid(
    type_: TensorType,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Window positions (rows, columns) over a (channels, H, W) operand.

    Raises ProgramError if no window fits, or if padding makes the image larger than any value may be.
    """
    rows, columns = (
        window_size(type_.shape[1 + a], kernel[a], stride[a], padding[a], dilation[a]) for a in (0, 1)
    )
    _, height, width = type_.shape
    if type_.channels * (height + 2 * padding[0]) * (width + 2 * padding[1]) > ELEMENT_LIMIT:
        raise ProgramError(f"padding {padding} makes the operand larger than {ELEMENT_LIMIT} elements")
    return rows, columns


def window_taps(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> list[tuple[slice, slice]]:
    """Per kernel tap, row-major, where the padded image holds its element of every window.

    ``size``: (rows, columns) of the image without padding. ``padded[..., rows, columns]`` has one
    element per window position.
    """
    rows, columns = (window_size(size[a], kernel[a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    return [
        (
            slice(u * dilation[0], u * dilation[0] + (rows - 1) * stride[0] + 1, stride[0]),
            slice(v * dilation[1], v * dilation[1] + (columns - 1) * stride[1] + 1, stride[1]),
        )
        for u in range(kernel[0])
        for v in range(kernel[1])
    ]


def pad_image(x: NDArray[Any], padding: tuple[int, int], fill: int = 0) -> NDArray[Any]:
    """``x`` with ``padding`` rows and columns of ``fill`` on both sides of its last two axes."""
    (p0, p1), outer = padding, [(0, 0)] * (x.ndim - 2)
    return np.pad(x, [*outer, (p0, p0), (p1, p1)], constant_values=fill)


def window_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of window positions along one axis (floor mode). Raises ProgramError if none fits."""
    extent = dilation * (kernel - 1) + 1
    positions = (size + 2 * padding - extent) // stride + 1
    if positions < 1:
        raise ProgramError(f"window of {extent} does not fit an axis of {size} with padding {padding}")
    return positions


def require_rank(type_: TensorType, rank: int, op: str) -> None:
    """Raise ProgramError unless the operand has ``rank`` axes."""
    if len(type_.shape) != rank:
        raise ProgramError(f"{op} needs an operand of rank {rank}, not shape {list(type_.shape)}")


def require_same_shape(a: TensorType, b: TensorType, op: str) -> None:
    """Raise ProgramError unless both operands have one shape."""
    if a.shape != b.shape:
        raise ProgramError(f"{op} needs operands of one shape, not {list(a.shape)} and {list(b.shape)}")


def broadcast_shape(a: TensorType, b: TensorType, op: str) -> tuple[int, ...]:
    """Shape of an elementwise result: ranks are equal, and an axis of length 1 stretches to the other's.

    Raises ProgramError where two lengths above 1 differ.
    """
    pairs = list(zip(a.shape, b.shape, strict=False))
    if len(a.shape) != len(b.shape) or any(m != n and 1 not in (m, n) for m, n in pairs):
        raise ProgramError(
            f"{op} needs operands whose axes are equal or 1, not {list(a.shape)} and {list(b.shape)}"
        )
    return tuple(map(max, a.shape, b.shape))


def require_channels(count: int, type_: TensorType, what: str) -> None:
    """Raise ProgramError unless a per-channel attribute has one row per channel."""
    if count != type_.channels:
        raise ProgramError(f"{what} has {count} channels, its operand has {type_.channels}")


def per_channel(values: IntArray, operand: IntArray) -> IntArray:
    """Reshape ``(channels,)`` so that it broadcasts along axis 1 of a batched operand."""
    if operand.ndim == 1:
        return values
    return values.reshape((1, -1) + (1,) * (operand.ndim - 2))


def tighten(interval: Interval, lo: int, hi: int) -> Interval:
    """``interval`` clipped to ``[lo, hi]``."""
    return Interval(min(max(interval.lo, lo), hi), max(min(interval.hi, hi), lo))
