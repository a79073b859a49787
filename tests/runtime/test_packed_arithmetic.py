"""Arithmetic in small dtypes equals the definition, in whatever dtype the operands are held."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.ops import (
    Add,
    Clip,
    Concat,
    FloorSqrt,
    Hadamard,
    Lookup,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    ShiftRight,
    Slice,
    Square,
    Sub,
    Transpose,
)
from runtime.packed import arithmetic, moves
from runtime.packed.layout import BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST, narrow
from runtime.types import INT64_LIMIT, Interval, TensorType
from tests.runtime.packed_runs import run_kernel

COMPILERS = {**arithmetic.COMPILERS, **moves.COMPILERS}
ORDERS = (BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST)
SHAPE, BATCH = (4, 3, 5), 6
RNG = np.random.default_rng(4)
BYTE, CODE, WORD = Interval(0, 255), Interval(-7, 7), Interval(-(2**20), 2**20)
MULTIPLIER, OFFSET, SHIFT = np.array([3, -3, 90, 1]), np.array([0, 7, -900, 0]), np.array([0, 1, 5, 62])

CASES: dict[str, tuple[Op, list[Interval], type[np.integer]]] = {
    "sum that stays a byte": (Add(), [Interval(0, 200), Interval(-5, 55)], np.int16),
    "sum of codes": (Add(), [CODE, CODE], np.int8),
    "difference of bytes": (Sub(), [BYTE, BYTE], np.int16),
    "difference that is a byte": (Sub(), [Interval(200, 255), Interval(0, 200)], np.uint8),
    "product of codes": (Mul(), [CODE, Interval(-18, 18)], np.int8),
    "product above 32 bits": (Mul(), [WORD, WORD], np.int64),
    "square that is a byte": (Square(), [Interval(-15, 3)], np.uint8),
    "sum over axes": (ReduceSum((0, 2)), [CODE], np.int16),
    "sum of bytes": (ReduceSum((1,)), [Interval(0, 85)], np.uint8),
    "clip to a byte": (Clip(0, 255), [WORD], np.uint8),
    "clip below": (Clip(-90, -20), [BYTE], np.int8),
    "clip above": (Clip(300, 400), [CODE], np.uint16),
    "clip nothing": (Clip(-(2**62), 2**62), [CODE], np.int8),
    "shift": (ShiftRight(3), [Interval(-100, 90)], np.int8),
    "shift past every bit": (ShiftRight(60), [CODE], np.int8),
    "shift with rounding": (ShiftRight(4, "half-up"), [Interval(-128, 127)], np.int8),
    "shift of a wide sum": (ShiftRight(31, "half-up"), [Interval(0, 2**31 - 1)], np.uint8),
    "requantize": (Requantize(MULTIPLIER, OFFSET, SHIFT, -60, 99), [CODE], np.int8),
    "requantize to a byte": (Requantize(MULTIPLIER, OFFSET, SHIFT, 0, 255), [WORD], np.uint8),
    "requantize beyond": (Requantize(MULTIPLIER, OFFSET, SHIFT, 2**40, 2**41), [CODE], np.int64),
    "shared table": (Lookup(np.arange(-60, 140, 10)[None], -9), [CODE], np.int8),
    "table of channels": (Lookup(RNG.integers(-90, 99, (4, 20)), -9), [CODE], np.int8),
    "quotient": (RoundDiv(), [Interval(-100, 100), Interval(1, 40)], np.int8),
    "wide quotient": (RoundDiv(), [Interval(-(2**52), 2**52), Interval(3, 2**52 - 1)], np.int64),
    "root": (FloorSqrt(), [Interval(0, 2**30)], np.uint16),
    "root of 52 bits": (FloorSqrt(), [Interval(2**52 - 90, 2**52)], np.uint32),
    "mix": (Hadamard(), [BYTE], np.int16),
    "reshape": (Reshape((60,)), [CODE], np.int8),
    "slice": (Slice(1, 3), [BYTE], np.uint8),
    "transpose": (Transpose((2, 0, 1)), [CODE], np.int8),
    "roll": (Roll(3), [BYTE], np.uint8),
    "join": (Concat(), [BYTE, CODE], np.int16),
}


def values_of(interval: Interval, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Uniform values with both ends among them."""
    array = RNG.integers(interval.lo, interval.hi, (BATCH, *shape), endpoint=True)
    array.reshape(-1)[:2] = interval.lo, interval.hi
    return array


