"""Weight value sets and encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.encodings import ENCODINGS, digits_per_byte, smallest_encoding
from runtime.errors import ProgramError
from runtime.value_sets import Codes, code_step, codes_of, digits_of, max_code, planes_of
from runtime.weights import WEIGHT_LIMIT, Weights, weight_count
from tests.programs import random_codes

ODD, EVEN = range(3, 128, 2), range(2, 65, 2)
some_levels = st.sampled_from([*ODD, *EVEN])
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def encodings_of(levels: int) -> list[str]:
    return [name for name, row in ENCODINGS.items() if row.allows(levels)]


def thinned(shape: tuple[int, ...], levels: int, density: float, seed: int) -> Codes:
    """Random codes; where zero is one of them, a share of ``density`` is kept at most."""
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, shape, levels)
    return codes if levels % 2 == 0 else np.where(rng.random(shape) < density, codes, np.int8(0))


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
    for encoding in encodings_of(levels):
        weights = Weights(codes, levels, encoding)
        assert Weights.unpack(weights.pack(), (levels,), levels, encoding).codes.tolist() == values


@given(some_levels, shapes, st.floats(0, 1), seeds)
def test_pack_and_unpack_are_inverse(
    levels: int, shape: tuple[int, ...], density: float, seed: int
) -> None:
    codes = thinned(shape, levels, density, seed)
    for encoding in encodings_of(levels):
        weights = Weights(codes, levels, encoding)
        packed = weights.pack()
        assert packed.dtype == np.uint8
        assert packed.size == weights.stored_bytes
        again = Weights.unpack(packed, shape, levels, encoding)
        assert np.array_equal(again.codes, codes)


@given(some_levels, shapes, st.floats(0, 1), seeds)
def test_the_default_is_the_smallest(
    levels: int, shape: tuple[int, ...], density: float, seed: int
) -> None:
    codes = thinned(shape, levels, density, seed)
    sizes = [Weights(codes, levels, encoding).pack().size for encoding in encodings_of(levels)]
    weights = Weights(codes, levels)
    assert weights.stored_bytes == min(sizes)
    assert weights.encoding == encodings_of(levels)[sizes.index(min(sizes))]


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
    assert [smallest_encoding(np.ones(240, np.int8), n) for n in (2, 4, 6, 8, 16, 18)] == [
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


def decoded_by_the_book(data: bytes, count: int, levels: int) -> list[int]:
    """A sparse constant read bit by bit, as docs/ir.md describes it; gaps by every one of its fields."""
    parameter, nonzeros = data[0], int.from_bytes(data[1:5], "little")
    bits = [byte >> i & 1 for byte in data for i in range(8)]
    per_byte = digits_per_byte(levels - 1)
    digits_at = 5 + (nonzeros * parameter + 7) // 8
    unary_at = 8 * (digits_at + -(-nonzeros // per_byte))
    values = [v for v in range(-(levels // 2), levels // 2 + 1) if v != 0]
    codes = [0] * count
    place = -1
    for n in range(nonzeros):
        gap = sum(bits[40 + n * parameter + i] << i for i in range(parameter))
        while not bits[unary_at]:
            gap += 1 << parameter
            unary_at += 1
        unary_at += 1
        place += 1 + gap
        codes[place] = values[
            data[digits_at + n // per_byte] // (levels - 1) ** (n % per_byte) % (levels - 1)
        ]
    return codes


@given(st.sampled_from(ODD), st.integers(1, 400), st.sampled_from([0, 0.01, 0.1, 0.5, 1]), seeds)
def test_sparse_weights_are_gaps_and_digits(levels: int, count: int, density: float, seed: int) -> None:
    codes = thinned((count,), levels, density, seed)
    packed = Weights(codes, levels, "sparse").pack().tobytes()
    assert decoded_by_the_book(packed, count, levels) == codes.tolist()


def test_a_sparse_constant_byte_by_byte() -> None:
    bitmap = Weights(np.array([1, 0, -1, -1, 0, 0, 1, 0]), 3, "sparse")
    assert bitmap.pack().tolist() == [0, 4, 0, 0, 0, 0b1001, 0b1001101]
    far = np.zeros(300, int)
    far[[20, 299]] = (2, -1)  # gaps 20 and 278, quotients 0 and 4, remainders 20 and 22
    assert Weights(far, 5, "sparse").pack().tolist() == [6, 2, 0, 0, 0, *(0b10_010100, 0b0101), 7, 0b100001]
    assert Weights(np.zeros((9, 9), int), 3).pack().tolist() == [0] * 5


@given(st.integers(1, 3000), st.floats(0, 0.2), seeds)
def test_the_parameter_is_the_lowest_of_the_best(count: int, density: float, seed: int) -> None:
    codes = thinned((count,), 3, density, seed)
    packed = Weights(codes, 3, "sparse").pack()
    places = np.flatnonzero(codes)
    gaps = np.diff(places, prepend=-1) - 1
    sizes = [-(-k * gaps.size // 8) + -(-(int((gaps >> k).sum()) + gaps.size) // 8) for k in range(31)]
    assert int(packed[0]) == sizes.index(min(sizes))
    assert packed.size == 5 + min(sizes) + -(-gaps.size // 8)


def test_sizes_of_pruned_weights() -> None:
    """Bits a weight: base 3 takes 1.6 at any density; sparse follows the entropy, within 0.2 bits."""
    rng = np.random.default_rng(0)
    for density in (0.001, 0.01, 0.05, 0.1, 0.3, 0.5):
        keep = rng.random(200_000) < density
        weights = Weights(np.where(keep, rng.choice((-1, 1), 200_000), 0), 3)
        entropy = density - density * np.log2(density) - (1 - density) * np.log2(1 - density)
        assert weights.encoding == "sparse"
        assert entropy < weights.stored_bytes * 8 / 200_000 + 0.01 < entropy * 1.08 + 0.02
    balanced = Weights(rng.integers(-1, 2, 200_000), 3)
    assert balanced.encoding_label == "base3"


def assert_canonical_or_refused(packed: NDArray[np.uint8], count: int, levels: int, encoding: str) -> None:
    """Either an error of one line, or codes of the value set whose packed form is these very bytes."""
    try:
        weights = Weights.unpack(packed, (count,), levels, encoding)
    except ProgramError as error:
        message = str(error)
    else:
        message = ""
        assert set(weights.codes.tolist()) <= set(codes_of(np.arange(levels), levels).tolist())
        assert np.array_equal(weights.pack(), packed)
    assert "\n" not in message


@given(st.sampled_from([2, 4, 6, 7, 8, 10]), st.integers(1, 9), st.binary(max_size=12), st.data())
def test_any_bytes_give_codes_of_the_set_or_one_line(
    levels: int, count: int, content: bytes, data: st.DataObject
) -> None:
    encoding = data.draw(st.sampled_from(encodings_of(levels)))
    assert_canonical_or_refused(np.frombuffer(content, np.uint8), count, levels, encoding)


@given(some_levels, st.integers(1, 60), st.floats(0, 0.6), seeds, st.data())
def test_changed_bytes_are_other_codes_or_one_line(
    levels: int, count: int, density: float, seed: int, data: st.DataObject
) -> None:
    encoding = data.draw(st.sampled_from(encodings_of(levels)))
    packed = Weights(thinned((count,), levels, density, seed), levels, encoding).pack().copy()
    packed[data.draw(st.integers(0, packed.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert_canonical_or_refused(packed, count, levels, encoding)


FORGED = {
    "no header": ([0, 0, 0, 0], "sparse weights must have a header of 5 bytes, not 4"),
    "parameter": ([32, 0, 0, 0, 0], "a parameter of at most 31 and at most 9 nonzeros, not 32 and 0"),
    "more than all": ([0, 10, 0, 0, 0, 0, 0, 0], "at most 9 nonzeros, not 0 and 10"),
    "four billion": ([0, 255, 255, 255, 255], "at most 9 nonzeros, not 0 and 4294967295"),
    "cut off": ([0, 1, 0, 0, 0], "sparse weights must have 6 to 8 bytes, not 5"),
    "too long": ([0, 0, 0, 0, 0, 0, 0, 0], "sparse weights must have 5 to 7 bytes, not 8"),
    "one too few": ([0, 2, 0, 0, 0, 0, 1], "sparse weights must place 2 nonzeros, not 1"),
    "one too many": ([0, 1, 0, 0, 0, 0, 3], "sparse weights must place 1 nonzeros, not 2"),
    "past the end": ([0, 1, 0, 0, 0, 0, 0, 2], "sparse weights must end at weight 9, not at 10"),
    "far past the end": ([31, 1, 0, 0, 0, 255, 255, 255, 255, 0, 128], "must end at weight 9, not at 1717"),
    "spare digit": ([0, 1, 0, 0, 0, 2, 1], "packed weights hold digits outside their value set"),
    "spare zero byte": ([0, 1, 0, 0, 0, 0, 1, 0], "or are not in canonical form"),
    "zeros of nothing": ([0, 0, 0, 0, 0, 0], "or are not in canonical form"),
    "another parameter": ([1, 1, 0, 0, 0, 0, 0, 1], "or are not in canonical form"),
    "spare remainder": ([2, 1, 0, 0, 0, 0b111, 0, 0b10], "or are not in canonical form"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_sparse_weights_are_refused(case: str) -> None:
    data, message = FORGED[case]
    with pytest.raises(ProgramError, match=message):
        Weights.unpack(np.array(data, np.uint8), (3, 3), 3, "sparse")


def test_the_number_of_weights_is_bounded_before_anything_is_allocated() -> None:
    nothing = np.zeros(5, np.uint8)
    message = f"a constant may have at most {WEIGHT_LIMIT} weights, not {2 * WEIGHT_LIMIT}"
    with pytest.raises(ProgramError, match=message):
        Weights.unpack(nothing, (2, WEIGHT_LIMIT), 3, "sparse")
    with pytest.raises(ProgramError, match=message):
        Weights(np.broadcast_to(np.int8(0), (2, WEIGHT_LIMIT)), 3)
    with pytest.raises(ProgramError, match="a constant may have at most"):
        Weights.unpack(nothing, (4, 10**19, 10**19), 3, "hamilton-sparse")
    for shape in ((), (0, 3), (-2, -3), (1,) * 9):
        with pytest.raises(ProgramError, match=r"^weights must have 1 to 8 positive dimensions, not \("):
            Weights.unpack(nothing, shape, 3, "sparse")
    assert weight_count((2, WEIGHT_LIMIT // 2)) == WEIGHT_LIMIT


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
        (
            [0],
            3,
            "zip",
            "weight encoding must be one of base, planes, sparse, .*hamilton-sparse, not 'zip'",
        ),
        ([0], 3, "hamilton-", "weight encoding must be one of .*, not 'hamilton-'"),
        ([1], 2, "sparse", "sparse weights need 0 in their value set: an odd number of levels, not 2$"),
        ([[1] * 4] * 4, 4, "hamilton-sparse", "hamilton-sparse weights need 0 in their value set"),
    ],
)
def test_bad_weights(codes: list[float], levels: int, encoding: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Weights(np.array(codes), levels, encoding)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([0, 0], "5 packed weights must have 1 bytes, not 2"),
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
