"""Products, quotients, roots and what surrounds them, against plain Python on unbounded integers."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ops import (
    Add,
    Clip,
    FloorSqrt,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Roll,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
    Transpose,
)
from runtime.types import INT64_LIMIT, Interval, TensorType

RNG = np.random.default_rng(8)
TOP = INT64_LIMIT


def round_div(a: int, b: int) -> int:
    """The nearest integer to ``a / b``, halves away from zero."""
    nearest = math.floor(abs(Fraction(a, b)) + Fraction(1, 2))
    return nearest if a >= 0 else -nearest


TWO: dict[type[Op], Callable[[int, int], int]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
    RoundDiv: round_div,
}
ONE: dict[Op, Callable[[int], int]] = {
    Square(): lambda x: x**2,
    ShiftRight(1): lambda x: math.floor(Fraction(x, 2)),
    ShiftRight(3): lambda x: math.floor(Fraction(x, 8)),
    ShiftRight(3, "half-up"): lambda x: math.floor(Fraction(x, 8) + Fraction(1, 2)),
    ShiftRight(62, "half-up"): lambda x: math.floor(Fraction(x, 2**62) + Fraction(1, 2)),
    Clip(-3, 11): lambda x: sorted((-3, x, 11))[1],
    Clip(30, 40): lambda x: sorted((30, x, 40))[1],
    Clip(-40, -30): lambda x: sorted((-40, x, -30))[1],
}
NAMED = {f"{op.name}-{index}": op for index, op in enumerate(ONE)}


@pytest.mark.parametrize("op", TWO, ids=lambda op: op.__name__)
@given(*[st.integers(-25, 25)] * 4)
def test_two_operands_take_their_values_and_reach_their_interval(
    op: type[Op], a: int, b: int, c: int, d: int
) -> None:
    if op is RoundDiv:
        c, d = abs(c) + 1, abs(d) + 1
    first, second = Interval.of((a, b)), Interval.of((c, d))
    pairs = list(itertools.product(range(first.lo, first.hi + 1), range(second.lo, second.hi + 1)))
    expected = [TWO[op](*pair) for pair in pairs]
    found = op().evaluate(*np.array(pairs).T)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    inferred = op().infer(TensorType((1,), first), TensorType((1,), second))
    assert inferred.interval == Interval.of(expected)


@pytest.mark.parametrize("name", NAMED)
@given(st.integers(-60, 60), st.integers(-60, 60))
def test_one_operand_takes_its_values_and_reaches_its_interval(name: str, a: int, b: int) -> None:
    op = NAMED[name]
    interval = Interval.of((a, b))
    xs = np.arange(interval.lo, interval.hi + 1)
    expected = [ONE[op](x) for x in xs.tolist()]
    assert op.evaluate(xs).tolist() == expected
    assert op.infer(TensorType((1,), interval)).interval == Interval.of(expected)


ENDS = [-TOP, -TOP + 1, -(2**53) - 1, -5, 0, 5, 2**53 + 1, TOP - 1, TOP]


@pytest.mark.parametrize("name", [name for name in NAMED if not name.startswith("Square")])
def test_one_operand_at_the_ends_of_62_bits(name: str) -> None:
    op = NAMED[name]
    assert op.evaluate(np.array(ENDS)).tolist() == [ONE[op](x) for x in ENDS]
    found = op.infer(TensorType((1,), Interval(-TOP, TOP))).interval
    assert found == Interval(ONE[op](-TOP), ONE[op](TOP))


@pytest.mark.parametrize("a", ENDS)
def test_quotients_at_the_ends_of_62_bits(a: int) -> None:
    divisors = [1, 2, 3, 2**31, 2**61 + 1, TOP - 1, TOP]
    found = RoundDiv().evaluate(np.array(a), np.array(divisors))
    assert found.tolist() == [round_div(a, b) for b in divisors]


def test_ties_of_both_signs_round_away_from_zero() -> None:
    a = np.array([-15, -10, -9, -5, -4, 4, 5, 9, 10, 15])
    assert RoundDiv().evaluate(a, np.array(10)).tolist() == [-2, -1, -1, -1, 0, 0, 1, 1, 1, 2]
    assert RoundDiv().evaluate(a, np.array(3)).tolist() == [-5, -3, -3, -2, -1, 1, 2, 3, 3, 5]


def test_roots_beside_squares() -> None:
    roots = [1, 2, 3, 2**26 - 1, 2**26, 2**26 + 1, 3037000499, 2**31 - 1, 94906265, 94906266, 94906267]
    squares = [n * n + step for n in roots for step in (-1, 0, 1) if n * n + step <= TOP]
    xs = [0, *range(300), *squares, 2**52 - 1, 2**52, 2**52 + 1, 2**53 + 1, TOP - 1, TOP]
    found = FloorSqrt().evaluate(np.array(xs))
    assert found.tolist() == [math.isqrt(x) for x in xs]


@given(st.integers(0, TOP), st.integers(0, TOP))
def test_roots_and_their_interval(a: int, b: int) -> None:
    interval = Interval.of((a, b))
    assert FloorSqrt().evaluate(np.array([a, b])).tolist() == [math.isqrt(a), math.isqrt(b)]
    found = FloorSqrt().infer(TensorType((1,), interval)).interval
    assert found == Interval(math.isqrt(interval.lo), math.isqrt(interval.hi))


@pytest.mark.parametrize("op", TWO, ids=lambda op: op.__name__)
@pytest.mark.parametrize(
    ("first", "second", "result"),
    [((3, 1, 2), (1, 4, 1), (3, 4, 2)), ((3,), (1,), (3,)), ((1, 5), (1, 5), (1, 5)), ((), (), ())],
)
def test_axes_of_length_1_stretch(
    op: type[Op], first: tuple[int, ...], second: tuple[int, ...], result: tuple[int, ...]
) -> None:
    types = [TensorType(shape, Interval(1, 9)) for shape in (first, second)]
    assert op().infer(*types).shape == result
    a, b = (RNG.integers(1, 10, (2, *shape)) for shape in (first, second))
    found = op().evaluate(a, b)
    assert found.shape == (2, *result)
    for place in np.ndindex(found.shape):
        x, y = (v[tuple(min(i, n - 1) for i, n in zip(place, v.shape, strict=True))] for v in (a, b))
        assert found[place] == TWO[op](int(x), int(y))


@pytest.mark.parametrize(("leading", "m", "k", "n"), [((), 2, 3, 4), ((2, 3), 1, 5, 2), ((2,), 3, 1, 1)])
def test_matrix_products(leading: tuple[int, ...], m: int, k: int, n: int) -> None:
    a, b = RNG.integers(-(2**28), 2**28, (2, *leading, m, k)), RNG.integers(-9, 10, (2, *leading, k, n))
    found = MatMul().evaluate(a, b)
    types = TensorType(a.shape[1:], Interval(-4, 2)), TensorType(b.shape[1:], Interval(-3, 5))
    assert MatMul().infer(*types) == TensorType((*leading, m, n), Interval(-20 * k, 12 * k))
    for *outer, i, j in np.ndindex(found.shape):
        terms = (int(a[(*outer, i, t)]) * int(b[(*outer, t, j)]) for t in range(k))
        assert found[(*outer, i, j)] == sum(terms)


def test_products_up_to_62_bits() -> None:
    row, column = np.full((1, 1, 4), -(2**30)), np.full((1, 4, 1), 2**30)
    assert MatMul().evaluate(row, column).tolist() == [[[-TOP]]]
    assert Mul().evaluate(np.array(-(2**31)), np.array(2**31)) == -TOP
    assert Square().evaluate(np.array([-(2**31), 2**31])).tolist() == [TOP, TOP]


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_sums_over_axes(axes: tuple[int, ...]) -> None:
    x = RNG.integers(-9, 10, (2, 3, 4, 5))
    type_ = ReduceSum(axes).infer(TensorType((3, 4, 5), Interval(-2, 7)))
    found = ReduceSum(axes).evaluate(x)
    assert found.shape == (2, *type_.shape)
    count = math.prod((3, 4, 5)[axis] for axis in axes)
    assert type_.interval == Interval(-2 * count, 7 * count)
    sums = dict.fromkeys(np.ndindex(found.shape), 0)
    for batch, *place in np.ndindex(x.shape):
        kept = (0 if axis in axes else i for axis, i in enumerate(place))
        sums[(batch, *kept)] += int(x[(batch, *place)])
    assert {place: int(found[place]) for place in sums} == sums


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_axes_in_another_order(axes: tuple[int, ...]) -> None:
    x = RNG.integers(-9, 10, (2, 3, 4, 5))
    found = Transpose(axes).evaluate(x)
    type_ = Transpose(axes).infer(TensorType((3, 4, 5), Interval(-9, 9)))
    assert type_ == TensorType(found.shape[1:], Interval(-9, 9))
    for batch, *place in np.ndindex(found.shape):
        source = [place[axes.index(axis)] for axis in range(3)]
        assert found[(batch, *place)] == x[(batch, *source)]


@pytest.mark.parametrize("shape", [(5,), (5, 2, 3)])
def test_channels_roll_round(shape: tuple[int, ...]) -> None:
    x = RNG.integers(-9, 10, (2, *shape))
    for shift in range(1, 5):
        found = Roll(shift).evaluate(x)
        for channel in range(5):
            assert np.array_equal(found[:, channel], x[:, (channel - shift) % 5])
    assert Roll(2).infer(TensorType(shape, Interval(0, 3))) == TensorType(shape, Interval(0, 3))
