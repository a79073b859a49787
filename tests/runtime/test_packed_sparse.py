"""Sparse layers by carry-save adders against the interpreter."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, Threshold
from runtime.packed.chunks import WORKSPACE_BYTES, Column, cut_outputs
from runtime.packed.counters import Comparison, Counters
from runtime.packed.linear import compile_conv2d, compile_dense, tap_rows
from runtime.packed.scratch import Scratch
from runtime.packed.sparse import SparsePlan
from runtime.packed.value import Value
from runtime.session import Session
from runtime.types import Interval, TensorType
from runtime.weights import Weights, hamilton_matrix, max_code
from tests.programs import LEVELS, random_codes


def sparse_codes(rng, shape, levels, density):
    """Random codes of which a share is kept; levels without a zero keep all."""
    codes = random_codes(rng, shape, levels)
    return np.where(rng.random(shape) < density, codes, 0).astype(np.int8) if levels % 2 else codes


@st.composite
def layers(draw):
    """A convolution of any geometry and value set, the planes of its operand, and a batch size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(2))
    stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(2)) for _ in range(2))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(2))
    size = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 12))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    levels = draw(st.sampled_from(LEVELS))
    quarters = draw(st.booleans())
    outputs, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    density = draw(st.sampled_from((0, 0.03, 0.1, 0.5, 1)))
    if quarters:
        weights = Weights.hamilton(
            sparse_codes(rng, (4, outputs, channels, *kernel), levels, density), levels
        )
        outputs, channels = 4 * outputs, 4 * channels
    else:
        weights = Weights(sparse_codes(rng, (outputs, channels, *kernel), levels, density), levels)
    bias = rng.integers(-(2**40), 2**40, outputs) if draw(st.booleans()) else None
    op = Conv2d(weights, bias, stride, padding, dilation)
    return (
        op,
        TensorType((channels, *size), Interval(0, draw(st.integers(1, 255)))),
        draw(st.integers(1, 70)),
    )


def plan_of(op, operand):
    taps = tap_rows(op, operand, op.infer(operand))
    return SparsePlan.of(op.weights, op.bias, taps, operand.bits, Scratch())


def sums_of(op, operand, x):
    return Counters(plan_of(op, operand), x).integers().swapaxes(0, 1)


def operand_of(rng, type_, batch):
    return rng.integers(0, type_.interval.hi + 1, (batch, *type_.shape))


@settings(max_examples=150, deadline=None)
@given(layers())
def test_sums_of_any_convolution(layer):
    op, type_, batch = layer
    x = operand_of(np.random.default_rng(batch), type_, batch)
    assert np.array_equal(sums_of(op, type_, x), op.evaluate(x))


@settings(max_examples=100, deadline=None)
@given(layers(), st.integers(1, 5))
def test_thresholds_on_counters(layer, count):
    op, type_, batch = layer
    rng = np.random.default_rng(batch)
    x = operand_of(rng, type_, batch)
    sums = op.evaluate(x)
    direction = rng.choice((-1, 1), sums.shape[1])
    near = rng.choice(np.append(sums, (-(2**62), 2**62)), (sums.shape[1], count))
    threshold = Threshold(np.sort(near * direction[:, None]) * direction[:, None], direction)
    found = Comparison.of(threshold, plan_of(op, type_), count.bit_length()).codes(x)
    assert np.array_equal(found.swapaxes(0, 1), threshold.evaluate(sums))


def test_outputs_without_weights_are_the_bias():
    codes = np.zeros((3, 5, 3, 3), np.int8)
    codes[1, 2, 0, 1] = -1
    op, type_ = (
        Conv2d(Weights(codes, 3), np.array([7, -7, 0]), padding=(1, 1)),
        TensorType((5, 4, 4), Interval(0, 1)),
    )
    x = operand_of(np.random.default_rng(0), type_, 3)
    found = sums_of(op, type_, x)
    assert np.array_equal(found, op.evaluate(x))
    assert (found[:, 0] == 7).all()


def test_hamilton_weights_run_from_their_components():
    rng = np.random.default_rng(0)
    components = sparse_codes(rng, (4, 3, 2, 3, 3), 5, 0.3)
    op = Conv2d(Weights.hamilton(components, 5), padding=(1, 1))
    plain = Conv2d(Weights(hamilton_matrix(components), 5, "base"), padding=(1, 1))
    type_ = TensorType((8, 6, 6), Interval(0, 3))
    x = operand_of(rng, type_, 5)
    expected = sums_of(plain, type_, x)
    assert np.array_equal(sums_of(op, type_, x), expected)


def test_large_batches_are_cut_in_tiles():
    rng = np.random.default_rng(0)
    op, type_ = (
        Conv2d(Weights(sparse_codes(rng, (4, 64, 3, 3), 3, 0.1), 3)),
        TensorType((64, 9, 9), Interval(0, 3)),
    )
    plan, x = plan_of(op, type_), operand_of(rng, type_, 1000)
    tiles = list(plan.tiles(x))
    assert tiles[-1][1].stop > 1000 > tiles[-1][1].start > 0
    assert tiles[-1][0].shape[2] < tiles[0][0].shape[2]
    assert np.array_equal(Counters(plan, x).integers().swapaxes(0, 1), op.evaluate(x))


