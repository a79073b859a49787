"""Weight constants: a value set, and the encodings that files, costs and back ends share.

A value set has ``levels`` integers, evenly spaced around zero: all from ``-(levels - 1) / 2`` to
``(levels - 1) / 2`` for an odd number, the odd ones from ``-(levels - 1)`` to ``levels - 1`` for an even
number, which leaves out zero. The *code* of a weight is its integer, the *digit* its place in the set.

An encoding changes how many bytes a constant takes, never what it means. To add one, write a
``pack``/``unpack`` pair and a row in ``ENCODINGS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8]

MAX_LEVELS = 127
"""Largest odd number of levels; the smallest is 3."""
MAX_EVEN_LEVELS = 64
"""Largest even number of levels; the smallest is 2. Either largest number gives ``|code| <= 63``."""
VALUE_SET_NAMES = {2: "binary", 3: "ternary", 5: "quinary"}


def code_step(levels: int) -> int:
    """Distance of neighbouring codes: 1 for an odd number of levels, 2 for an even one.

    Raises ProgramError unless ``levels`` is odd within 3..127 or even within 2..64.
    """
    odd = levels % 2 == 1
    if not (3 <= levels <= MAX_LEVELS if odd else 2 <= levels <= MAX_EVEN_LEVELS):
        raise ProgramError(
            f"weight levels must be odd within 3..{MAX_LEVELS} or even within 2..{MAX_EVEN_LEVELS}, "
            f"not {levels}"
        )
    return 1 if odd else 2


def max_code(levels: int) -> int:
    """Largest code of a value set: ``(levels - 1) / 2`` for odd, ``levels - 1`` for even ``levels``.

    Raises ProgramError for numbers of levels that ``code_step`` refuses.
    """
    return code_step(levels) * (levels - 1) // 2


def digits_of(codes: NDArray[Any], levels: int) -> NDArray[np.int64]:
    """Digits, 0 to ``levels - 1``, of codes in the value set: ``(code + max_code) / code_step``."""
    return (codes.astype(np.int64) + max_code(levels)) // code_step(levels)


def codes_of(digits: NDArray[Any], levels: int) -> Codes:
    """Inverse of ``digits_of``: int8 ``digit * code_step - max_code``."""
    return (digits.astype(np.int64) * code_step(levels) - max_code(levels)).astype(np.int8)


def planes_of(codes: Codes, levels: int) -> NDArray[np.bool_]:
    """Sign-magnitude bit planes ``[neg, m0, m1, ...]``, shape ``(planes, *codes.shape)``.

    ``neg`` is set only where the magnitude is not zero, so it is a subset of the others' union. An even
    number of levels has odd codes only: ``m0`` is set everywhere.
    """
    magnitude = np.abs(codes.astype(np.int16))
    bits = max_code(levels).bit_length()
    return np.stack([codes < 0, *((magnitude >> b) & 1 == 1 for b in range(bits))])


def _stored_magnitudes(levels: int) -> int:
    """Magnitude planes in a file: those of ``|code| // code_step``, without a constant ``m0``."""
    return (max_code(levels) // code_step(levels)).bit_length()


def _pack_planes(codes: Codes, levels: int) -> Bytes:
    neg, *magnitudes = planes_of(codes.reshape(-1), levels)
    stored = np.stack([neg, *magnitudes[code_step(levels) - 1 :]])
    return np.packbits(stored, axis=1, bitorder="little").reshape(-1)


def _unpack_planes(data: Bytes, count: int, levels: int) -> Codes:
    bits, step = _stored_magnitudes(levels), code_step(levels)
    planes = np.unpackbits(data.reshape(1 + bits, -1), axis=1, bitorder="little").astype(np.int16)
    stored = sum((planes[1 + b, :count] << b for b in range(bits)), np.zeros(count, np.int16))
    magnitude = stored * step + (step - 1)
    return np.where(planes[0, :count] == 1, -magnitude, magnitude).astype(np.int8)


def _planes_bytes(count: int, levels: int) -> int:
    return (1 + _stored_magnitudes(levels)) * math.ceil(count / 8)


def digits_per_byte(levels: int) -> int:
    """How many base-``levels`` digits one byte holds: 8 bits, 5 trits, 4 of 4 levels, 3 of 5 or 6,
    2 of up to 16, else 1."""
    digits = 1
    while levels ** (digits + 1) <= 256:
        digits += 1
    return digits


def _pack_base(codes: Codes, levels: int) -> Bytes:
    digits = digits_per_byte(levels)
    flat = digits_of(codes.reshape(-1), levels)
    padded = np.zeros(math.ceil(flat.size / digits) * digits, np.int64)
    padded[: flat.size] = flat
    powers = levels ** np.arange(digits, dtype=np.int64)
    packed: Bytes = (padded.reshape(-1, digits) * powers).sum(axis=1).astype(np.uint8)
    return packed


def _unpack_base(data: Bytes, count: int, levels: int) -> Codes:
    powers = levels ** np.arange(digits_per_byte(levels), dtype=np.int64)
    digits = (data.astype(np.int64)[:, None] // powers) % levels
    return codes_of(digits.reshape(-1)[:count], levels)


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

    ``codes``: int8, any shape, in the value set of ``levels``, read-only after construction.
    ``levels``: size of the value set (2 binary, 3 ternary, 5 quinary; odd up to 127, even up to 64).
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
        outside = codes % code_step(self.levels) != limit % code_step(self.levels)
        if outside.any():
            raise ProgramError(
                f"weight codes of {self.levels} levels must be odd, not {codes[outside].flat[0]}"
            )
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
        """``binary``, ``ternary``, ``quinary`` or ``N-level``."""
        return VALUE_SET_NAMES.get(self.levels, f"{self.levels}-level")

    @property
    def bits(self) -> int:
        """Bits of one weight in the BOPs convention: ``ceil(log2(levels))``, 1 for binary."""
        return (self.levels - 1).bit_length()

    @property
    def encoding_label(self) -> str:
        """Encoding for people: ``base2``, ``base3``, ``planes``."""
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
