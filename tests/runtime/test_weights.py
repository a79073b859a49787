"""Weight value sets and encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ProgramError
from runtime.weights import ENCODINGS, Weights, digits_per_byte, planes_of

odd_levels = st.integers(1, 63).map(lambda half: 2 * half + 1)
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@given(odd_levels, shapes, st.sampled_from(sorted(ENCODINGS)), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(levels: int, shape: tuple[int, ...], encoding: str, seed: int) -> None:
    limit = levels // 2
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, shape)
    weights = Weights(codes, levels, encoding)
    packed = weights.pack()
    assert packed.dtype == np.uint8
    assert packed.size == weights.stored_bytes
    again = Weights.unpack(packed, shape, levels, encoding)
    assert np.array_equal(again.codes, codes)


@given(odd_levels, st.integers(0, 2**32 - 1))
def test_planes_are_sign_and_magnitude(levels: int, seed: int) -> None:
    limit = levels // 2
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, 50).astype(np.int8)
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
        ([0], 4, "", r"weight levels must be odd and within 3\.\.127, not 4"),
        ([0], 129, "", "weight levels must be odd"),
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


def test_negative_zero_is_refused() -> None:
    neg_without_magnitude = np.array([0b1, 0b0], np.uint8)
    with pytest.raises(ProgramError, match="digits outside their value set"):
        Weights.unpack(neg_without_magnitude, (8,), 3, "planes")
