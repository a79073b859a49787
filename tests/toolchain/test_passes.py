"""Passes: same outputs on random inputs, and the form each one promises."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Add, Conv2d, Dense, Lookup, MaxPool, Op, Requantize, Reshape, Threshold
from runtime.types import INT64_LIMIT, Interval
from runtime.verify import verify
from runtime.weights import Weights
from toolchain.passes import (
    DEFAULT_PASSES,
    DeadChannels,
    DeadCode,
    FoldNegation,
    Pass,
    PoolAfterThreshold,
    run_passes,
)

RNG = np.random.default_rng(0)


def conv(outputs: int, inputs: int, bias: bool = False) -> Conv2d:
    codes = RNG.integers(-2, 3, (outputs, inputs, 3, 3))
    return Conv2d(Weights(codes, 5), RNG.integers(-9, 9, outputs) if bias else None, padding=(1, 1))


def signs(channels: int, limit: int = 10**6) -> Requantize:
    sign = np.where(np.arange(channels) % 2, -1, 1)
    return Requantize(sign, 0 * sign, 0 * sign, -limit, limit)


def thresholds(channels: int, count: int, direction: tuple[int, ...] = (1, -1)) -> Threshold:
    rows = np.sort(RNG.integers(-60, 60, (channels, count)), axis=1)
    toward = np.resize(direction, channels)
    return Threshold(np.where(toward[:, None] < 0, rows[:, ::-1], rows), toward)


def chain(*ops: Op, outputs: tuple[int, ...] = (-1,)) -> Program:
    """A program of ops one after the other; ``outputs`` are indices of ops."""
    builder = Builder("chain")
    values = [builder.input("x", (2, 6, 6), Interval(0, 15))]
    for op in ops:
        builder.at_layer(op.name)
        values.append(builder.add(op, values[-1]))
    return builder.build(tuple(values[1:][i] for i in outputs))


def names(program: Program) -> list[str]:
    return [node.op.name for node in program.nodes]


def assert_same(before: Program, apply: Pass) -> Program:
    """The program after ``apply``: verified, with the same inputs, output names and results."""
    after = apply(before)
    verify(after)
    x = RNG.integers(0, 16, (20, 2, 6, 6))
    expected, got = (Interpreter(p).run({"x": x}) for p in (before, after))
    assert before.inputs == after.inputs
    assert before.outputs == after.outputs
    for name in before.outputs:
        assert np.array_equal(expected[name], got[name])
    return after


def test_dead_code_goes_with_what_only_it_needed() -> None:
    builder = Builder("dead")
    x = builder.input("x", (2, 6, 6), Interval(0, 15))
    kept = builder.add(conv(3, 2), x)
    unread = builder.add(conv(4, 3), kept)
    builder.add(Add(), unread, unread)
    after = assert_same(builder.build((kept,)), DeadCode())
    assert [node.result for node in after.nodes] == [kept]


def test_dead_code_keeps_a_program_without_any() -> None:
    program = chain(conv(3, 2), thresholds(3, 2))
    assert names(assert_same(program, DeadCode())) == names(program)


def dense(outputs: int, inputs: int, unread: tuple[int, ...] = (), bias: bool = False) -> Dense:
    """Weights that are never 0, but of the inputs that are ``unread``."""
    codes = RNG.choice([-2, -1, 1, 2], (outputs, inputs))
    codes[:, list(unread)] = 0
    return Dense(Weights(codes, 5), RNG.integers(-9, 9, outputs) if bias else None)


def widths(program: Program) -> list[int]:
    return [node.type.shape[0] for node in program.nodes if isinstance(node.op, Dense)]


def test_neurons_that_nothing_reads_go_from_the_last_to_the_first() -> None:
    first, second = dense(8, 72, bias=True), dense(5, 8, unread=(0, 7))
    codes = second.weights.codes.copy()
    codes[2, 3] = 1
    codes[[0, 1, 3, 4], 3] = 0
    second = Dense(Weights(codes, 5))
    last = dense(3, 5, unread=(2,), bias=True)
    answers = Lookup(RNG.integers(0, 2, (5, 99)), -49)
    program = chain(Reshape((72,)), first, thresholds(8, 2), second, answers, last)
    assert widths(assert_same(program, DeadChannels())) == [5, 4, 3]


def test_one_neuron_stays_where_none_is_read() -> None:
    program = chain(
        Reshape((72,)), dense(4, 72), thresholds(4, 1), dense(3, 4, unread=(0, 1, 2, 3), bias=True)
    )
    assert widths(assert_same(program, DeadChannels())) == [1, 3]


def test_neurons_that_something_else_reads_stay() -> None:
    ops = (Reshape((72,)), dense(4, 72), thresholds(4, 1), dense(3, 4, unread=(1,)))
    for outputs in ((1, -1), (2, -1)):
        program = chain(*ops, outputs=outputs)
        assert assert_same(program, DeadChannels()) is program


def test_a_table_for_all_channels_stays_one() -> None:
    program = chain(
        Reshape((72,)), dense(4, 72), Lookup(np.arange(5000)[None] % 7, -2500), dense(3, 4, (1,))
    )
    assert widths(assert_same(program, DeadChannels())) == [3, 3]


@pytest.mark.parametrize("bias", [False, True])
def test_negation_goes_into_a_convolution(bias: bool) -> None:
    program = chain(conv(3, 2, bias), signs(3), thresholds(3, 2))
    after = assert_same(program, FoldNegation())
    assert names(after) == ["Conv2d", "Threshold"]
    assert after.nodes[0].op.weights.levels == 5


def test_negation_goes_into_a_dense_layer() -> None:
    dense = Dense(Weights(RNG.integers(-1, 2, (5, 72)), 3), RNG.integers(-5, 5, 5))
    assert names(assert_same(chain(Reshape((72,)), dense, signs(5)), FoldNegation())) == [
        "Reshape",
        "Dense",
    ]


@pytest.mark.parametrize(
    "program",
    [
        chain(conv(3, 2), signs(3), outputs=(0, 1)),
        chain(conv(3, 2), signs(3, limit=20)),
        chain(conv(3, 2), Requantize(*np.array([[2] * 3, [0] * 3, [0] * 3]), -999, 999)),
        chain(conv(3, 2), Requantize(*np.array([[-1] * 3, [1] * 3, [0] * 3]), -999, 999)),
        chain(conv(3, 2), Requantize(*np.array([[-1] * 3, [0] * 3, [1] * 3]), -999, 999)),
        chain(MaxPool((2, 2), (2, 2)), signs(2)),
        chain(signs(2), conv(3, 2)),
    ],
    ids=["read elsewhere", "clips", "doubles", "offsets", "shifts", "after a pool", "of the input"],
)
def test_negation_stays(program: Program) -> None:
    assert names(assert_same(program, FoldNegation())) == names(program)


@pytest.mark.parametrize("kernel", [(), (1, 1)], ids=["dense", "convolution"])
def test_negation_stays_behind_hamilton_weights(kernel: tuple[int, ...]) -> None:
    weights = Weights.hamilton(RNG.integers(-1, 2, (4, 2, 18, *kernel)), 3)
    linear = Conv2d(weights) if kernel else Dense(weights)
    program = chain(Reshape((72, *kernel)), linear, signs(8))
    after = assert_same(program, FoldNegation())
    assert names(after) == ["Reshape", linear.name, "Requantize"]
    assert after.nodes[1].op is linear


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_rising_thresholds_move_before_the_pool(count: int, padding: int) -> None:
    pool = MaxPool((3, 3), (2, 2), (padding, padding))
    program = chain(conv(4, 2), pool, thresholds(4, count, (1,)))
    after = assert_same(program, PoolAfterThreshold())
    assert names(after) == ["Conv2d", "Threshold", "MaxPool"]
    assert [node.layer for node in after.nodes] == ["Conv2d", "Threshold", "MaxPool"]


@pytest.mark.parametrize("direction", [(-1,), (1, -1)])
@pytest.mark.parametrize("count", [1, 3])
def test_falling_thresholds_are_pooled_as_complements(direction: tuple[int, ...], count: int) -> None:
    program = chain(conv(4, 2), MaxPool((2, 2), (2, 2)), thresholds(4, count, direction))
    after = assert_same(program, PoolAfterThreshold())
    assert names(after) == ["Conv2d", "Threshold", "MaxPool", "Lookup"]


@pytest.mark.parametrize(
    "program",
    [
        chain(conv(4, 2), MaxPool((2, 2), (2, 2)), thresholds(4, 2), outputs=(1, 2)),
        chain(conv(4, 2), MaxPool((2, 2), (2, 2)), thresholds(4, 4)),
        chain(conv(4, 2), thresholds(4, 2), MaxPool((2, 2), (2, 2))),
        chain(MaxPool((2, 2), (2, 2)), Threshold(np.full((2, 1), INT64_LIMIT), np.array([-1, -1]))),
    ],
    ids=["read elsewhere", "too many thresholds", "already after", "no room above the threshold"],
)
def test_pool_stays(program: Program) -> None:
    assert names(assert_same(program, PoolAfterThreshold())) == names(program)


def test_the_number_of_thresholds_to_move_is_an_option() -> None:
    program = chain(conv(4, 2), MaxPool((2, 2), (2, 2)), thresholds(4, 4, (1,)))
    after = assert_same(program, PoolAfterThreshold(most=4))
    assert names(after) == ["Conv2d", "Threshold", "MaxPool"]


def test_new_values_get_unused_names() -> None:
    builder = Builder("names")
    x = builder.input("x", (2, 6, 6), Interval(0, 15))
    taken = builder.add(conv(2, 2), x, name="act_each")
    pooled = builder.add(MaxPool((2, 2), (2, 2)), taken)
    act = builder.add(thresholds(2, 1, (1,)), pooled, name="act")
    after = assert_same(builder.build((act,)), PoolAfterThreshold())
    assert [node.result for node in after.nodes] == ["act_each", "act_each_2", "act"]


def test_default_passes_work_together() -> None:
    pool = MaxPool((2, 2), (2, 2))
    program = chain(conv(4, 2), signs(4), pool, thresholds(4, 1), conv(4, 4), signs(4), outputs=(3,))
    after = assert_same(program, lambda p: run_passes(p, DEFAULT_PASSES))
    assert names(after) == ["Conv2d", "Threshold", "MaxPool", "Lookup"]
