"""Weight value sets and encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ProgramError
from runtime.weights import (
    ENCODINGS,
    Weights,
    code_step,
    codes_of,
    digits_of,
    digits_per_byte,
    max_code,
    planes_of,
    smallest_encoding,
)
from tests.programs import random_codes

ODD, EVEN = range(3, 128, 2), range(2, 65, 2)
some_levels = st.sampled_from([*ODD, *EVEN])
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("levels", [*ODD, *EVEN])
def test_a_value_set_is_symmetric_and_evenly_spaced(levels: int) -> None:
    values = (
        list(range(-(levels - 1), levels, 2))
        if levels in EVEN
        else list(range(-(levels // 2), levels // 2 + 1))
    )
    assert len(values) == levels
    assert (max_code(levels), code_step(levels)) == (values[-1], values[1] - values[0])
    codes = codes_of(np.arange(levels), levels)
    assert (codes.dtype, codes.tolist()) == (np.int8, values)
    assert digits_of(codes, levels).tolist() == list(range(levels))
    for encoding in ENCODINGS:
        weights = Weights(codes, levels, encoding)
        assert Weights.unpack(weights.pack(), (levels,), levels, encoding).codes.tolist() == values


@given(some_levels, shapes, st.sampled_from(sorted(ENCODINGS)), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(levels: int, shape: tuple[int, ...], encoding: str, seed: int) -> None:
    codes = random_codes(np.random.default_rng(seed), shape, levels)
    weights = Weights(codes, levels, encoding)
    packed = weights.pack()
    assert packed.dtype == np.uint8
    assert packed.size == weights.stored_bytes
    again = Weights.unpack(packed, shape, levels, encoding)
    assert np.array_equal(again.codes, codes)


@given(some_levels, st.integers(0, 2**32 - 1))
def test_planes_are_sign_and_magnitude(levels: int, seed: int) -> None:
    codes = random_codes(np.random.default_rng(seed), (50,), levels)
    neg, *magnitudes = planes_of(codes, levels).astype(int)
    value = sum(m << i for i, m in enumerate(magnitudes))
    assert np.array_equal((1 - 2 * neg) * value, codes)
    assert not (neg & (value == 0)).any()


def test_sizes_of_the_named_value_sets() -> None:
    ternary = Weights(np.ones((10, 10), int), 3)
    quinary = Weights(np.ones((10, 9), int), 5)
    assert (ternary.value_set, ternary.encoding_label, ternary.stored_bytes) == ("ternary", "base3", 20)
    assert (quinary.value_set, quinary.encoding_label, quinary.stored_bytes) == ("quinary", "base5", 30)
    assert [digits_per_byte(n) for n in (3, 5, 7, 15, 17, 127)] == [5, 3, 2, 2, 1, 1]
    assert Weights(np.ones(80, int), 7).encoding_label == "planes"
    assert Weights(np.ones(80, int), 31).stored_bytes == 50
    assert (ternary.bits, quinary.bits, Weights(np.ones(1, int), 127).bits) == (2, 3, 7)


def test_sizes_of_the_even_value_sets() -> None:
    binary = Weights(np.ones((10, 10), int), 2)
    assert (binary.value_set, binary.encoding_label, binary.stored_bytes, binary.bits) == (
        "binary",
        "base2",
        13,
        1,
    )
    assert Weights(np.ones(1, int), 4).value_set == "4-level"
    assert [Weights(np.ones(1, int), n).bits for n in (4, 6, 8, 16, 18, 64)] == [2, 3, 3, 4, 5, 6]
    assert [digits_per_byte(n) for n in (2, 4, 6, 8, 16, 18, 64)] == [8, 4, 3, 2, 2, 1, 1]
    assert [smallest_encoding(240, n) for n in (2, 4, 6, 8, 16, 18)] == [
        *("base", "base", "base"),
        *("planes", "base", "planes"),
    ]
    sizes = {n: Weights(np.ones(240, int), n).stored_bytes for n in (2, 4, 6, 8, 16, 32, 64)}
    assert sizes == {2: 30, 4: 60, 6: 80, 8: 90, 16: 120, 32: 150, 64: 180}
    assert Weights(np.ones(240, int), 2, "planes").stored_bytes == 30


def test_binary_weights_are_eight_to_a_byte() -> None:
    codes = np.array([1, -1, -1, 1, 1, -1, -1, -1, 1])
    assert Weights(codes, 2, "base").pack().tolist() == [0b00011001, 1]
    assert Weights(codes, 2, "planes").pack().tolist() == [0b11100110, 0]


@given(st.sampled_from([2, 4, 6, 7, 8, 10]), st.sampled_from(sorted(ENCODINGS)), st.data())
def test_any_bytes_give_codes_of_the_set_or_one_line(
    levels: int, encoding: str, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 9))
    size = ENCODINGS[encoding].size(count, levels)
    packed = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    row = ENCODINGS[encoding]
    decoded = row.unpack(packed, count, levels)
    if np.abs(decoded).max() <= max_code(levels) and np.array_equal(row.pack(decoded, levels), packed):
        weights = Weights.unpack(packed, (count,), levels, encoding)
        assert set(weights.codes.tolist()) <= set(codes_of(np.arange(levels), levels).tolist())
        assert np.array_equal(weights.pack(), packed)
    else:
        with pytest.raises(ProgramError, match=r"^(packed weights hold digits|weight codes must) [^\n]+$"):
            Weights.unpack(packed, (count,), levels, encoding)


def test_codes_are_copied_and_frozen() -> None:
    codes = np.zeros((2, 2), np.int64)
    weights = Weights(codes, 3)
    codes[:] = 1
    assert not weights.codes.any()
    assert not weights.codes.flags.writeable


@pytest.mark.parametrize(
    ("codes", "levels", "encoding", "message"),
    [
        ([[2]], 3, "", r"weight codes must be non-empty and within -1\.\.1"),
        ([], 3, "", "weight codes must be integers"),
        ([-128], 127, "", "within -63..63"),
        ([0.5], 3, "", "weight codes must be integers, not float64"),
        ([0], 1, "", r"weight levels must be odd within 3\.\.127 or even within 2\.\.64, not 1$"),
        ([0], 0, "", "weight levels must be odd .*, not 0$"),
        ([0], -2, "", "weight levels must be odd .*, not -2$"),
        ([0], 66, "", "weight levels must be odd .*, not 66$"),
        ([0], 129, "", "weight levels must be odd .*, not 129$"),
        ([1, 0, -1], 2, "", "weight codes of 2 levels must be odd, not 0$"),
        ([[1, 3], [-2, -3]], 4, "", "weight codes of 4 levels must be odd, not -2$"),
        ([3], 2, "", r"weight codes must be non-empty and within -1\.\.1"),
        ([65], 64, "", "within -63..63"),
        ([0], 3, "zip", "weight encoding must be one of base, planes, not 'zip'"),
    ],
)
def test_bad_weights(codes: list[float], levels: int, encoding: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Weights(np.array(codes), levels, encoding)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([0, 0], "packed weights of shape .* must have 1 bytes, not 2"),
        ([243], "digits outside their value set"),
        ([255], "digits outside their value set"),
    ],
)
def test_bad_packed_data(data: list[int], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Weights.unpack(np.array(data, np.uint8), (5,), 3, "base")


def test_a_magnitude_outside_the_set_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"weight codes must be non-empty and within -5\.\.5"):
        Weights.unpack(np.array([0b0, 0b1, 0b1], np.uint8), (8,), 6, "planes")


def test_negative_zero_is_refused() -> None:
    neg_without_magnitude = np.array([0b1, 0b0], np.uint8)
    with pytest.raises(ProgramError, match="digits outside their value set"):
        Weights.unpack(neg_without_magnitude, (8,), 3, "planes")
