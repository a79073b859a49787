"""The two profiles: opset, IR version, and how each stores weights of a few levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from runtime.encodings import ENCODINGS, digits_per_byte
from runtime.value_sets import Codes, max_code
from runtime.weights import HAMILTON, Weights

if TYPE_CHECKING:
    from exporters.onnx.graph import Graph

Store = Callable[["Graph", Codes, int], str]
"""``store(graph, codes, levels)``: emits a packed initializer and its decoding to int8 ``codes``."""


def digit_table(levels: int) -> NDArray[np.int8]:
    """Codes of every byte that is written, shape ``(levels ** digits, digits)``, digits per byte."""
    digits = digits_per_byte(levels)
    every_byte = np.arange(levels**digits).astype(np.uint8)
    codes = ENCODINGS["base"].unpack(every_byte, every_byte.size * digits, levels)
    return codes.reshape(-1, digits)


def store_base(graph: Graph, codes: Codes, levels: int) -> str:
    """Base-``levels`` bytes looked up in a table: every ONNX Runtime reads this."""
    digits = digits_per_byte(levels)
    if digits == 1:
        return graph.constant(codes, "weights")
    packed = graph.constant(ENCODINGS["base"].pack(codes, levels), f"weights_base{levels}")
    table = graph.constant(digit_table(levels), f"base{levels}_table")
    indices = graph.cast(packed, np.dtype(np.int32))
    decoded = graph.emit("Gather", table, indices, axis=0)
    if codes.size % digits:
        flat = graph.emit("Reshape", decoded, graph.shape(-1))
        decoded = graph.emit("Slice", flat, graph.shape(0), graph.shape(codes.size))
    return graph.emit("Reshape", decoded, graph.shape(*codes.shape))


def store_sub_byte(graph: Graph, codes: Codes, levels: int) -> str:
    """INT2 for binary and ternary, INT4 for codes up to 7, with a Cast; larger codes as ``store_base``.

    Never DequantizeLinear: ONNX Runtime turns it, before a MatMul, into a kernel that is not exact.
    """
    top = max_code(levels)
    if top > 7:
        return store_base(graph, codes, levels)
    dtype: Any = ml_dtypes.int2 if top == 1 else ml_dtypes.int4
    return graph.cast(graph.constant(codes.astype(dtype), "weights"), np.dtype(np.int8))


def store_weights(graph: Graph, weights: Weights, order: Sequence[int], shape: tuple[int, ...]) -> str:
    """The int8 codes of ``weights``, axes permuted to ``order`` and then reshaped to ``shape``.

    Of Hamilton weights the file holds the components alone, and operators on constants, which a runtime
    folds as it loads the file, that expand them.
    """
    if weights.is_hamilton:
        return _expanded(graph, weights, order, shape)
    codes = np.ascontiguousarray(weights.codes.transpose(order)).reshape(shape)
    return graph.profile.store(graph, codes, weights.levels)


def _expanded(graph: Graph, weights: Weights, order: Sequence[int], shape: tuple[int, ...]) -> str:
    """Components and their negatives, gathered into blocks (4, 4, O, I, *kernel), and those put in place.

    Axis 0 of the codes is axes 0 and 2 of the blocks, axis 1 is axes 1 and 3, kernel axes are one each.
    """
    parts = graph.profile.store(graph, np.ascontiguousarray(weights.components), weights.levels)
    signed = graph.emit("Concat", parts, graph.emit("Neg", parts), axis=0)
    places = np.array([[c if sign > 0 else 4 + c for c, sign in row] for row in HAMILTON], np.int32)
    blocks = graph.emit("Gather", signed, graph.constant(places, "hamilton"), axis=0)
    axes = ((0, 2), (1, 3), *((a + 2,) for a in range(2, len(weights.shape))))
    perm = [a for axis in order for a in axes[axis]]
    return graph.emit("Reshape", graph.emit("Transpose", blocks, perm=perm), graph.shape(*shape))


@dataclass(frozen=True, slots=True)
class Profile:
    """What a file may use.

    ``store``: how weights are written. ``byte_arithmetic``: whether Add and GreaterOrEqual take uint8,
    which ONNX Runtime has since 1.23; the smallest type that all versions take is int32.
    """

    name: str
    opset: int
    ir_version: int
    store: Store
    byte_arithmetic: bool


PROFILES: dict[str, Profile] = {
    "portable": Profile("portable", 21, 10, store_base, byte_arithmetic=False),
    "modern": Profile("modern", 25, 13, store_sub_byte, byte_arithmetic=True),
}
