"""The ops against second implementations, and their intervals against what they compute."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import (
    OPS,
    Add,
    And,
    ArgMax,
    Clip,
    Concat,
    Conv2d,
    Dense,
    FloorSqrt,
    Hadamard,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Not,
    Op,
    Or,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    Select,
    ShiftRight,
    Slice,
    Square,
    Sub,
    SumPool,
    Threshold,
    Transpose,
    Xor,
)
from runtime.ops.linear import exact_product
from runtime.types import BIT, Interval, TensorType
from runtime.weights import Weights
from tests.programs import programs, random_inputs, random_weights

RNG = np.random.default_rng(5)
IMAGE = RNG.integers(-9, 10, (3, 4, 7, 6))


def as_torch(array: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).double()


@given(programs())
def test_every_value_lies_in_its_interval_and_shape(program: Program) -> None:
    names = tuple(program.types)
    everything = Program(program.name, program.inputs, program.nodes, names)
    values = Interpreter(everything).run(random_inputs(program, 4, seed=1))
    for name, type_ in program.types.items():
        assert values[name].shape == (4, *type_.shape)
        assert values[name].dtype == np.int64
        assert int(values[name].min()) in type_.interval
        assert int(values[name].max()) in type_.interval


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d_equals_torch(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> None:
    weights = random_weights(RNG, (8, 4 // groups, 3, 2))
    bias = RNG.integers(-20, 20, 8)
    op = Conv2d(weights, bias, stride, padding, dilation, groups)
    expected = torch.nn.functional.conv2d(
        as_torch(IMAGE), as_torch(weights.codes), as_torch(bias), stride, padding, dilation, groups
    )
    assert np.array_equal(op.evaluate(IMAGE), expected.numpy())


def test_dense_equals_torch() -> None:
    weights, bias = random_weights(RNG, (5, 6)), RNG.integers(-9, 9, 5)
    x = IMAGE[:, 0, 0, :]
    expected = torch.nn.functional.linear(as_torch(x), as_torch(weights.codes), as_torch(bias))
    assert np.array_equal(Dense(weights, bias).evaluate(x), expected.numpy())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1))]
)
def test_pools_equal_torch(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    x = as_torch(IMAGE)
    maximum = torch.nn.functional.max_pool2d(x, kernel, stride, padding)
    mean = torch.nn.functional.avg_pool2d(x, kernel, stride, padding, divisor_override=1)
    assert np.array_equal(MaxPool(kernel, stride, padding).evaluate(IMAGE), maximum.numpy())
    assert np.array_equal(SumPool(kernel, stride, padding).evaluate(IMAGE), mean.numpy())


def test_threshold_counts_in_both_directions() -> None:
    op = Threshold(np.array([[-2, 0, 3], [3, 0, -2]]), np.array([1, -1]))
    x = np.arange(-4, 5)
    up = [sum(v >= t for t in (-2, 0, 3)) for v in x]
    down = [sum(v <= t for t in (-2, 0, 3)) for v in x]
    counted = op.evaluate(np.stack([x, x], axis=1))
    assert counted[:, 0].tolist() == up
    assert counted[:, 1].tolist() == down


@given(*[st.integers(0, 40)] * 4, st.sampled_from([Or, And, Xor]))
def test_bitwise_intervals_are_sound_and_those_of_or_and_and_exact(
    a: int, b: int, c: int, d: int, op: type[Op]
) -> None:
    first, second = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    inferred = op().infer(TensorType((1,), first), TensorType((1,), second)).interval
    pairs = itertools.product(range(first.lo, first.hi + 1), range(second.lo, second.hi + 1))
    results = [int(op().evaluate(np.array(x), np.array(y))) for x, y in pairs]
    exact = Interval(min(results), max(results))
    assert inferred.lo <= exact.lo
    assert exact.hi <= inferred.hi
    if op is not Xor:
        assert inferred == exact


def test_elementwise_definitions() -> None:
    x, y = IMAGE, IMAGE[::-1]
    condition = (IMAGE[:, :, :1, :1] > 0).astype(np.int64)
    assert np.array_equal(Add().evaluate(x, y), x + y)
    assert np.array_equal(Sub().evaluate(x, y), x - y)
    assert np.array_equal(Slice(1, 3).evaluate(x), x[:, 1:3])
    assert np.array_equal(Not(4).evaluate(abs(x)), 15 - abs(x))
    assert np.array_equal(Select().evaluate(condition, x, y), condition * x + (1 - condition) * y)
    assert np.array_equal(Concat().evaluate(x, y)[:, 4:], y)
    assert np.array_equal(Reshape((24, 7)).evaluate(x).ravel(), x.ravel())
    assert ArgMax().evaluate(np.array([[1, 5, 5], [7, 7, 0]])).tolist() == [1, 0]


def test_hadamard_mixes_the_quarters_of_the_channels() -> None:
    x = RNG.integers(-9, 10, (3, 8, 5))
    x0, x1, x2, x3 = np.split(x, 4, axis=1)
    rows = (x0 + x1 + x2 + x3, x0 - x1 + x2 - x3, x0 + x1 - x2 - x3, x0 - x1 - x2 + x3)
    assert np.array_equal(Hadamard().evaluate(x), np.concatenate(rows, axis=1))
    assert np.array_equal(Hadamard().evaluate(Hadamard().evaluate(x)), 4 * x)


@pytest.mark.parametrize("shape", [(4,), (8, 2, 3)])
@pytest.mark.parametrize("interval", [Interval(0, 1), Interval(-3, 5), Interval(2, 2), Interval(-9, -4)])
def test_hadamard_interval_is_reached_and_its_butterfly_agrees(
    interval: Interval, shape: tuple[int, ...]
) -> None:
    builder = Builder("butterfly")
    x = builder.input("x", shape, interval)
    parts = builder.build((Hadamard().decompose(builder, x),))
    corners = itertools.product((interval.lo, interval.hi), repeat=4)
    channels = np.repeat(np.array([*corners]), shape[0] // 4, axis=1)
    inputs = np.broadcast_to(channels.reshape(16, -1, *(1,) * len(shape[1:])), (16, *shape))
    (found,) = Interpreter(parts).run({"x": inputs}).values()
    assert np.array_equal(found, Hadamard().evaluate(inputs))
    assert Hadamard().infer(TensorType(shape, interval)).interval == Interval.of([found.min(), found.max()])
    assert parts.types[parts.outputs[0]] == Hadamard().infer(TensorType(shape, interval))


def test_a_difference_reaches_its_interval() -> None:
    a, b = TensorType((1,), Interval(-2, 7)), TensorType((1,), Interval(3, 5))
    assert Sub().infer(a, b).interval == Interval(-7, 4)


def test_requantize_shifts_toward_minus_infinity_and_clips() -> None:
    op = Requantize(np.array([3, -3]), np.array([2, 2]), np.array([2, 2]), -3, 4)
    x = np.arange(-6, 7)
    found = op.evaluate(np.stack([x, x], axis=1))
    assert found[:, 0].tolist() == [min(4, max(-3, (3 * v + 2) // 4)) for v in x.tolist()]
    assert found[:, 1].tolist() == [min(4, max(-3, (-3 * v + 2) // 4)) for v in x.tolist()]


def test_lookup_per_tensor_and_per_channel() -> None:
    table = np.array([[5, 6, 7], [-1, -2, -3]])
    x = np.array([[-1, 1], [0, 0]])
    assert Lookup(table[:1], first=-1).evaluate(x).tolist() == [[5, 7], [6, 6]]
    assert Lookup(table, first=-1).evaluate(x).tolist() == [[5, -3], [6, -2]]


def test_accumulator_interval_is_reached() -> None:
    weights = Weights(np.array([[1, -1, 0], [1, 1, 1]]), 3)
    inferred = Dense(weights, np.array([4, 0])).infer(TensorType((3,), Interval(0, 10))).interval
    assert inferred == Interval(-6, 30)


def test_padding_widens_the_range_by_zero() -> None:
    x = TensorType((1, 4, 4), Interval(3, 5))
    weights = Weights(np.ones((1, 1, 3, 3), int), 3)
    assert Conv2d(weights).infer(x).interval == Interval(27, 45)
    assert Conv2d(weights, padding=(1, 1)).infer(x).interval == Interval(0, 45)


TERNARY = Weights(np.ones((2, 2, 3, 3), int), 3)
VECTOR, PICTURE = TensorType((4,), BIT), TensorType((2, 5, 5), BIT)
WIDE = TensorType((4,), Interval(-(2**61), 2**61))
COUNT, SCALAR = TensorType((4,), Interval(1, 9)), TensorType((), BIT)


@pytest.mark.parametrize(
    ("make", "operands", "message"),
    [
        (lambda: Conv2d(TERNARY), [VECTOR], r"Conv2d needs an operand of rank 3, not shape \[4\]"),
        (lambda: Conv2d(TERNARY), [TensorType((3, 5, 5), BIT)], "expect 2 input channels, operand has 3"),
        (lambda: Conv2d(TERNARY), [TensorType((2, 2, 5), BIT)], "window of 3 does not fit an axis of 2"),
        (lambda: Conv2d(TERNARY, padding=(9999, 9999)), [PICTURE], "padding .* larger than"),
        (
            lambda: Conv2d(TERNARY, stride=(0, 1)),
            [],
            r"Conv2d stride must be two integers within 1\.\.65536",
        ),
        (lambda: Conv2d(TERNARY, groups=3), [], "groups 3 must divide 2 outputs"),
        (lambda: Conv2d(TERNARY, np.array([1])), [], "bias has 1 entries for 2 outputs"),
        (lambda: Dense(Weights(np.ones((2, 4), int), 3)), [WIDE], "an accumulator would exceed 62 bits"),
        (lambda: Threshold(np.array([[2, 1]]), np.array([1])), [], "must be ordered as they are reached"),
        (lambda: Threshold(np.array([[1]]), np.array([2])), [], r"direction must be \+1 or -1"),
        (
            lambda: Threshold(np.zeros((3, 1), int), np.ones(3, int)),
            [VECTOR],
            "3 channels, its operand has 4",
        ),
        (Or, [VECTOR, TensorType((4,), Interval(-1, 1))], r"Or needs non-negative operands, not \[-1, 1\]"),
        (Or, [VECTOR, PICTURE], r"Or needs operands of one shape, not \[4\] and \[2, 5, 5\]"),
        (lambda: Not(1), [TensorType((4,), Interval(0, 2))], r"Not of 1 bits cannot take \[0, 2\]"),
        (Select, [TensorType((4,), Interval(0, 2)), VECTOR, VECTOR], r"a condition in \[0, 1\]"),
        (Select, [TensorType((3,), BIT), VECTOR, VECTOR], r"condition of shape \[3\] does not fit \[4\]"),
        (lambda: Lookup(np.array([[1]])), [VECTOR], r"Lookup covers \[0, 0\], its operand is in \[0, 1\]"),
        (lambda: Requantize(*[np.array([99])] * 3, 0, 1), [], r"shift must be within 0\.\.62"),
        (lambda: Requantize(*[np.array([1])] * 3, 0, 2**70), [], "limits must be within 62 bits"),
        (lambda: MaxPool((2, 2), (1, 1), (2, 0)), [], "padding must be at most half the kernel"),
        (ArgMax, [PICTURE], "ArgMax needs an operand of rank 1"),
        (lambda: Reshape((3,)), [VECTOR], r"Reshape of \[4\] to \[3\] changes the size"),
        (lambda: Reshape((-1,)), [], "Reshape needs positive dimensions"),
        (
            Add,
            [VECTOR, PICTURE],
            r"Add needs operands whose axes are equal or 1, not \[4\] and \[2, 5, 5\]",
        ),
        (
            Sub,
            [VECTOR, TensorType((2,), BIT)],
            r"Sub needs operands whose axes are equal or 1, not \[4\] and",
        ),
        (Mul, [PICTURE, TensorType((2, 4, 5), BIT)], r"Mul needs operands whose axes are equal or 1"),
        (
            RoundDiv,
            [SCALAR, COUNT],
            r"RoundDiv needs operands whose axes are equal or 1, not \[\] and \[4\]",
        ),
        (Add, [WIDE, TensorType((1,), Interval(0, 2**61 + 1))], "exceeds 62 bits"),
        (Mul, [WIDE, TensorType((4,), Interval(-3, 1))], r"interval \[-\d+, \d+\] exceeds 62 bits"),
        (Square, [WIDE], "exceeds 62 bits"),
        (Square, [TensorType((4,), Interval(-(2**31) - 1, 0))], "exceeds 62 bits"),
        (
            MatMul,
            [VECTOR, VECTOR],
            r"MatMul needs \(\.\.\., m, k\) and \(\.\.\., k, n\), not \[4\] and \[4\]",
        ),
        (MatMul, [PICTURE, TensorType((2, 4, 5), BIT)], r"k, n\), not \[2, 5, 5\] and \[2, 4, 5\]"),
        (MatMul, [PICTURE, TensorType((1, 5, 5), BIT)], r"k, n\), not \[2, 5, 5\] and \[1, 5, 5\]"),
        (MatMul, [PICTURE, TensorType((5, 5), BIT)], r"k, n\), not \[2, 5, 5\] and \[5, 5\]"),
        (MatMul, [TensorType((1, 5), Interval(0, 2**60)), TensorType((5, 1), BIT)], "exceeds 62 bits"),
        (RoundDiv, [COUNT, VECTOR], r"RoundDiv needs a divisor above 0, not in \[0, 1\]; clip it first"),
        (FloorSqrt, [WIDE], r"FloorSqrt needs an operand of at least 0, not in \[-\d+, \d+\]"),
        (lambda: ShiftRight(0), [], r"ShiftRight shift must be within 1\.\.62, not 0"),
        (lambda: ShiftRight(63), [], r"ShiftRight shift must be within 1\.\.62, not 63"),
        (lambda: ShiftRight(1, "up"), [], "ShiftRight rounding must be one of floor, half-up, not 'up'"),
        (lambda: Clip(3, 2), [], r"interval must have lo <= hi, not \[3, 2\]"),
        (lambda: Clip(0, 2**62 + 1), [], "Clip limits must be within 62 bits"),
        (lambda: ReduceSum(()), [], r"ReduceSum axes must be rising numbers from 0, not \[\]"),
        (lambda: ReduceSum((1, 0)), [], r"ReduceSum axes must be rising numbers from 0, not \[1, 0\]"),
        (lambda: ReduceSum((1, 1)), [], "ReduceSum axes must be rising numbers from 0"),
        (lambda: ReduceSum((-1,)), [], "ReduceSum axes must be rising numbers from 0"),
        (lambda: ReduceSum((1,)), [VECTOR], r"ReduceSum over axis 1 does not fit shape \[4\]"),
        (lambda: ReduceSum((0,)), [WIDE], "exceeds 62 bits"),
        (lambda: Transpose(()), [], r"Transpose axes must be a permutation of 0, 1, \.\., not \[\]"),
        (
            lambda: Transpose((0, 2)),
            [],
            r"Transpose axes must be a permutation of 0, 1, \.\., not \[0, 2\]",
        ),
        (lambda: Transpose((1, 0)), [PICTURE], r"Transpose of 2 axes does not fit shape \[2, 5, 5\]"),
        (lambda: Roll(0), [], "Roll shift must be at least 1, not 0"),
        (lambda: Roll(4), [VECTOR], "Roll by 4 does not fit 4 channels"),
        (lambda: Roll(1), [SCALAR], "Roll by 1 does not fit 1 channels"),
        (Hadamard, [PICTURE], "Hadamard needs channels in four equal blocks, not 2 channels"),
        (Hadamard, [TensorType((), BIT)], "Hadamard needs channels in four equal blocks, not 1 channels"),
        (Hadamard, [WIDE], "exceeds 62 bits"),
        (lambda: Slice(2, 2), [], "Slice needs 0 <= start < stop, not 2 and 2"),
        (lambda: Slice(-1, 2), [], "Slice needs 0 <= start < stop, not -1 and 2"),
        (lambda: Slice(1, 5), [VECTOR], r"Slice up to channel 5 does not fit shape \[4\]"),
        (lambda: Slice(0, 1), [TensorType((), BIT)], r"Slice up to channel 1 does not fit shape \[\]"),
        (Concat, [VECTOR, PICTURE], "Concat needs equal shapes past the channel axis"),
    ],
)
def test_rules_are_refused_in_one_line(make: type[Op], operands: list[TensorType], message: str) -> None:
    def infer() -> None:
        builder = Builder("bad")
        names = [builder.input(f"x{i}", t.shape, t.interval) for i, t in enumerate(operands)]
        builder.add(make(), *names)

    with pytest.raises(ProgramError, match=message) as caught:
        infer()
    assert "\n" not in str(caught.value)


def test_every_op_documents_itself() -> None:
    for op in OPS.values():
        assert op.__doc__
        assert "Operand" in op.__doc__, op.__name__


@given(
    rows=st.integers(1, 4),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 4),
    bits=st.sampled_from([1, 8, 30, 49, 50, 51, 52, 53, 55]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_are_exact_on_both_sides_of_the_float64_limit(
    rows: int, inputs: int, outputs: int, bits: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(-(2**bits), 2**bits, (rows, 2, inputs), endpoint=True)
    w = random.integers(-3, 3, (inputs, outputs), endpoint=True)
    expected = x.astype(object) @ w.astype(object)
    found = exact_product(x, w)
    assert found.dtype == np.int64
    assert found.shape == (rows, 2, outputs)
    assert (found == expected).all()
