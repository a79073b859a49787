"""How values lie in memory, and what a kernel says of itself before it runs.

A layout changes where the elements of a value are, never what they are: kernels read and write views of
shape ``(batch, *type.shape)``, and NumPy's loops follow the strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from runtime.packed.planes import Integers, words_for
from runtime.types import Interval, TensorType

Dtype = np.dtype[Any]
Call = Callable[[], object]
Bind = Callable[[Sequence[Integers], Integers, Sequence[Integers]], Call]

BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST = "batch first", "channels first", "channels last"
PLANES = "planes"

ALWAYS, FROM_PLANES, NEVER = "always", "from planes", "never"
"""When a kernel can write planes."""

MAX_PLANES = 8
"""Widest activation kept as planes; wider values stay integers."""

ALIGNMENT = 64
"""Every block starts at a multiple of this many bytes, a cache line."""


def narrow(*intervals: Interval) -> Dtype:
    """The smallest dtype that holds ``intervals``; not uint64, which NumPy joins with int64 to float64."""
    dtype = intervals[0].hull(*intervals).dtype
    return np.dtype(np.int64) if dtype == np.uint64 else dtype


def fits_planes(type_: TensorType) -> bool:
    """Whether values of this type can be bit planes: not negative, at most 8 bits, with channels."""
    return bool(type_.shape) and not type_.interval.signed and type_.bits <= MAX_PLANES


@dataclass(frozen=True, slots=True)
class Block:
    """Memory a plan sets aside: ``shape`` elements of ``dtype``."""

    shape: tuple[int, ...]
    dtype: Dtype

    @property
    def bytes(self) -> int:
        """Size, rounded up to the alignment."""
        return -(-math.prod(self.shape) * self.dtype.itemsize // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Layout:
    """Order of the axes and dtype of a value. ``PLANES``: (bits, words, batch, *shape[1:]) of uint64.

    ``dense``: its elements fill one block in that order, as those of a part of another value do not.
    """

    order: str
    dtype: Dtype
    dense: bool = True

    @staticmethod
    def planes() -> Layout:
        """Bit planes."""
        return Layout(PLANES, np.dtype(np.uint64))

    @property
    def is_planes(self) -> bool:
        """Whether the value is bit planes."""
        return self.order == PLANES

    def block(self, type_: TensorType, batch: int) -> Block:
        """Memory of a value."""
        channels, rest = type_.shape[:1], type_.shape[1:]
        shapes = {
            BATCH_FIRST: (batch, *type_.shape),
            CHANNELS_FIRST: (*channels, batch, *rest),
            CHANNELS_LAST: (batch, *rest, *channels),
            PLANES: (type_.bits, words_for(type_.channels), batch, *rest),
        }
        return Block(shapes[self.order], self.dtype)

    def view(self, memory: Integers) -> Integers:
        """``memory`` of a block as (batch, *shape); planes as they are."""
        if self.order == CHANNELS_FIRST and memory.ndim > 1:
            return memory.swapaxes(0, 1)
        return np.moveaxis(memory, -1, 1) if self.order == CHANNELS_LAST and memory.ndim > 1 else memory

    def memory(self, view: Integers) -> Integers:
        """The array of a block, from what ``view`` made of it."""
        if self.order == CHANNELS_FIRST and view.ndim > 1:
            return view.swapaxes(0, 1)
        return np.moveaxis(view, 1, -1) if self.order == CHANNELS_LAST and view.ndim > 1 else view

    def with_dtype(self, dtype: Dtype) -> Layout:
        """The same order of axes with elements of another dtype."""
        return Layout(BATCH_FIRST if self.is_planes else self.order, dtype)


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel does at one batch size.

    ``result``: layout of what it writes. ``scratch``: blocks it needs while it runs. ``transient``: bytes
    that its calls allocate beside them. ``bind``: makes the call that computes, from views of the operands,
    of the result and of the scratch. ``view``: makes the result from the first operand without copying it;
    such a work has nothing to compute.
    """

    result: Layout
    bind: Bind | None
    nanoseconds: float = 0.0
    scratch: tuple[Block, ...] = ()
    transient: int = 0
    tile: str = ""
    view: Callable[[Integers], Integers] | None = None


def run_all(calls: Sequence[Call]) -> None:
    """Make ``calls`` one after the other."""
    for call in calls:
        call()


class Kernel(Protocol):
    """One way to compute a node, or a layer with the Threshold behind it, at any batch size.

    ``name``: ``xor-count``, ``bit-sliced``, ``blas``, ``integer`` or ``definition``. ``takes_planes``:
    whether operands may be planes. ``gives_planes``: whether it can write planes: always, only where its
    operands are planes, or never.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes_planes(self) -> bool: ...

    @property
    def gives_planes(self) -> str: ...

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work on operands of those layouts; ``planes``: whether to write planes if it can."""
        ...
