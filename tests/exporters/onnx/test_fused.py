"""The fast form: which chains take it, which bounds turn it away, and that all stay exact."""

from collections import Counter

import numpy as np
import pytest

from exporters.onnx.build import build
from exporters.onnx.executor import OnnxExecutor, OnnxReferenceExecutor
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Add, Concat, Conv2d, Dense, MaxPool, Not, Or, Reshape, Select, Threshold
from runtime.types import Interval
from runtime.weights import MAX_EVEN_LEVELS, MAX_LEVELS, Weights, max_code
from tests.programs import random_codes, random_inputs

BIT, PIXEL = Interval(0, 1), Interval(0, 255)
POOLS = {"plain": None, "pooled": MaxPool((2, 2), (2, 2)), "overlapping": MaxPool((3, 2), (2, 1), (1, 1))}


def operators(program: Program) -> Counter[str]:
    return Counter(node.op_type for node in build(program).graph.node)


def assert_equal(program: Program, count: int = 6) -> None:
    inputs = random_inputs(program, count, seed=1)
    expected = Interpreter(program).run(inputs)
    executors = [OnnxExecutor(program, p, o) for p in ("portable", "modern") for o in ("all", "disabled")]
    for executor in (*executors, OnnxReferenceExecutor(program)):
        found = executor.run(inputs)
        for name, array in expected.items():
            assert np.array_equal(found[name], array), name


def spread_threshold(rng: np.random.Generator, channels: int, steps: int, spread: int) -> Threshold:
    """Rows of both directions, with ends that are never and always reached."""
    direction = np.where(np.arange(channels) % 2, -1, 1)
    rows = np.sort(rng.integers(-spread, spread + 1, (channels, steps)), axis=1)
    rows[0] += 10**9
    return Threshold(np.where(direction[:, None] > 0, rows, rows[:, ::-1]), direction)


