"""Running one kernel of the packed executor on operands in any layout."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.ops import Op
from runtime.packed.layer import Layer
from runtime.packed.layout import PLANES, Kernel, Layout, narrow
from runtime.packed.planes import pack_last, unpack_last
from runtime.types import IntArray, TensorType


def held(type_: TensorType, array: IntArray, order: str, dtype: np.dtype | None = None):
    """Layout and view of a value in an order of axes."""
    if order == PLANES:
        words = np.empty(Layout.planes().block(type_, len(array)).shape, np.uint64)
        pack_last(np.ascontiguousarray(np.moveaxis(array, 1, -1), np.uint8), words)
        return Layout.planes(), words
    layout = Layout(order, dtype or narrow(type_.interval))
    view = layout.view(np.empty(layout.block(type_, len(array)).shape, layout.dtype))
    view[...] = array
    return layout, view


def run_kernel(
    kernel: Kernel,
    types: Sequence[TensorType],
    arrays: Sequence[IntArray],
    result: TensorType,
    orders: Sequence[str],
    planes: bool = False,
    dtypes: Sequence[np.dtype | None] = (None, None, None),
) -> NDArray[np.integer]:
    """The result, (batch, *shape), of a kernel on memory that holds anything before, run twice."""
    pairs = [held(t, a, o, d) for t, a, o, d in zip(types, arrays, orders, dtypes, strict=False)]
    work, batch = kernel.work([layout for layout, _ in pairs], planes, len(arrays[0])), len(arrays[0])
    operands = [view for _, view in pairs]
    if work.view:
        return work.view(operands[0])
    blocks = [work.result.block(result, batch), *work.scratch]
    memory = [np.frombuffer(b"\xa5" * block.bytes, np.uint8).copy() for block in blocks]
    out, *scratch = (
        m[: int(np.prod(b.shape)) * b.dtype.itemsize].view(b.dtype).reshape(b.shape)
        for m, b in zip(memory, blocks, strict=True)
    )
    view = work.result.view(out)
    call = work.bind(operands, view, scratch)
    call()
    first = view.copy()
    call()
    assert np.array_equal(first, view)
    assert work.nanoseconds > 0
    if not work.result.is_planes:
        return view
    codes = np.empty((batch, *result.shape[1:], result.channels), np.uint8)
    unpack_last(out, codes)
    return np.moveaxis(codes, -1, 1)


def layer_of(op: Op, x: TensorType, threshold=None) -> Layer:
    """A layer with weights, alone or with a Threshold."""
    sums = op.infer(x)
    return Layer(op, x, sums, threshold, threshold.infer(sums) if threshold else None)


def evaluate(layer: Layer, x: IntArray) -> IntArray:
    """What the definition gives."""
    sums = layer.op.evaluate(x)
    return layer.threshold.evaluate(sums) if layer.threshold else sums
