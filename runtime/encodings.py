"""Encodings: how the codes of a weight constant become bytes, and bytes become codes.

An encoding changes how many bytes a constant takes, never what it means. To add one, write its three
functions and a row in ``ENCODINGS``. Every encoding is canonical: codes have one packed form, so that
whoever unpacks bytes can pack the codes again and compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.value_sets import Codes, Digits, code_step, codes_of, digits_of, max_code, planes_of

Bytes = NDArray[np.uint8]


def _packed_bits(bits: NDArray[np.bool_]) -> Bytes:
    return np.packbits(bits.reshape(-1), bitorder="little")


def _require_bytes(data: Bytes, wanted: int, count: int) -> None:
    if data.size != wanted:
        raise ProgramError(f"{count} packed weights must have {wanted} bytes, not {data.size}")


# --- base: digits, as many as fit a byte -----------------------------------------------------------


def digits_per_byte(levels: int) -> int:
    """How many base-``levels`` digits one byte holds: 8 bits, 5 trits, 4 of 4 levels, 3 of 5 or 6,
    2 of up to 16, else 1."""
    digits = 1
    while levels ** (digits + 1) <= 256:
        digits += 1
    return digits


def _digit_bytes(count: int, base: int) -> int:
    return math.ceil(count / digits_per_byte(base))


def _pack_digits(flat: Digits, base: int) -> Bytes:
    """Digits, least significant first; every partial sum is below 256, so uint8 holds it."""
    width = digits_per_byte(base)
    padded = np.zeros((_digit_bytes(flat.size, base), width), np.uint8)
    padded.reshape(-1)[: flat.size] = flat
    powers = (base ** np.arange(width)).astype(np.uint8)
    packed: Bytes = (padded * powers).sum(axis=1, dtype=np.uint8)
    return packed


def _unpack_digits(data: Bytes, count: int, base: int) -> Digits:
    powers = base ** np.arange(digits_per_byte(base))
    table = (np.arange(256)[:, None] // powers % base).astype(np.uint8)
    return table[data].reshape(-1)[:count]


def _base_size(codes: Codes, levels: int) -> int:
    return _digit_bytes(codes.size, levels)


def pack_digits(codes: Codes, levels: int) -> Bytes:
    """Codes as base-``levels`` digits, ``digits_per_byte`` to a byte, the least significant first."""
    return _pack_digits(digits_of(codes.reshape(-1), levels), levels)


def _unpack_base(data: Bytes, count: int, levels: int) -> Codes:
    _require_bytes(data, _digit_bytes(count, levels), count)
    return codes_of(_unpack_digits(data, count, levels), levels)


# --- planes: one bit of every weight after the other -----------------------------------------------


def _stored_magnitudes(levels: int) -> int:
    """Magnitude planes in a file: those of ``|code| // code_step``, without a constant ``m0``."""
    return (max_code(levels) // code_step(levels)).bit_length()


def _plane_bytes(count: int, levels: int) -> int:
    return (1 + _stored_magnitudes(levels)) * math.ceil(count / 8)


def _planes_size(codes: Codes, levels: int) -> int:
    return _plane_bytes(codes.size, levels)


def _pack_planes(codes: Codes, levels: int) -> Bytes:
    neg, *magnitudes = planes_of(codes.reshape(-1), levels)
    stored = np.stack([neg, *magnitudes[code_step(levels) - 1 :]])
    return np.packbits(stored, axis=1, bitorder="little").reshape(-1)


def _unpack_planes(data: Bytes, count: int, levels: int) -> Codes:
    _require_bytes(data, _plane_bytes(count, levels), count)
    bits, step = _stored_magnitudes(levels), code_step(levels)
    planes = np.unpackbits(data.reshape(1 + bits, -1), axis=1, bitorder="little").astype(np.int16)
    stored = sum((planes[1 + b, :count] << b for b in range(bits)), np.zeros(count, np.int16))
    magnitude = stored * step + (step - 1)
    return np.where(planes[0, :count] == 1, -magnitude, magnitude).astype(np.int8)


# --- sparse: where the weights that are not zero are, and what they are ------------------------------

SPARSE_HEADER = 5
"""Bytes of the parameter (1) and of the number of nonzero weights (4, little-endian)."""
MAX_PARAMETER = 31
"""No gap between weights of one constant is as long as ``2 ** 31``."""


def _gaps(codes: Codes) -> NDArray[np.int64]:
    """Zeros in front of every nonzero weight, counted from the one before."""
    gaps: NDArray[np.int64] = np.diff(np.flatnonzero(codes), prepend=-1) - 1
    return gaps


def _best_parameter(gaps: NDArray[np.int64]) -> tuple[int, int]:
    """Bytes of Golomb-Rice coded gaps with the parameter that makes them fewest, and that parameter.

    The lowest parameter wins a tie; those after the first with quotients of 0 alone only add bytes.
    Golomb, Run-length encodings, IEEE Trans. Inf. Theory 12 (1966); Rice, JPL Publication 79-22 (1979).
    """
    sums, quotients = [int(gaps.sum())], gaps
    while sums[-1]:
        quotients = quotients >> 1
        sums.append(int(quotients.sum()))
    count = gaps.size
    return min((math.ceil(count * k / 8) + math.ceil((count + s) / 8), k) for k, s in enumerate(sums))


def _sparse_size(codes: Codes, levels: int) -> int:
    gaps = _gaps(codes)
    return SPARSE_HEADER + _best_parameter(gaps)[0] + _digit_bytes(gaps.size, levels - 1)


def _pack_sparse(codes: Codes, levels: int) -> Bytes:
    """Header, remainders of ``parameter`` bits, digits among the nonzero codes, unary quotients.

    A quotient ``q`` is ``q`` zero bits and a one, so that parameter 0 gives the bitmap of nonzeros.
    """
    flat = codes.reshape(-1)
    gaps = _gaps(flat)
    parameter = _best_parameter(gaps)[1]
    remainders = np.zeros((gaps.size, parameter), np.bool_)
    for bit in range(parameter):
        remainders[:, bit] = (gaps >> bit) & 1
    ends = np.cumsum((gaps >> parameter) + 1)
    unary = np.zeros(ends[-1] if ends.size else 0, np.bool_)
    unary[ends - 1] = True
    digits = digits_of(flat[flat != 0], levels)
    packed = _pack_digits(digits - (digits > max_code(levels)), levels - 1)
    header = np.array([parameter, *gaps.size.to_bytes(4, "little")], np.uint8)
    return np.concatenate([header, _packed_bits(remainders), packed, _packed_bits(unary)])


def _unpack_sparse(data: Bytes, count: int, levels: int) -> Codes:
    """Raises ProgramError before it allocates more than a few times ``count`` and the size of ``data``."""
    if data.size < SPARSE_HEADER:
        raise ProgramError(f"sparse weights must have a header of {SPARSE_HEADER} bytes, not {data.size}")
    parameter, nonzeros = int(data[0]), int.from_bytes(data[1:SPARSE_HEADER].tobytes(), "little")
    if parameter > MAX_PARAMETER or nonzeros > count:
        raise ProgramError(
            f"sparse weights must have a parameter of at most {MAX_PARAMETER} and at most {count} nonzeros,"
            f" not {parameter} and {nonzeros}"
        )
    digits_at = SPARSE_HEADER + math.ceil(nonzeros * parameter / 8)
    unary_at = digits_at + _digit_bytes(nonzeros, levels - 1)
    most = unary_at + math.ceil(count / 8)
    if not unary_at <= data.size <= most:
        raise ProgramError(f"sparse weights must have {unary_at} to {most} bytes, not {data.size}")
    ends = np.flatnonzero(np.unpackbits(data[unary_at:], bitorder="little"))
    if ends.size != nonzeros:
        raise ProgramError(f"sparse weights must place {nonzeros} nonzeros, not {ends.size}")
    bits = np.unpackbits(data[SPARSE_HEADER:digits_at], bitorder="little")
    gaps = (np.diff(ends, prepend=-1) - 1) << parameter
    for bit, column in enumerate(bits[: nonzeros * parameter].reshape(nonzeros, parameter).T):
        gaps |= column.astype(np.int64) << bit
    places = np.cumsum(gaps + 1) - 1
    if nonzeros and places[-1] >= count:
        raise ProgramError(f"sparse weights must end at weight {count}, not at {places[-1] + 1}")
    digits = _unpack_digits(data[digits_at:unary_at], nonzeros, levels - 1)
    codes = np.zeros(count, np.int8)
    codes[places] = codes_of(digits + (digits >= max_code(levels)), levels)
    return codes


# --- the table ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a flat sequence of codes is stored.

    ``size(codes, levels)``: bytes that ``pack`` gives, found without packing. ``pack(codes, levels)``: the
    bytes. ``unpack(data, count, levels)``: ``count`` codes; raises ProgramError where the bytes cannot hold
    them. Bytes that ``pack`` never writes may give any codes, inside the value set or not.
    ``needs_zero``: only for value sets that contain zero, those of an odd number of levels.
    """

    size: Callable[[Codes, int], int]
    pack: Callable[[Codes, int], Bytes]
    unpack: Callable[[Bytes, int, int], Codes]
    needs_zero: bool = False

    def allows(self, levels: int) -> bool:
        """Whether codes of this value set can be stored."""
        return levels % 2 == 1 or not self.needs_zero


ENCODINGS: dict[str, Encoding] = {
    "base": Encoding(_base_size, pack_digits, _unpack_base),
    "planes": Encoding(_planes_size, _pack_planes, _unpack_planes),
    "sparse": Encoding(_sparse_size, _pack_sparse, _unpack_sparse, needs_zero=True),
}


def smallest_encoding(codes: Codes, levels: int) -> str:
    """Name of the encoding that stores ``codes`` in the fewest bytes; the first row wins a tie."""
    allowed = [name for name, row in ENCODINGS.items() if row.allows(levels)]
    return min(allowed, key=lambda name: ENCODINGS[name].size(codes, levels))
