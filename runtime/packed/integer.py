"""Kernels on integers: what they share, and the definition as the last resort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from runtime.ops import Op
from runtime.packed.layout import BATCH_FIRST, NEVER, Call, Dtype, Layout, Work, narrow
from runtime.packed.planes import Integers
from runtime.types import TensorType

ELEMENT_NS, CALL_NS = 0.5, 1_500.0
"""Rough time of one element and of the calls of an op on integers, nanoseconds, for the listing alone."""


@dataclass(frozen=True, slots=True)
class Integer:
    """An op on integers, or on planes where its operands are; ``plan`` makes its work."""

    result: TensorType
    plan: Callable[[Sequence[Layout], int], Work]
    takes_planes: bool = False
    gives_planes: str = NEVER
    name: str = "integer"

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        work = self.plan(operands, batch)
        return (
            work
            if work.view
            else replace(work, nanoseconds=CALL_NS + ELEMENT_NS * batch * self.result.size)
        )


Compile = Callable[[Any, Sequence[TensorType], TensorType], Integer | None]


def loop_of(needed: Dtype, *layouts: Layout) -> Dtype:
    """``needed``, or as wide as the widest operand: to convert it would take longer than one pass."""
    widest = max(layout.dtype.itemsize for layout in layouts)
    return needed if needed.itemsize >= widest else np.dtype(f"i{widest}")


def elementwise(ufunc: np.ufunc, arrays: Sequence[Integers], out: Integers, loop: Dtype) -> Call:
    """A call of ``ufunc`` in dtype ``loop``, told as little as NumPy needs: on small arrays that counts."""
    *arrays, out = _in_memory_order(*arrays, out)
    if all(array.dtype == loop for array in (*arrays, out)):
        return partial(ufunc, *arrays, out=out)
    return partial(ufunc, *arrays, out=out, dtype=loop, casting="unsafe")


def _in_memory_order(*arrays: Integers) -> Sequence[Integers]:
    """Arrays that lie alike in memory with their axes in its order, others as they are."""
    steps = {(a.shape, tuple(stride // a.itemsize for stride in a.strides)) for a in arrays}
    if len(steps) > 1:
        return arrays
    axes = sorted(range(arrays[0].ndim), key=lambda axis: -arrays[0].strides[axis])
    return [array.transpose(axes) for array in arrays]


@dataclass(frozen=True, slots=True)
class Definition:
    """An op by its ``evaluate``: right for every op, with int64 copies of all it reads and writes."""

    op: Op
    operands: tuple[TensorType, ...]
    result: TensorType
    takes_planes: bool = False
    gives_planes: str = NEVER
    name: str = "definition"

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        op, elements = self.op, self.result.size + sum(x.size for x in self.operands)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            def call() -> None:
                wide = (array.astype(np.int64) for array in arrays)
                np.copyto(out, op.evaluate(*wide), casting="unsafe")

            return call

        return Work(
            Layout(BATCH_FIRST, narrow(self.result.interval)),
            bind,
            CALL_NS + 10 * ELEMENT_NS * batch * elements,
            transient=3 * 8 * batch * elements,
        )
