"""Formulas of products, quotients, roots, shifts, clips and sums: against circuits, and in known cases."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.ops import (
    Add,
    Clip,
    FloorSqrt,
    Lookup,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Roll,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
    SumPool,
    Transpose,
)
from runtime.types import IntArray, Interval, TensorType
from tests.programs import OP_CASES
from toolchain.cost import products
from toolchain.cost.cells import WIRES, Cells, Circuits
from toolchain.cost.circuits import build
from toolchain.cost.gates import COSTS

QUICK = settings(max_examples=60, deadline=None)
U4, U8, U16, U32, I8, I24 = (
    Interval(0, 15),
    Interval(0, 255),
    Interval(0, 2**16 - 1),
    Interval(0, 2**32 - 1),
    Interval(-128, 127),
    Interval(-(2**23), 2**23 - 1),
)
BIT, TRIT = Interval(0, 1), Interval(-1, 1)


def cost(op: Op, *types: TensorType) -> Circuits:
    return COSTS[type(op)](op, types, op.infer(*types))


def one(op: Op, *intervals: Interval) -> Cells:
    """Cells of one element."""
    return cost(op, *(TensorType((1,), interval) for interval in intervals)).parallel


def check(op: Op, types: tuple[TensorType, ...], arrays: list[IntArray]) -> None:
    """The circuit has the cells of the formula and computes what the op defines."""
    circuit = build(op, *types)
    assert Cells(circuit.net.cells()) == cost(op, *types).parallel
    np.testing.assert_array_equal(circuit.run(*arrays), op.evaluate(*arrays))


def check_random(op: Op, types: tuple[TensorType, ...], rng: np.random.Generator) -> None:
    arrays = [rng.integers(t.interval.lo, t.interval.hi + 1, (64, *t.shape)) for t in types]
    for array, type_ in zip(arrays, types, strict=True):
        array[0], array[1] = type_.interval.lo, type_.interval.hi
    check(op, types, arrays)


def check_every_value(op: Op, *intervals: Interval) -> None:
    """``check`` on all combinations of the operands of one element."""
    grid = np.array([*product(*(range(i.lo, i.hi + 1) for i in intervals))])
    arrays = [column[:, None] for column in grid.T]
    check(op, tuple(TensorType((1,), interval) for interval in intervals), arrays)


@pytest.mark.parametrize("name", sorted(op.__name__ for op in products.COSTS))
def test_formula_and_circuit_agree_on_random_programs(name):
    cases = [(case.types, node) for case in OP_CASES[name] for node in case.nodes if node.op.name == name]
    assert len(cases) >= 8
    for types, node in cases:
        operands = (types[operand] for operand in node.operands)
        corner = tuple(TensorType(tuple(min(d, 2) for d in t.shape), t.interval) for t in operands)
        check_random(node.op, corner, np.random.default_rng(len(cases)))


def intervals(lowest: int = -(2**13)) -> st.SearchStrategy[Interval]:
    ends = st.integers(0, 13).flatmap(lambda k: st.integers(max(lowest, -(2**k)), 2**k))
    return st.lists(ends, min_size=2, max_size=2).map(Interval.of)


SHAPES = [(2, 3), (1, 3), (2, 1), (1, 1)]


@QUICK
@given(
    st.sampled_from([Add, Sub, Mul, RoundDiv]),
    st.lists(st.sampled_from(SHAPES), min_size=2, max_size=2),
    intervals(),
    st.data(),
)
def test_operands_that_are_broadcast(kind, shapes, interval, data):
    other = data.draw(intervals(1) if kind is RoundDiv else intervals())
    types = tuple(map(TensorType, shapes, (interval, other)))
    check_random(kind(), types, np.random.default_rng(interval.hi - interval.lo))


@QUICK
@given(st.sampled_from([(0,), (1,), (0, 1), (0, 2), (0, 1, 2)]), intervals(-100))
def test_sums_over_axes(axes, interval):
    check_random(ReduceSum(axes), (TensorType((3, 2, 2), interval),), np.random.default_rng(len(axes)))


@QUICK
@given(intervals(-100), intervals(-100), st.integers(1, 4))
def test_matrix_products(a, b, terms):
    types = TensorType((2, 2, terms), a), TensorType((2, terms, 1), b)
    check_random(MatMul(), types, np.random.default_rng(terms))


SMALL = [Interval(-8, 7), Interval(-7, 7), Interval(-5, -2), Interval(0, 9), Interval(3, 12), TRIT, BIT]
SMALL += [Interval(-1, 0), Interval(5, 5)]


@pytest.mark.parametrize("a", SMALL, ids=str)
def test_every_product_of_small_words(a):
    check_every_value(Square(), a)
    for b in SMALL:
        check_every_value(Mul(), a, b)


DIVIDENDS = [Interval(-40, 40), Interval(-32, 31), Interval(0, 100), Interval(-50, -3), Interval(-1, 5)]
DIVISORS = [
    Interval(1, 9),
    Interval(4, 8),
    Interval(1, 1),
    Interval(7, 7),
    Interval(1, 64),
    Interval(60, 63),
]


@pytest.mark.parametrize("dividend", DIVIDENDS, ids=str)
@pytest.mark.parametrize("divisor", DIVISORS, ids=str)
def test_every_quotient_of_small_words(dividend, divisor):
    check_every_value(RoundDiv(), dividend, divisor)


@pytest.mark.parametrize("highest", [0, 1, 2, 3, 7, 8, 15, 30, 31, 100, 127, 255, 511, 1000, 4095])
def test_every_root_of_small_words(highest):
    check_every_value(FloorSqrt(), Interval(highest // 3, highest))
    check_every_value(FloorSqrt(), Interval(0, highest))


@QUICK
@given(intervals(-300), st.integers(1, 12), st.sampled_from(["floor", "half-up"]))
def test_every_shift_of_small_words(interval, shift, rounding):
    check_every_value(ShiftRight(shift, rounding), interval)


@QUICK
@given(intervals(-300), intervals(-300))
def test_every_clip_of_small_words(interval, limits):
    check_every_value(Clip(limits.lo, limits.hi), interval)


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 31])
def test_a_product_of_unsigned_words_has_the_adders_of_an_array_multiplier(bits):
    word = Interval(0, 2**bits - 1)
    adders = {"half_adder": bits, "full_adder": bits * (bits - 2)}
    assert one(Mul(), word, word) == Cells({"and": bits**2} | adders)


def test_products_with_a_bit_and_of_trits_need_no_adder():
    assert one(Mul(), U8, BIT) == Cells({"and": 8})
    assert one(Mul(), TRIT, TRIT) == Cells({"and": 3, "xor": 1})
    assert one(Square(), BIT) == Cells({})


@pytest.mark.parametrize("word", [U4, U8, U16, I8], ids=str)
def test_a_square_takes_half_the_gates_of_a_product(word):
    assert 0.35 < one(Square(), word).ge / one(Mul(), word, word).ge < 0.5


def test_terms_of_a_matrix_product_share_one_tree():
    row = cost(MatMul(), TensorType((1, 8), U8), TensorType((8, 1), U8)).parallel
    bits = 8 * 64  # a full adder takes one away; 19 are left
    assert row["and"] == bits
    assert row["full_adder"] == bits - 19
    assert row.ge < 8 * one(Mul(), U8, U8).ge + 7 * one(Add(), U16, U16).ge


def test_the_inverted_divisor_is_shared_by_all_channels_of_a_position():
    def division(channels: int) -> Circuits:
        return cost(RoundDiv(), TensorType((channels, 5, 5), U16), TensorType((1, 5, 5), Interval(1, 255)))

    assert division(1).one_position["not"] == division(64).one_position["not"] == 8
    assert division(64).parallel["not"] == 8 * 25
    assert division(64).one_position["mux"] == 64 * division(1).one_position["mux"]


def test_a_divisor_that_cannot_be_small_takes_fewer_rows():
    wide, narrow = (one(RoundDiv(), U16, Interval(lowest, 255)) for lowest in (1, 128))
    assert narrow.ge < 0.8 * wide.ge


@pytest.mark.parametrize(
    ("op", "shapes", "position"),
    [
        (Add(), [(3, 4, 5), (1, 4, 5)], [(3, 1, 1), (1, 1, 1)]),
        (Sub(), [(3, 1, 1), (3, 4, 5)], [(3, 1, 1), (3, 1, 1)]),
        (Mul(), [(3, 4), (1, 4)], [(3, 1), (1, 1)]),
        (RoundDiv(), [(3, 4, 5), (1, 4, 5)], [(3, 1, 1), (1, 1, 1)]),
        (RoundDiv(), [(1, 4), (3, 1)], [(1, 1), (3, 1)]),
        (Square(), [(3, 4)], [(3, 1)]),
        (FloorSqrt(), [(1, 4, 5)], [(1, 1, 1)]),
        (ShiftRight(3, "half-up"), [(3, 4)], [(3, 1)]),
        (Clip(2, 90), [(3, 4)], [(3, 1)]),
        (ReduceSum((0,)), [(6, 4, 5)], [(6, 1, 1)]),
        (ReduceSum((1,)), [(3, 4, 5)], [(3, 4, 1)]),
        (ReduceSum((0, 1, 2)), [(3, 4, 5)], [(3, 4, 5)]),
        (MatMul(), [(3, 4), (4, 5)], [(3, 4), (4, 1)]),
        (MatMul(), [(3, 2, 4), (3, 4, 5)], [(3, 1, 4), (3, 4, 1)]),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else "",
)
def test_one_position_is_the_circuit_of_a_result_with_one_position(op, shapes, position):
    spread = [TensorType(shape, Interval(1, 100)) for shape in shapes]
    alone = [TensorType(shape, Interval(1, 100)) for shape in position]
    assert cost(op, *spread).one_position == Cells(build(op, *alone).net.cells())


@pytest.mark.parametrize("interval", [U8, BIT, I8], ids=str)
def test_a_sum_over_the_image_costs_what_a_global_pool_does(interval):
    image = TensorType((6, 7, 7), interval)
    assert cost(ReduceSum((1, 2)), image) == cost(SumPool((7, 7), (7, 7)), image)


def test_moving_values_takes_wires_only():
    image = TensorType((6, 7, 7), U8)
    assert cost(Roll(1), image) == cost(Transpose((2, 0, 1)), image) == cost(ShiftRight(3), image) == WIRES


def test_a_clip_pays_for_the_limits_that_are_reached():
    word = Interval(-512, 511)
    assert one(Clip(-600, 600), word) == Cells({})
    ends = {
        limits: one(Clip(*limits), word).ge for limits in [(-512, 255), (-512, 254), (0, 255), (1, 254)]
    }
    assert ends[-512, 255] < ends[-512, 254]
    assert ends[0, 255] < ends[1, 254]
    assert ends[0, 255] < 24


LOGISTIC = np.rint(255 / (1 + np.exp(-np.arange(-128, 128) / 32))).astype(np.int64)

# the worked table of docs/cost-model.md: one element, and what Yosys 0.70 mapped its circuit to
WORKED: dict[str, tuple[Op, tuple[Interval, ...], float, float]] = {
    "add 8": (Add(), (U8, U8), 45.3, 52.3),
    "multiply 4x4": (Mul(), (U4, U4), 82.6, 86.0),
    "multiply 8x8": (Mul(), (U8, U8), 399.8, 436.6),
    "multiply 8x8 signed": (Mul(), (I8, I8), 410.5, 442.0),
    "square 8": (Square(), (U8,), 186.6, 184.0),
    "square 8 signed": (Square(), (I8,), 189.9, 180.0),
    "divide 16/8": (RoundDiv(), (U16, Interval(1, 255)), 902.5, 974.6),
    "divide 24/23 signed": (RoundDiv(), (I24, Interval(1, 2**23 - 1)), 2693.1, 2936.2),
    "root 16": (FloorSqrt(), (U16,), 266.5, 272.9),
    "root 32": (FloorSqrt(), (U32,), 1070.2, 1182.0),
    "logistic table": (Lookup(LOGISTIC[None], -128), (I8,), 414.7, 337.6),
}


@pytest.mark.parametrize("name", WORKED)
def test_worked_table(name):
    op, operands, counted, synthesized = WORKED[name]
    ge = one(op, *operands).ge
    assert ge == pytest.approx(counted, abs=0.05)
    assert ge == pytest.approx(synthesized, rel=0.24)
