"""Which kernels can run a node: those of layers with weights, rules on integers, else the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.ops import Op
from runtime.packed import arithmetic, logic, moves, pooling
from runtime.packed.blas import Blas
from runtime.packed.counters import BitSliced
from runtime.packed.depthwise import Depthwise
from runtime.packed.integer import Compile, Definition
from runtime.packed.layer import Layer
from runtime.packed.layout import Kernel
from runtime.packed.words import XorCount
from runtime.types import TensorType

LAYERS: tuple[Callable[[Layer], Kernel | None], ...] = (Blas.of, Depthwise.of, XorCount.of, BitSliced.of)
"""Kernels of layers with weights. ``of`` gives None for a layer that a kernel cannot run."""

COMPILERS: dict[type[Op], Compile] = {
    **logic.COMPILERS,
    **pooling.COMPILERS,
    **arithmetic.COMPILERS,
    **moves.COMPILERS,
}
"""Rules of the other ops. An op without one, or that its rule declines, runs by its ``evaluate``."""


def layer_kernels(layer: Layer) -> tuple[Kernel, ...]:
    """Every kernel that can run a layer."""
    return tuple(kernel for of in LAYERS if (kernel := of(layer)))


def kernels_of(op: Op, operands: Sequence[TensorType], result: TensorType) -> tuple[Kernel, ...]:
    """The kernel of any other node, or of a layer that has none."""
    compiler = COMPILERS.get(type(op))
    kernel = compiler and compiler(op, operands, result)
    return (kernel or Definition(op, tuple(operands), result),)
