"""Input checks, batching, and the packed executor's building blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import session as session_module
from runtime.errors import InputError, MissingToolError
from runtime.ir import Builder
from runtime.ops import Add, Reshape, Threshold
from runtime.packed.planes import pack_bits, pack_last, unpack_last
from runtime.session import EXECUTORS, ExecutorRow, Session
from runtime.types import Interval
from tests.runtime.test_ir import tiny


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 4, 4)).astype(np.uint8)


@pytest.mark.parametrize("executor", sorted(EXECUTORS))
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_outputs_have_shape_and_dtype_at_any_batch(executor: str, batch: int) -> None:
    outputs = Session(tiny(), executor).run(images(batch))
    assert outputs["scores"].shape == (batch, 3)
    assert outputs["scores"].dtype == np.int8
    assert outputs["class"].shape == (batch,)


@pytest.mark.parametrize(
    ("executor", "room", "steps"), [("interpreter", 3 * 16 * 32, 3), ("packed", 7000, 4)]
)
def test_chunks_do_not_change_results(
    executor: str, room: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Session(tiny(), executor).run(images(20))
    monkeypatch.setattr(session_module, "CHUNK_BYTES", room)
    done: list[int] = []
    parts = Session(tiny(), executor).run(images(20), done.append)
    assert done == [min(steps, 20 - start) for start in range(0, 20, steps)]
    for name, array in whole.items():
        assert np.array_equal(array, parts[name])


def test_any_integer_dtype_and_a_missing_channel_axis_are_accepted() -> None:
    session, x = Session(tiny()), images(3)
    expected = session.run(x)["scores"]
    for variant in (x.astype(np.int64), x.astype(np.uint16), x[:, 0]):
        assert np.array_equal(session.run(variant)["scores"], expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 4, 4)), r"input 'image' must hold integers in \[0, 16\], not float64"),
        (np.zeros((2, 1, 4, 5), int), r"must have shape \(batch, 1, 4, 4\), not \(2, 1, 4, 5\)"),
        (np.zeros((4, 4), int), "must have shape"),
        (np.array(3), "must have shape"),
        (np.full((1, 1, 4, 4), 17), r"input 'image' has value 17 outside \[0, 16\]"),
        (np.full((1, 1, 4, 4), -1), r"has value -1 outside \[0, 16\]"),
        (np.array([["a"]]), "must hold integers"),
        ({"picture": images(1)}, "inputs must be 'image', not 'picture'"),
    ],
)
def test_bad_inputs_are_one_line(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Session(tiny()).run(array)


def test_several_inputs_are_given_by_name() -> None:
    b = Builder("two")
    x, y = (b.input(name, (2,), Interval(0, 5)) for name in "xy")
    session = Session(b.build((b.add(Add(), x, y, name="sum"),)))
    ones = np.ones((3, 2), int)
    assert session.run({"x": ones, "y": ones})["sum"].tolist() == [[2, 2]] * 3
    with pytest.raises(InputError, match="the program has 2 inputs; give them by name"):
        session.run(ones)
    with pytest.raises(InputError, match="all inputs must have one batch size"):
        session.run({"x": ones, "y": ones[:1]})


def test_unknown_and_uninstalled_executors() -> None:
    with pytest.raises(InputError, match="executor must be one of interpreter, packed, not 'gpu'"):
        Session(tiny(), "gpu")
    row = ExecutorRow("nowhere:Engine", "absent", ("no_such_package",), "fast")
    assert row.missing() == "needs no_such_package: pip install 'gatefold[fast]'"
    message = r"^executor fast needs no_such_package: pip install 'gatefold\[fast\]'$"
    with pytest.raises(MissingToolError, match=message):
        Session(tiny(), "fast", {"fast": row})


@given(st.integers(1, 200), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_bit_packing_is_invertible_and_leaves_unused_bits_zero(
    channels: int, planes: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << planes, (3, 2, channels)).astype(np.uint8)
    words = np.full((planes, -(-channels // 64), 3, 2), 2**64 - 1, np.uint64)
    pack_last(codes, words)
    found, spare = np.empty_like(codes), np.empty((3, 2, 64 * words.shape[1]), np.uint8)
    unpack_last(words, found)
    assert np.array_equal(found, codes)
    unpack_last(words, spare)
    assert not spare[..., channels:].any()
    assert np.array_equal(words[0], pack_bits(np.moveaxis(codes & 1, -1, 0)))


def test_more_thresholds_than_a_byte_counts() -> None:
    b = Builder("many")
    x = b.input("x", (2, 3), Interval(0, 3))
    falling = np.stack([np.arange(400, 100, -1), np.arange(3, -297, -1)])
    program = b.build((b.add(Threshold(falling, np.array([-1, -1])), x, name="y"),))
    samples = np.random.default_rng(0).integers(0, 4, (5, 2, 3))
    expected = Session(program, "interpreter").run(samples)["y"]
    assert np.array_equal(Session(program, "packed").run(samples)["y"], expected)


def test_a_count_above_a_byte_stays_exact_when_few_are_reached() -> None:
    b = Builder("few")
    x = b.input("x", (1, 2), Interval(0, 3))
    falling = np.arange(3, -297, -1)[None]
    program = b.build((b.add(Threshold(falling, np.array([-1])), x, name="y"),))
    assert Session(program, "packed").run(np.array([[[0, 3]]]))["y"].tolist() == [[[4, 1]]]


def test_bit_order_is_channel_64i_plus_j() -> None:
    bits = np.zeros((70, 1), np.uint8)
    bits[[3, 69]] = 1
    assert pack_bits(bits).ravel().tolist() == [1 << 3, 1 << 5]


@pytest.mark.parametrize("executor", ["interpreter", "packed"])
def test_outputs_share_no_memory(executor: str) -> None:
    b = Builder("twice")
    x = b.input("x", (2, 3), Interval(-(2**40), 2**40))
    y = b.add(Add(), x, x)
    program = b.build((y, b.add(Reshape((6,)), y)))
    first, second = Session(program, executor).run(np.ones((1, 2, 3), np.int64)).values()
    first[:] = 0
    assert (second == 2).all()
