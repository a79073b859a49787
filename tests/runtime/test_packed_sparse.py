"""Programs with sparse layers, and how their lists are cut."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, Threshold
from runtime.packed.adders import schedule
from runtime.packed.chunks import WORKSPACE_BYTES, Column, cut_outputs
from runtime.packed.executor import PackedExecutor
from runtime.packed.layout import Call, run_all
from runtime.packed.planes import Words
from runtime.session import Session
from runtime.types import IntArray, Interval
from runtime.weights import Weights
from tests.runtime.test_packed_layers import sparse_codes


def sparse_program(bits: int, readers: int, density: float = 0.03) -> Program:
    """A sparse convolution read by several thresholds."""
    rng = np.random.default_rng(bits)
    b = Builder("sparse")
    x = b.input("x", (64, 8, 8), Interval(0, (1 << bits) - 1))
    sums = b.add(Conv2d(Weights(sparse_codes(rng, (64, 64, 3, 3), 3, density), 3), padding=(1, 1)), x)
    direction = rng.choice((-1, 1), 64)
    outputs = []
    for k in range(readers):
        thresholds = np.sort(rng.integers(-3, 4, (64, 1 + 2 * k)) * direction[:, None]) * direction[:, None]
        outputs.append(b.add(Threshold(thresholds, direction), sums))
    return b.build((*outputs, sums) if readers > 1 else (*outputs,))


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_programs_with_sparse_layers(bits: int, readers: int, batch: int) -> None:
    program = sparse_program(bits, readers)
    x = np.random.default_rng(0).integers(0, 1 << bits, (batch, 64, 8, 8))
    expected = Interpreter(program).run({"x": x})
    for dtype in (np.int64, np.uint8):
        found = Session(program, "packed", kernel="bit-sliced").run(x.astype(dtype))
        assert all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.mark.parametrize("batch", [1, 3, 64, 200])
def test_sparse_dense_layers(batch: int) -> None:
    rng = np.random.default_rng(0)
    b = Builder("dense")
    x = b.input("x", (500,), Interval(0, 3))
    y = b.add(Dense(Weights(sparse_codes(rng, (70, 500), 7, 0.02), 7), rng.integers(-9, 9, 70)), x)
    program = b.build((y,))
    values = rng.integers(0, 4, (batch, 500))
    expected = Interpreter(program).run({"x": values})[y]
    assert np.array_equal(Session(program, "packed", kernel="bit-sliced").run(values)[y], expected)


@pytest.mark.parametrize(("density", "kernel"), [(0.0, "bit-sliced"), (0.03, "bit-sliced"), (0.9, "blas")])
def test_lists_are_for_sparse_weights(density: float, kernel: str) -> None:
    (row,) = PackedExecutor(sparse_program(1, 1, density)).describe(64)
    assert row.kernel == kernel


def test_one_session_runs_in_several_threads() -> None:
    program = sparse_program(2, 3)
    session = Session(program, "packed")
    batches = [np.random.default_rng(seed).integers(0, 4, (9, 64, 8, 8)) for seed in range(8)]
    expected = [Session(program, "interpreter").run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(session.run, batches))
    for wanted, got in zip(expected, found, strict=True):
        assert all(np.array_equal(got[name], array) for name, array in wanted.items())


def numbers(rows: Words, weights: IntArray) -> IntArray:
    """Sum of weighted bit rows (rows, words), one number a lane."""
    bits = np.unpackbits(rows.view(np.uint8).reshape(len(rows), 8 * rows.shape[1]), axis=1)
    return weights @ bits.astype(np.int64)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_adders_give_the_bits_of_sums_that_are_asked_for(counts: list[int], lowest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    most = sum(count << column for column, count in enumerate(counts))
    bits = max(lowest + 1, most.bit_length())
    plan = schedule((*counts,), bits)
    given_rows = [rng.integers(0, 2**64, (count, 2), np.uint64) for count in counts]
    workspace, spare = (rng.integers(0, 2**64, (n, 2), np.uint64) for n in (plan.rows, plan.spare))
    totals = rng.integers(0, 2**64, (bits - lowest, 2), np.uint64)

    def fetch(column: int, first: int) -> list[Call]:
        target = workspace[first : first + counts[column]]
        return [partial(np.copyto, target, given_rows[column])]

    run_all([*plan.calls(workspace, spare, totals, fetch, lowest)])
    weights = np.repeat(1 << np.arange(len(counts)), counts)
    wanted = numbers(np.concatenate(given_rows), weights)
    assert np.array_equal(numbers(totals, 1 << np.arange(bits - lowest)), wanted >> lowest)


def test_chunks_hold_every_output_within_the_workspace() -> None:
    rng = np.random.default_rng(0)
    counts = -np.sort(-rng.integers(0, 400, 300))
    column = Column(np.zeros((400, 300), np.intp), counts)
    for words in (1, 16, 600):
        cut = cut_outputs([column], counts, words)
        edges = sorted((chunk.start, chunk.stop) for chunk in cut.chunks)
        assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
        assert edges[-1][1] == 300
        for chunk in cut.chunks:
            size = 8 * chunk.rows * (chunk.stop - chunk.start) * words
            assert size <= WORKSPACE_BYTES or chunk.stop - chunk.start == 1
