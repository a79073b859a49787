"""Weight constants: a value set, and the encodings that files, costs and back ends share.

An encoding changes how many bytes a constant takes, never what it means. To add one, write a
``pack``/``unpack`` pair and a row in ``ENCODINGS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8]

MAX_LEVELS = 127
VALUE_SET_NAMES = {3: "ternary", 5: "quinary"}


def max_code(levels: int) -> int:
    """Largest code of a symmetric ``levels``-level value set (odd, 3 to 127): ``(levels - 1) / 2``."""
    if levels % 2 == 0 or not 3 <= levels <= MAX_LEVELS:
        raise ProgramError(f"weight levels must be odd and within 3..{MAX_LEVELS}, not {levels}")
    return (levels - 1) // 2


def planes_of(codes: Codes, levels: int) -> NDArray[np.bool_]:
    """Sign-magnitude bit planes ``[neg, m0, m1, ...]``, shape ``(planes, *codes.shape)``.

    ``neg`` is set only where the magnitude is not zero, so it is a subset of the others' union.
    """
    magnitude = np.abs(codes.astype(np.int16))
    bits = max_code(levels).bit_length()
    return np.stack([codes < 0, *((magnitude >> b) & 1 == 1 for b in range(bits))])


def _pack_planes(codes: Codes, levels: int) -> Bytes:
    planes = planes_of(codes.reshape(-1), levels)
    return np.packbits(planes, axis=1, bitorder="little").reshape(-1)


def _unpack_planes(data: Bytes, count: int, levels: int) -> Codes:
    bits = max_code(levels).bit_length()
    planes = np.unpackbits(data.reshape(1 + bits, -1), axis=1, bitorder="little").astype(np.int16)
    magnitude = sum((planes[1 + b, :count] << b for b in range(bits)), np.zeros(count, np.int16))
    return np.where(planes[0, :count] == 1, -magnitude, magnitude).astype(np.int8)


def _planes_bytes(count: int, levels: int) -> int:
    return (1 + max_code(levels).bit_length()) * math.ceil(count / 8)


def digits_per_byte(levels: int) -> int:
    """How many base-``levels`` digits one byte holds: 5 trits, 3 quints, 2 up to 15 levels, else 1."""
    digits = 1
    while levels ** (digits + 1) <= 256:
        digits += 1
    return digits


def _pack_base(codes: Codes, levels: int) -> Bytes:
    digits = digits_per_byte(levels)
    flat = codes.reshape(-1).astype(np.int64) + max_code(levels)
    padded = np.zeros(math.ceil(flat.size / digits) * digits, np.int64)
    padded[: flat.size] = flat
    powers = levels ** np.arange(digits, dtype=np.int64)
    packed: Bytes = (padded.reshape(-1, digits) * powers).sum(axis=1).astype(np.uint8)
    return packed


def _unpack_base(data: Bytes, count: int, levels: int) -> Codes:
    powers = levels ** np.arange(digits_per_byte(levels), dtype=np.int64)
    digits = (data.astype(np.int64)[:, None] // powers) % levels
    return (digits.reshape(-1)[:count] - max_code(levels)).astype(np.int8)


def _base_bytes(count: int, levels: int) -> int:
    return math.ceil(count / digits_per_byte(levels))


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a flat sequence of codes is stored: bytes needed, and both directions."""

    size: Callable[[int, int], int]
    pack: Callable[[Codes, int], Bytes]
    unpack: Callable[[Bytes, int, int], Codes]


ENCODINGS: dict[str, Encoding] = {
    "base": Encoding(_base_bytes, _pack_base, _unpack_base),
    "planes": Encoding(_planes_bytes, _pack_planes, _unpack_planes),
}


def smallest_encoding(count: int, levels: int) -> str:
    """Name of the encoding with the fewest bytes; the first row of the table wins a tie."""
    return min(ENCODINGS, key=lambda name: ENCODINGS[name].size(count, levels))


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Constant integer weights.

    ``codes``: int8, any shape, ``|code| <= (levels - 1) / 2``, read-only after construction.
    ``levels``: size of the symmetric value set (3 ternary, 5 quinary, odd up to 127).
    ``encoding``: a row of ``ENCODINGS``; the smallest one by default.
    Raises ProgramError for a code outside the value set or an unknown encoding.
    """

    codes: Codes
    levels: int
    encoding: str = field(default="")

    def __post_init__(self) -> None:
        limit = max_code(self.levels)
        codes = np.array(self.codes)
        if not np.issubdtype(codes.dtype, np.integer):
            raise ProgramError(f"weight codes must be integers, not {codes.dtype}")
        if codes.size == 0 or max(abs(int(codes.min())), abs(int(codes.max()))) > limit:
            raise ProgramError(f"weight codes must be non-empty and within -{limit}..{limit}")
        codes = codes.astype(np.int8)
        codes.setflags(write=False)
        encoding = self.encoding or smallest_encoding(codes.size, self.levels)
        if encoding not in ENCODINGS:
            raise ProgramError(f"weight encoding must be one of {', '.join(ENCODINGS)}, not {encoding!r}")
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "encoding", encoding)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def value_set(self) -> str:
        """``ternary``, ``quinary`` or ``N-level``."""
        return VALUE_SET_NAMES.get(self.levels, f"{self.levels}-level")

    @property
    def bits(self) -> int:
        """Bits of one weight in the BOPs convention: ``ceil(log2(levels))``."""
        return (self.levels - 1).bit_length()

    @property
    def encoding_label(self) -> str:
        """Encoding for people: ``base3``, ``base5``, ``planes``."""
        return f"base{self.levels}" if self.encoding == "base" else self.encoding

    @property
    def stored_bytes(self) -> int:
        """Bytes of the packed constant."""
        return ENCODINGS[self.encoding].size(self.codes.size, self.levels)

    def pack(self) -> Bytes:
        """The packed constant, ``stored_bytes`` of uint8."""
        return ENCODINGS[self.encoding].pack(self.codes, self.levels)

    @staticmethod
    def unpack(data: Bytes, shape: tuple[int, ...], levels: int, encoding: str) -> Weights:
        """Inverse of ``pack``. Raises ProgramError when size or digits do not fit."""
        max_code(levels)
        count = math.prod(shape)
        row = ENCODINGS.get(encoding)
        if row is None:
            raise ProgramError(f"weight encoding must be one of {', '.join(ENCODINGS)}, not {encoding!r}")
        if min(shape, default=0) < 1 or data.size != row.size(count, levels):
            raise ProgramError(
                f"packed weights of shape {list(shape)} must have {row.size(count, levels)} bytes, "
                f"not {data.size}"
            )
        weights = Weights(row.unpack(data, count, levels).reshape(shape), levels, encoding)
        if not np.array_equal(weights.pack(), data):
            raise ProgramError("packed weights hold digits outside their value set")
        return weights
