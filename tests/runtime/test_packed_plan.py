"""The plan: kernels and layouts, memory by lifetime, what a run really takes, options of the executor."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import session as session_module
from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, MaxPool, Or, Reshape, Select, SumPool, Threshold
from runtime.packed.arena import Span, place
from runtime.packed.executor import KERNELS, PackedExecutor
from runtime.packed.layout import ALIGNMENT, PLANES, Block
from runtime.session import Session
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import programs, random_codes, random_inputs

SMALL_BYTES = 1 << 18
"""What a run may take beside its plan: Python's objects, and the outputs."""


def network(bits: int = 1, density: float = 1.0) -> Program:
    """Convolutions with an OR and a MUX skip, a pool and a classifier."""
    rng = np.random.default_rng(bits)
    b = Builder("network")

    def layer(x: str, outputs: int) -> str:
        codes = random_codes(rng, (outputs, b.type_of(x).channels, 3, 3), 3)
        codes = np.where(rng.random(codes.shape) < density, codes, 0)
        y = b.add(Conv2d(Weights(codes, 3), padding=(1, 1)), x)
        direction = rng.choice((-1, 1), outputs)
        limits = np.sort(rng.integers(-9, 9, (outputs, (1 << bits) - 1)) * direction[:, None])
        return b.add(Threshold(limits * direction[:, None], direction), y)

    x = b.input("x", (3, 16, 16), Interval(0, 255))
    first = layer(x, 96)
    joined = b.add(Or(), layer(first, 96), first)
    chosen = b.add(
        Threshold(np.zeros((96, 1), np.int64), np.ones(96, np.int64)),
        b.add(SumPool((16, 16), (16, 16)), joined),
    )
    pooled = b.add(MaxPool((2, 2), (2, 2)), b.add(Select(), chosen, joined, first))
    flat = b.add(Reshape((96 * 64,)), layer(pooled, 96))
    return b.build(
        (b.add(Dense(Weights(random_codes(rng, (10, 96 * 64), 127), 127)), flat, name="scores"),)
    )


def pixels(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, 3, 16, 16)).astype(np.uint8)


spans = st.builds(
    lambda size, first, length: Span(Block((size,), np.dtype(np.uint8)), first, first + length),
    st.integers(0, 500),
    st.integers(0, 20),
    st.integers(0, 9),
)


@given(st.lists(spans, max_size=25))
def test_blocks_in_use_at_once_never_overlap(items: list[Span]) -> None:
    starts, size = place(items)
    assert all(start % ALIGNMENT == 0 for start in starts)
    for i, a in enumerate(items):
        assert starts[i] + a.block.bytes <= size
        for j, b in enumerate(items[:i]):
            apart = starts[i] + a.block.bytes <= starts[j] or starts[j] + b.block.bytes <= starts[i]
            assert apart or a.last < b.first or b.last < a.first
    peak = max((sum(s.block.bytes for s in items if s.first <= t <= s.last) for t in range(30)), default=0)
    assert peak <= size


@settings(max_examples=40, deadline=None)
@given(programs(), st.sampled_from(KERNELS), st.integers(1, 2))
def test_every_option_gives_the_same_bits(program: Program, kernel: str, threads: int) -> None:
    session = Session(program, "packed", kernel=kernel, threads=threads)
    for batch in (1, 5, 1):
        inputs = random_inputs(program, batch, batch)
        for name, wanted in Interpreter(program).run(inputs).items():
            assert np.array_equal(session.run(inputs)[name], wanted)


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_networks_with_skips(kernel: str, bits: int) -> None:
    program = network(bits, density=0.2)
    for batch in (1, 7):
        expected = Interpreter(program).run({"x": pixels(batch)})["scores"]
        for threads in (1, 3):
            session = Session(program, "packed", kernel=kernel, threads=threads)
            assert np.array_equal(session.run(pixels(batch))["scores"], expected)


def test_single_bits_stay_planes_between_layers_of_words() -> None:
    rows = {row.node: row for row in PackedExecutor(network(), kernel="xor-count").describe()}
    on_planes = [node for node, row in rows.items() if row.layout.startswith(PLANES)]
    assert {"or", "select", "maxpool"} <= set(on_planes)
    assert not [row for row in PackedExecutor(network(), kernel="blas").describe() if PLANES in row.layout]


def test_a_layer_ends_with_the_threshold_that_alone_reads_it() -> None:
    b = Builder("twice")
    x = b.input("x", (4, 5, 5), Interval(0, 1))
    y = b.add(Conv2d(Weights(np.ones((4, 4, 1, 1), np.int8), 3)), x, name="sums")
    bit = Threshold(np.ones((4, 1), np.int64), np.ones(4, np.int64))
    first = b.add(bit, y, name="first")
    alone, both = b.build((first,)), b.build((first, b.add(bit, y, name="second")))
    assert [row.node for row in PackedExecutor(alone).describe()] == ["first"]
    assert [row.node for row in PackedExecutor(both).describe()] == ["sums", "first", "second"]


def test_the_kernel_that_is_asked_for_runs_where_it_can() -> None:
    for kernel in KERNELS[1:]:
        rows = PackedExecutor(network(density=0.2), kernel=kernel).describe(4)
        assert {row.kernel for row in rows if row.node.startswith("threshold")} >= {kernel}
        assert all(row.bytes >= 0 and row.nanoseconds > 0 for row in rows)
        assert rows[-1].kernel in ("blas", "xor-count")  # its weights are too many for lists


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "fast"}, "^kernel must be one of auto, xor-count, bit-sliced, blas, not 'fast'$"),
        ({"threads": 0}, "^threads must be at least 1, not 0$"),
    ],
)
def test_unknown_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Session(network(), "packed", **options)


def peak_of(call) -> int:
    """Bytes that Python and NumPy hold at most during a call, beyond those before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [1, 64])
def test_a_run_takes_what_is_planned(kernel: str, batch: int) -> None:
    program = network(2, density=0.1)
    PackedExecutor(program, kernel=kernel).run({"x": pixels(batch)})  # whatever is cached for all
    engine = PackedExecutor(program, kernel=kernel)
    plan = engine.plan(batch)
    held = engine.plan(batch).peak_bytes
    engine.plan(batch).bind(np.empty(plan.arena_bytes + ALIGNMENT, np.uint8))  # packs the weights
    x = {"x": pixels(batch)}
    assert peak_of(lambda: engine.run(x)) <= 1.5 * held + SMALL_BYTES
    assert peak_of(lambda: engine.run(x)) <= 1.5 * plan.transient_bytes + SMALL_BYTES


def test_memory_is_flat_from_one_to_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CHUNK_BYTES", 2 << 20)
    session = Session(network(2), "packed")
    many = pixels(40 * session.chunk)
    session.run(many[: session.chunk])
    plan = session.engine.plan(session.chunk)
    assert plan.peak_bytes <= 2 << 20
    outputs = 8 * 10 * len(many)
    assert peak_of(lambda: session.run(many)) <= 1.5 * plan.transient_bytes + outputs + SMALL_BYTES


def test_the_listing_covers_every_node_once() -> None:
    program = network()
    plan = PackedExecutor(program).plan(3)
    covered = [node.result for step in plan.steps for node in step.stage.nodes]
    assert covered == [node.result for node in program.nodes]
    assert plan.nanoseconds == pytest.approx(sum(row.nanoseconds for row in plan.rows))
    assert plan.peak_bytes == plan.arena_bytes + plan.transient_bytes