def run(
    op: Op,
    types: list[TensorType],
    arrays: list[NDArray[np.integer]],
    order: str = BATCH_FIRST,
    dtypes: list[np.dtype | None] | None = None,
) -> NDArray[np.integer] | None:
    kernel = COMPILERS[type(op)](op, types, op.infer(*types))
    if kernel is None:
        return None
    orders = [order] * len(types)
    return run_kernel(kernel, types, arrays, op.infer(*types), orders, dtypes=dtypes or [None] * len(types))


def test_every_rule_has_a_case() -> None:
    assert {type(op) for op, _, _ in CASES.values()} | {MatMul} == set(COMPILERS)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
def test_results_and_their_dtypes(case: str, order: str) -> None:
    op, intervals, dtype = CASES[case]
    types = [TensorType(SHAPE, interval) for interval in intervals]
    arrays = [values_of(interval, SHAPE) for interval in intervals]
    expected = op.evaluate(*arrays)
    found = run(op, types, arrays, order)
    assert np.array_equal(found, expected)
    assert found.dtype == dtype
    wide = np.dtype(np.int64)
    for dtypes in ([wide, wide], [None, wide], [wide, None]):
        assert np.array_equal(run(op, types, arrays, order, dtypes), expected)


@pytest.mark.parametrize("op", [Add(), Sub(), Mul(), RoundDiv()], ids=lambda op: op.name)
@pytest.mark.parametrize("shapes", [((4, 3, 5), (4, 1, 1)), ((1, 3, 1), (4, 1, 5)), ((2,), (1,))])
def test_axes_of_length_1(op: Op, shapes: tuple[tuple[int, ...], ...]) -> None:
    types = [TensorType(shape, Interval(1, 100)) for shape in shapes]
    arrays = [values_of(t.interval, t.shape) for t in types]
    for order in ORDERS:
        assert np.array_equal(run(op, types, arrays, order), op.evaluate(*arrays))


@pytest.mark.parametrize("bits", [3, 10, 11, 20, 25])
def test_matrix_products_on_both_sides_of_float32(bits: int) -> None:
    interval = Interval(-(2**bits), 2**bits)
    types = [TensorType((2, 3, 7), interval), TensorType((2, 7, 4), interval)]
    arrays = [values_of(interval, t.shape) for t in types]
    found = run(MatMul(), types, arrays)
    assert np.array_equal(found, MatMul().evaluate(*arrays))
    arrays = [np.full((BATCH, *t.shape), -(2**bits)) for t in types]
    assert (run(MatMul(), types, arrays) == 7 * 4**bits).all()


def test_what_floats_do_not_hold_is_left_to_the_definition() -> None:
    wide = TensorType((2, 2), Interval(0, 2**53))
    bits = TensorType((2, 2), Interval(0, 1))
    positive = TensorType((2, 2), Interval(1, 2))
    assert run(MatMul(), [wide, bits], []) is None
    assert run(RoundDiv(), [wide, positive], []) is None
    assert run(FloorSqrt(), [TensorType((2, 2), Interval(0, 2**52 + 1))], []) is None


def test_a_range_of_64_bits_is_held_with_a_sign() -> None:
    assert narrow(Interval(0, INT64_LIMIT)) == np.int64
    assert narrow(Interval(0, 2**32 - 1)) == np.uint32
    assert narrow(Interval(0, 3), Interval(-1, 1)) == np.int8
