"""Zero differing values: optimization levels, threads, profiles, wide ranges, the reference evaluator."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from exporters.onnx.build import build
from exporters.onnx.executor import OPTIMIZATION, OnnxExecutor, OnnxReferenceExecutor
from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import (
    OPS,
    Add,
    ArgMax,
    Concat,
    Conv2d,
    Dense,
    Lookup,
    MaxPool,
    Not,
    Op,
    Or,
    Requantize,
    Reshape,
    Select,
    SumPool,
    Threshold,
    Xor,
)
from runtime.session import Executor
from runtime.types import INT64_LIMIT, Interval
from runtime.weights import Weights
from tests.programs import LEVELS, OP_CASES, programs, random_inputs, value_set_program

PROFILES = ("portable", "modern")
TOP = INT64_LIMIT


def assert_equal(program: Program, *executors: Executor, count: int = 3, seed: int = 0) -> None:
    inputs = random_inputs(program, count, seed)
    expected = Interpreter(program).run(inputs)
    for executor in executors:
        found = executor.run(inputs)
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert found[name].shape == array.shape
            assert np.array_equal(found[name], array), name


def assert_valid(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def ternary(rng: np.random.Generator, *shape: int) -> Weights:
    return Weights(rng.integers(-1, 2, shape), 3)


def bit_threshold(rng: np.random.Generator, channels: int, spread: int) -> Threshold:
    return Threshold(rng.integers(-spread, spread + 1, (channels, 1)), rng.choice((-1, 1), channels))


def gated_network(seed: int = 0) -> Program:
    """A small HEQ network: pixels, convolutions, an OR skip, a gated skip, pooling, class scores."""
    rng = np.random.default_rng(seed)
    b = Builder("gated")
    x = b.input("image", (1, 12, 12), Interval(0, 255))
    x = b.add(Conv2d(ternary(rng, 8, 1, 3, 3), padding=(1, 1)), x, name="stem")
    stem = b.add(bit_threshold(rng, 8, 200), x, name="stem_bits")
    x = b.add(Conv2d(ternary(rng, 8, 8, 3, 3), padding=(1, 1)), stem, name="conv")
    x = b.add(Or(), b.add(bit_threshold(rng, 8, 4), x), stem, name="or_skip")
    x = b.add(Conv2d(ternary(rng, 8, 8, 3, 3), padding=(1, 1)), x)
    x = b.add(bit_threshold(rng, 8, 4), b.add(MaxPool((2, 2), (2, 2)), x))
    gate = b.add(bit_threshold(rng, 8, 18), b.add(SumPool((6, 6), (6, 6)), x), name="gate")
    y = b.add(Conv2d(ternary(rng, 8, 8, 1, 1)), x)
    steps = Threshold(np.sort(rng.integers(-3, 4, (8, 3)), axis=1), np.ones(8, np.int64))
    x = b.add(Select(), gate, b.add(steps, y), x, name="select")
    x = b.add(Dense(ternary(rng, 10, 288), rng.integers(-9, 9, 10)), b.add(Reshape((288,)), x))
    return b.build(outputs=(x, b.add(ArgMax(), x, name="class")))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimization", OPTIMIZATION)
def test_optimization_levels_and_threads(optimization: str, threads: int, profile: str) -> None:
    for program in (gated_network(), OP_CASES["Conv2d"][3], OP_CASES["Requantize"][5]):
        assert_equal(program, OnnxExecutor(program, profile, optimization, threads), count=5)


def test_unknown_optimization_level() -> None:
    with pytest.raises(InputError) as caught:
        OnnxExecutor(gated_network(), optimization="O3")
    message = "optimization must be one of disabled, basic, extended, all, not 'O3'"
    assert str(caught.value) == message


@settings(max_examples=100)
@given(program=programs())
def test_random_programs(program: Program) -> None:
    for profile in PROFILES:
        assert_valid(build(program, profile))
        assert_equal(
            program,
            OnnxExecutor(program, profile),
            OnnxExecutor(program, profile, "disabled"),
            OnnxReferenceExecutor(program, profile),
        )


@pytest.mark.parametrize("op", OPS)
def test_every_op_in_the_modern_profile(op: str) -> None:
    for program in OP_CASES[op]:
        assert_equal(program, OnnxExecutor(program, "modern"), OnnxReferenceExecutor(program, "modern"))


@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_every_value_set_in_both_profiles(levels: int) -> None:
    program = value_set_program(levels)
    for profile in PROFILES:
        assert_valid(build(program, profile))
        assert_equal(
            program,
            OnnxExecutor(program, profile),
            OnnxExecutor(program, profile, "disabled"),
            OnnxReferenceExecutor(program, profile),
        )


def wide_conv(groups: int) -> Callable[[np.random.Generator], Op]:
    return lambda rng: Conv2d(ternary(rng, 4, 4 // groups, 3, 3), None, (2, 1), (1, 1), (1, 2), groups)


SIDE = (4, 6, 6)
EDGE = np.array([TOP, -TOP, 0, 5])
WIDE: dict[str, tuple[tuple[int, ...], Interval, Callable[[np.random.Generator], Op]]] = {
    "Conv2d": (SIDE, Interval(-(2**50), 2**50), wide_conv(1)),
    "Conv2d grouped": (SIDE, Interval(-(2**50), 2**50), wide_conv(2)),
    "Conv2d int32 sums": (SIDE, Interval(-(2**20), 2**20), wide_conv(1)),
    "Conv2d zero weights": (
        SIDE,
        Interval(0, TOP),
        lambda _: Conv2d(Weights(np.zeros((1, 4, 2, 2), int), 3)),
    ),
    "Conv2d wide bias": (
        SIDE,
        Interval(0, 9),
        lambda rng: Conv2d(ternary(rng, 2, 4, 2, 2), np.array([TOP // 2, -3])),
    ),
    "Dense": ((4,), Interval(-(2**58), 2**58), lambda rng: Dense(ternary(rng, 3, 4))),
    "Dense bias": (
        (4,),
        Interval(0, 1),
        lambda rng: Dense(ternary(rng, 2, 4), np.array([2**40, -(2**31)])),
    ),
    "Threshold": (
        (4, 2, 2),
        Interval(-TOP, TOP),
        lambda _: Threshold(EDGE[:, None], np.array([1, -1, 1, -1])),
    ),
    "Threshold int32 end": (
        (2,),
        Interval(-5, 2**31 - 1),
        lambda _: Threshold(np.array([[TOP], [2**31 - 1]]), np.array([1, -1])),
    ),
    "Threshold byte end": (
        (2,),
        Interval(0, 255),
        lambda _: Threshold(np.array([[256], [-1]]), np.array([1, -1])),
    ),
    "Threshold 300 steps": (
        (2,),
        Interval(-9, 400),
        lambda _: Threshold(np.array([range(300), range(399, 99, -1)]), np.array([1, -1])),
    ),
    "Not": ((3,), Interval(0, 2**32 - 1), lambda _: Not(32)),
    "Requantize": (
        (4, 2),
        Interval(-(2**40), 2**40),
        lambda rng: Requantize(EDGE[[3, 3, 3, 3]] * 9, EDGE // 2, rng.integers(0, 63, 4), -TOP, TOP),
    ),
    "Requantize floor": (
        (4, 2),
        Interval(-9, 9),
        lambda _: Requantize(
            np.array([1, -1, 3, 7]), np.array([0, 1, -2, 0]), np.array([1, 2, 62, 3]), -2, 300
        ),
    ),
    "Requantize below": (
        (2,),
        Interval(0, 3),
        lambda _: Requantize(np.ones(2, int), np.zeros(2, int), np.zeros(2, int), 900, TOP),
    ),
    "Lookup": ((4, 2), Interval(-1, 2), lambda _: Lookup(np.stack([EDGE, -EDGE, EDGE, EDGE // 3]), -1)),
    "Lookup high": (
        (3,),
        Interval(2**40, 2**40 + 2),
        lambda _: Lookup(np.array([[7, 1, 300, 9]]), 2**40 - 1),
    ),
    "MaxPool": (SIDE, Interval(-TOP, TOP), lambda _: MaxPool((3, 2), (2, 1), (1, 0))),
    "MaxPool bytes": (SIDE, Interval(0, 255), lambda _: MaxPool((3, 3), (1, 1), (1, 0))),
    "MaxPool negative": (SIDE, Interval(-9, -2), lambda _: MaxPool((3, 3), (2, 2), (1, 1))),
    "SumPool": (SIDE, Interval(-(2**57), 2**57), lambda _: SumPool((3, 2), (2, 2), (2, 1))),
    "SumPool offset": (SIDE, Interval(2**31 - 9, 2**31 - 3), lambda _: SumPool((1, 1), (1, 1))),
    "ArgMax": ((9,), Interval(-TOP, TOP), lambda _: ArgMax()),
    "Reshape": ((4, 2), Interval(-TOP, TOP), lambda _: Reshape((8,))),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("case", WIDE)
def test_ends_of_ranges(case: str, profile: str) -> None:
    shape, interval, make = WIDE[case]
    b = Builder("wide")
    x = b.input("x", shape, interval)
    program = b.build(outputs=(b.add(make(np.random.default_rng(3)), x, name="y"),))
    assert_valid(build(program, profile))
    assert_equal(
        program,
        OnnxExecutor(program, profile),
        OnnxExecutor(program, profile, "disabled"),
        OnnxReferenceExecutor(program, profile),
        count=40,
    )


@pytest.mark.parametrize("op", [Add(), Or(), Xor(), Concat()], ids=lambda op: op.name)
def test_two_wide_operands(op: Op) -> None:
    b = Builder("two")
    names = [b.input(n, (3, 2), Interval(0, top)) for n, top in (("x", TOP // 2), ("y", 3), ("z", 2**33))]
    results = [b.add(op, *names[:2]), b.add(op, names[1], names[1]), b.add(op, names[1], names[2])]
    program = b.build(outputs=tuple(results))
    assert_equal(program, OnnxExecutor(program), OnnxReferenceExecutor(program), count=20)


def test_a_narrow_sum_of_wide_operands() -> None:
    b = Builder("narrow")
    x, y = (b.input(n, (2,), Interval(c, c)) for n, c in (("x", 2**40), ("y", -(2**40))))
    program = b.build(outputs=(b.add(Add(), x, y),))
    assert_equal(program, OnnxExecutor(program))


def test_a_constant_condition_selects_outside_the_other_range() -> None:
    b = Builder("constant")
    x = b.input("x", (2,), Interval(1, 1))
    y, z = b.input("y", (2,), Interval(0, 7)), b.input("z", (2,), Interval(-(2**40), 0))
    program = b.build(outputs=(b.add(Select(), x, y, z),))
    assert_equal(program, OnnxExecutor(program), OnnxReferenceExecutor(program))