def sparse_program(bits: int, readers: int) -> Program:
    """A sparse convolution read by several thresholds and, sparse again, by a Dense."""
    rng = np.random.default_rng(bits)
    b = Builder("sparse")
    x = b.input("x", (64, 8, 8), Interval(0, (1 << bits) - 1))
    sums = b.add(Conv2d(Weights(sparse_codes(rng, (64, 64, 3, 3), 3, 0.03), 3), padding=(1, 1)), x)
    direction = rng.choice((-1, 1), 64)
    outputs = []
    for k in range(readers):
        thresholds = np.sort(rng.integers(-3, 4, (64, 1 + 2 * k)) * direction[:, None]) * direction[:, None]
        outputs.append(b.add(Threshold(thresholds, direction), sums))
    return b.build((*outputs, sums) if readers > 1 else (*outputs,))


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_programs_with_sparse_layers(bits, readers, batch):
    program = sparse_program(bits, readers)
    x = np.random.default_rng(0).integers(0, 1 << bits, (batch, 64, 8, 8))
    expected = Interpreter(program).run({"x": x})
    for dtype in (np.int64, np.uint8):
        found = Session(program, "packed").run(x.astype(dtype))
        assert all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.mark.parametrize("batch", [1, 3, 64, 200])
def test_sparse_dense_layers(batch):
    rng = np.random.default_rng(0)
    b = Builder("dense")
    x = b.input("x", (500,), Interval(0, 3))
    y = b.add(Dense(Weights(sparse_codes(rng, (70, 500), 7, 0.02), 7), rng.integers(-9, 9, 70)), x)
    program = b.build((y,))
    values = rng.integers(0, 4, (batch, 500))
    expected = Interpreter(program).run({"x": values})[y]
    assert np.array_equal(Session(program, "packed").run(values)[y], expected)


def test_largest_codes_and_activations_do_not_overflow():
    levels = 127
    codes = np.full((1, 40, 3, 3), max_code(levels), np.int8)
    codes[0, ::2] = -max_code(levels)
    op, type_ = Conv2d(Weights(codes, levels)), TensorType((40, 5, 5), Interval(0, 255))
    x = np.zeros((2, 40, 5, 5), np.int64)
    x[0, ::2], x[1, 1::2] = 255, 255
    assert np.array_equal(sums_of(op, type_, x), op.evaluate(x))


def test_one_session_runs_in_several_threads():
    program = sparse_program(2, 3)
    session = Session(program, "packed")
    batches = [np.random.default_rng(seed).integers(0, 4, (9, 64, 8, 8)) for seed in range(8)]
    expected = [Session(program, "interpreter").run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(session.run, batches))
    for wanted, got in zip(expected, found, strict=True):
        assert all(np.array_equal(got[name], array) for name, array in wanted.items())


@pytest.mark.parametrize(("density", "sparse"), [(0.0, True), (0.03, True), (0.9, False)])
def test_lists_are_for_sparse_weights(density, sparse):
    rng = np.random.default_rng(0)
    op = Conv2d(Weights(sparse_codes(rng, (64, 64, 3, 3), 3, density), 3), padding=(1, 1))
    operand = TensorType((64, 16, 16), Interval(0, 1))
    result = op.infer(operand)
    kernel = compile_conv2d(op, [operand], result, Scratch())
    x = operand_of(rng, operand, 2)
    value = kernel([Value(operand, 2, x)])
    assert (value.counters is not None) == sparse
    assert np.array_equal(value.as_array(), op.evaluate(x))


def test_a_single_sample_of_a_dense_layer_keeps_to_words():
    rng = np.random.default_rng(0)
    op = Dense(Weights(sparse_codes(rng, (512, 2048), 3, 0.2), 3))
    operand = TensorType((2048,), Interval(0, 1))
    kernel = compile_dense(op, [operand], op.infer(operand), Scratch())
    for batch, sparse in ((1, False), (256, True)):
        x = operand_of(rng, operand, batch)
        value = kernel([Value(operand, batch, x)])
        assert (value.counters is not None) == sparse
        assert np.array_equal(value.as_array(), op.evaluate(x))


def test_chunks_hold_every_output_within_the_workspace():
    rng = np.random.default_rng(0)
    counts = -np.sort(-rng.integers(0, 400, 300))
    column = Column(np.zeros((400, 300), np.intp), counts)
    for words in (1, 16, 600):
        cut = cut_outputs([column], counts, words)
        edges = sorted((chunk.start, chunk.stop) for chunk in cut.chunks)
        assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
        assert edges[-1][1] == 300
        for chunk in cut.chunks:
            size = 8 * chunk.schedule.rows * (chunk.stop - chunk.start) * words
            assert size <= WORKSPACE_BYTES or chunk.stop - chunk.start == 1