def chain(
    interval: Interval,
    steps: int,
    *,
    pool: MaxPool | None = None,
    spread: int = 20,
    levels: int = 3,
    bias: bool = False,
    groups: int = 1,
) -> Program:
    rng = np.random.default_rng(levels * steps)
    b = Builder("chain")
    x = b.input("x", (6, 7, 7), interval)
    codes = random_codes(rng, (8, 6 // groups, 3, 3), levels)
    offsets = rng.integers(-7, 8, 8) if bias else None
    x = b.add(Conv2d(Weights(codes, levels), offsets, padding=(1, 1), groups=groups), x, name="conv")
    x = b.add(pool, x, name="pool") if pool else x
    return b.build(outputs=(b.add(spread_threshold(rng, 8, steps, spread), x, name="y"),))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("interval", [BIT, Interval(0, 3), Interval(-1, 1), Interval(0, 16)], ids=str)
def test_short_spans_become_one_qlinearconv(interval: Interval, steps: int, pool: str) -> None:
    program = chain(interval, steps, pool=POOLS[pool])
    found = operators(program)
    assert found["QLinearConv"] == 1
    assert not {"MatMulInteger", "ConvInteger", "Conv", "MatMul"} & set(found)
    assert_equal(program)


@pytest.mark.parametrize(
    "options", [{"levels": 127}, {"levels": 2}, {"levels": 64}, {"bias": True}, {"groups": 2}], ids=str
)
@pytest.mark.parametrize("interval", [BIT, PIXEL, Interval(-100, 155)], ids=str)
def test_one_step_fits_every_byte(interval: Interval, options: dict[str, int]) -> None:
    program = chain(interval, 1, spread=400, **options)
    assert operators(program)["QLinearConv"] == 1
    assert_equal(program)


def two_steps(distance: int) -> Program:
    b = Builder("span")
    x = b.input("x", (1, 4, 4), PIXEL)
    x = b.add(Conv2d(Weights(np.ones((1, 1, 2, 2), np.int8), 3)), x)
    steps = Threshold(np.array([[300, 300 + distance]]), np.array([1]))
    return b.build(outputs=(b.add(steps, x, name="y"),))


@pytest.mark.parametrize(("distance", "operator"), [(254, "QLinearConv"), (255, "MatMulInteger")])
def test_steps_further_apart_than_a_byte_are_compared_in_int32(distance: int, operator: str) -> None:
    program = two_steps(distance)
    found = operators(program)
    assert {o for o in ("QLinearConv", "MatMulInteger") if found[o]} == {operator}
    sums = np.arange(296, 304 + distance)
    windows = np.minimum(np.maximum(sums[:, None] - 255 * np.arange(4), 0), 255)
    images = np.zeros((len(sums), 1, 4, 4), np.int64)
    images[:, 0, :2, :2] = windows.reshape(-1, 2, 2)
    expected = Interpreter(program).run({"x": images})["y"]
    assert set(expected[:, 0, 0, 0].tolist()) == {0, 1, 2}
    assert np.array_equal(OnnxExecutor(program).run({"x": images})["y"], expected)


@pytest.mark.parametrize(
    ("interval", "groups", "operator"),
    [
        (PIXEL, 1, "MatMulInteger"),
        (PIXEL, 2, "ConvInteger"),
        (Interval(-9, 246), 1, "MatMulInteger"),
        (Interval(-9, 247), 1, "Conv"),
        (Interval(1, 256), 1, "Conv"),
        (Interval(0, 2**30), 1, "MatMul"),
        (Interval(0, 2**30), 2, "MatMul"),
    ],
    ids=str,
)
def test_wider_operands_and_steps_take_another_exact_form(
    interval: Interval, groups: int, operator: str
) -> None:
    program = chain(interval, 3, spread=interval.hi * 5, groups=groups)
    linear = {"QLinearConv", "MatMulInteger", "ConvInteger", "Conv", "MatMul"}
    assert linear & set(operators(program)) == {operator}
    assert_equal(program)


@pytest.mark.parametrize(("top", "operator"), [(2**24, "Conv"), (2**24 + 1, "MatMul")])
def test_float32_is_used_only_while_it_counts_exactly(top: int, operator: str) -> None:
    b = Builder("float")
    x = b.input("x", (1, 2, 2), Interval(0, top))
    y = b.add(Conv2d(Weights(np.ones((1, 1, 1, 1), np.int8), 3)), x)
    program = b.build(outputs=(y,))
    assert {"Conv", "MatMul"} & set(operators(program)) == {operator}
    assert_equal(program, count=40)


@pytest.mark.parametrize(("taps", "operator"), [(133_674, "QLinearConv"), (133_675, "MatMul")])
def test_int32_sums_are_used_only_while_they_fit(taps: int, operator: str) -> None:
    """255 * 63 * 133 674 is below 2**31, with one more tap it is not."""
    b = Builder("long")
    x = b.input("x", (taps, 1, 1), PIXEL)
    x = b.add(Conv2d(Weights(np.full((1, taps, 1, 1), 63, np.int8), 127)), x)
    steps = Threshold(np.array([[1]]), np.array([1]))
    program = b.build(outputs=(b.add(steps, x),))
    assert {"QLinearConv", "MatMulInteger", "MatMul"} & set(operators(program)) == {operator}
    assert_equal(program, count=2)


@pytest.mark.parametrize(("inputs", "operator"), [(133_674, "MatMulInteger"), (133_675, "MatMul")])
def test_dense_int32_sums_are_used_only_while_they_fit(inputs: int, operator: str) -> None:
    b = Builder("long")
    x = b.input("x", (inputs,), PIXEL)
    x = b.add(Dense(Weights(np.full((1, inputs), -63, np.int8), 127)), x)
    program = b.build(outputs=(x,))
    assert {"MatMulInteger", "MatMul"} & set(operators(program)) == {operator}
    assert_equal(program, count=2)


def test_weights_stay_below_the_saturation_of_x86() -> None:
    """Pairs of uint8 x int8 products are added in int16 on x86 without VNNI."""
    assert all(2 * 255 * max_code(most) < 2**15 for most in (MAX_LEVELS, MAX_EVEN_LEVELS))


def deep(rng: np.random.Generator, **extra: bool) -> Program:
    b = Builder("deep")
    x = b.input("x", (3, 8, 8), PIXEL)
    for layer in range(3):
        channels = b.type_of(x).shape[0]
        x = b.add(Conv2d(Weights(rng.integers(-1, 2, (6, channels, 3, 3)), 3), padding=(1, 1)), x)
        x = b.add(spread_threshold(rng, 6, 1, 5), x, name=f"bits{layer}")
        if layer == 1 and extra.get("pool"):
            x = b.add(MaxPool((2, 2), (2, 2)), x)
    return b.build(outputs=(x,))


def test_bits_travel_as_masks_from_convolution_to_convolution() -> None:
    program = deep(np.random.default_rng(0), pool=True)
    found = operators(program)
    assert (found["QLinearConv"], found["MaxPool"]) == (3, 1)
    assert not {"Mul", "GreaterOrEqual", "Where"} & set(found)
    assert found["BitwiseAnd"] == 1  # the output alone is brought back to 0 and 1
    assert_equal(program)


def test_masks_meet_every_other_op() -> None:
    rng = np.random.default_rng(5)
    b = Builder("masks")
    x = b.input("x", (2, 4, 4), BIT)

    def bits(source: str) -> str:
        conv = Conv2d(Weights(rng.integers(-1, 2, (2, 2, 3, 3)), 3), padding=(1, 1))
        return b.add(spread_threshold(rng, 2, 1, 2), b.add(conv, source))

    p, q = bits(x), bits(x)
    both, either = b.add(Concat(), p, q), b.add(Or(), p, x)
    chosen = b.add(Select(), p, b.add(Not(), q), p)
    wide = b.add(Not(3), p)
    codes = b.add(
        spread_threshold(rng, 2, 3, 3),
        b.add(Conv2d(Weights(np.eye(2, dtype=int).reshape(2, 2, 1, 1), 3)), p),
    )
    flat = b.add(Reshape((32,)), p)
    scores = b.add(Dense(Weights(rng.integers(-1, 2, (3, 32)), 3)), flat)
    outputs = (both, either, chosen, wide, codes, scores, b.add(Add(), p, chosen), bits(either), p)
    program = b.build(outputs=outputs)
    assert operators(program)["QLinearConv"] == 4
    assert_equal(program)


@pytest.mark.parametrize("reader", ["output", "second threshold"])
def test_a_sum_with_other_readers_is_not_absorbed(reader: str) -> None:
    b = Builder("shared")
    x = b.input("x", (1, 4, 4), PIXEL)
    conv = b.add(Conv2d(Weights(np.ones((2, 1, 2, 2), np.int8), 3)), x)
    steps = Threshold(np.array([[9], [400]]), np.array([1, -1]))
    y = b.add(steps, conv)
    program = b.build(outputs=(y, conv if reader == "output" else b.add(steps, conv)))
    assert operators(program)["QLinearConv"] == 0
    assert_equal(program)
