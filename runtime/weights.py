"""Weight constants: codes of a value set, an encoding, and the block structure of quaternion weights.

Files, costs and back ends share the constant and its encoding. The codes alone define what it means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.encodings import ENCODINGS, Bytes, Encoding, smallest_encoding
from runtime.errors import ProgramError
from runtime.types import RANK_LIMIT
from runtime.value_sets import (
    MAX_EVEN_LEVELS,
    MAX_LEVELS,
    VALUE_SET_NAMES,
    Codes,
    code_step,
    codes_of,
    digits_of,
    max_code,
    planes_of,
)

__all__ = [
    "ENCODINGS",
    "HAMILTON",
    "MAX_EVEN_LEVELS",
    "MAX_LEVELS",
    "WEIGHT_LIMIT",
    "Codes",
    "Weights",
    "code_step",
    "codes_of",
    "digits_of",
    "hamilton_matrix",
    "max_code",
    "planes_of",
    "weight_count",
]

WEIGHT_LIMIT = 2**27
"""Largest number of weights of one constant, zeros and repeated components included."""

HAMILTON_PREFIX = "hamilton-"
"""In front of an encoding's name: it stores the four components of a Hamilton block matrix."""

HAMILTON = (
    ((0, 1), (1, -1), (2, -1), (3, -1)),
    ((1, 1), (0, 1), (3, -1), (2, 1)),
    ((2, 1), (3, 1), (0, 1), (1, -1)),
    ((3, 1), (2, -1), (1, 1), (0, 1)),
)
"""(component, sign) of every block, rows first, that multiplies by a quaternion from the left:
``[[r, -i, -j, -k], [i, r, -k, j], [j, k, r, -i], [k, -j, i, r]]`` of components r, i, j, k (0 to 3)."""


def hamilton_matrix(components: NDArray[Any]) -> NDArray[Any]:
    """The block matrix of ``HAMILTON``: (4 O, 4 I, *kernel) of signed components (4, O, I, *kernel)."""
    rows = (np.concatenate([sign * components[c] for c, sign in row], axis=1) for row in HAMILTON)
    return np.concatenate(list(rows), axis=0)


def weight_count(shape: tuple[int, ...]) -> int:
    """Number of weights of a constant of this shape.

    Raises ProgramError unless there are 1 to 8 positive dimensions and at most ``WEIGHT_LIMIT`` weights.
    """
    if not 1 <= len(shape) <= RANK_LIMIT or min(shape) < 1:
        raise ProgramError(f"weights must have 1 to {RANK_LIMIT} positive dimensions, not {shape!r:.80}")
    count = math.prod(shape)
    if count > WEIGHT_LIMIT:
        raise ProgramError(f"a constant may have at most {WEIGHT_LIMIT} weights, not {count}")
    return count


def _component_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 2 or shape[0] % 4 or shape[1] % 4:
        raise ProgramError(
            f"Hamilton weights must have outputs and inputs in multiples of 4, not shape {list(shape)}"
        )
    return (4, shape[0] // 4, shape[1] // 4, *shape[2:])


def _checked_codes(values: NDArray[Any], levels: int) -> Codes:
    """A copy of ``values`` as codes. Raises ProgramError unless they are in the value set."""
    limit, values = max_code(levels), np.asarray(values)
    if not np.issubdtype(values.dtype, np.integer):
        raise ProgramError(f"weight codes must be integers, not {values.dtype}")
    if values.size == 0 or max(abs(int(values.min())), abs(int(values.max()))) > limit:
        raise ProgramError(f"weight codes must be non-empty and within -{limit}..{limit}")
    codes = values.astype(np.int8)
    outside = codes % code_step(levels) != limit % code_step(levels)
    if outside.any():
        raise ProgramError(f"weight codes of {levels} levels must be odd, not {codes[outside].flat[0]}")
    return codes


def _row(encoding: str, levels: int) -> Encoding:
    row = ENCODINGS.get(encoding.removeprefix(HAMILTON_PREFIX))
    if row is None:
        names = ", ".join((*ENCODINGS, *(HAMILTON_PREFIX + name for name in ENCODINGS)))
        raise ProgramError(f"weight encoding must be one of {names}, not {encoding!r:.80}")
    if not row.allows(levels):
        raise ProgramError(
            f"{encoding} weights need 0 in their value set: an odd number of levels, not {levels}"
        )
    return row


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Constant integer weights.

    ``codes``: int8, at most ``WEIGHT_LIMIT`` of any shape, in the value set of ``levels``, read-only after
    construction. ``levels``: size of the value set (2 binary, 3 ternary, 5 quinary; odd up to 127, even up
    to 64). ``encoding``: a row of ``ENCODINGS``, the smallest by default, or one with ``hamilton-`` in
    front, which stores a quarter: ``codes``, (4 O, 4 I, *kernel), is then the Hamilton block matrix of its
    four components (``HAMILTON``, the layer of arXiv 2308.06780).
    Raises ProgramError for a code outside the value set, an unknown encoding, ``sparse`` without a zero in
    the value set, or codes that are not such a matrix.
    """

    codes: Codes
    levels: int
    encoding: str = field(default="")

    def __post_init__(self) -> None:
        max_code(self.levels)
        if np.size(self.codes):
            weight_count(np.shape(self.codes))
        codes = _checked_codes(self.codes, self.levels)
        codes.setflags(write=False)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "encoding", self.encoding or smallest_encoding(codes, self.levels))
        _row(self.encoding, self.levels)
        if self.is_hamilton and not np.array_equal(hamilton_matrix(self.components), codes):
            plain = self.encoding.removeprefix(HAMILTON_PREFIX)
            raise ProgramError(
                f"{self.encoding} weights must be the Hamilton matrix of their first block column, which "
                f"codes of shape {list(self.shape)} are not; encode them as {plain}"
            )

    @staticmethod
    def hamilton(components: NDArray[Any], levels: int, encoding: str = "") -> Weights:
        """Weights (4 O, 4 I, *kernel) that multiply by quaternions from the left.

        ``components``: r, i, j, k as integers (4, O, I, *kernel) in the value set of ``levels``.
        ``encoding``: one of the ``hamilton-`` encodings, by default the smallest. Raises ProgramError.
        """
        shape = np.shape(components)
        if len(shape) < 3 or shape[0] != 4:
            raise ProgramError(
                f"Hamilton components must have shape (4, outputs, inputs, ...), not {list(shape)}"
            )
        codes = _checked_codes(components, levels)
        encoding = encoding or HAMILTON_PREFIX + smallest_encoding(codes, levels)
        if not encoding.startswith(HAMILTON_PREFIX):
            raise ProgramError(
                f"Hamilton weights need an encoding that is {HAMILTON_PREFIX}*, not {encoding!r}"
            )
        return Weights(hamilton_matrix(codes), levels, encoding)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def is_hamilton(self) -> bool:
        """Whether the codes are declared, and known, to be a Hamilton block matrix."""
        return self.encoding.startswith(HAMILTON_PREFIX)

    @property
    def components(self) -> Codes:
        """Components r, i, j, k of Hamilton weights, (4, O, I, *kernel): a view of the first block column.

        Raises ProgramError for other weights.
        """
        if not self.is_hamilton:
            raise ProgramError(
                f"only Hamilton weights have components, not those encoded as {self.encoding}"
            )
        shape = _component_shape(self.shape)
        return self.codes.reshape(*shape[:2], 4 * shape[2], *shape[3:])[:, :, : shape[2]]

    @property
    def stored(self) -> Codes:
        """The codes that are stored: the components of Hamilton weights, all codes of others."""
        return self.components if self.is_hamilton else self.codes

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
        """Encoding for people: ``base2``, ``base3``, ``planes``, ``sparse``, ``hamilton-base3``."""
        return f"{self.encoding}{self.levels}" if self.encoding.endswith("base") else self.encoding

    @property
    def stored_bytes(self) -> int:
        """Bytes of the packed constant."""
        return _row(self.encoding, self.levels).size(self.stored, self.levels)

    def pack(self) -> Bytes:
        """The packed constant, ``stored_bytes`` of uint8."""
        return _row(self.encoding, self.levels).pack(self.stored, self.levels)

    @staticmethod
    def unpack(data: Bytes, shape: tuple[int, ...], levels: int, encoding: str) -> Weights:
        """Inverse of ``pack`` for codes of ``shape``. Raises ProgramError unless ``pack`` gives ``data``.

        The shape is checked against ``WEIGHT_LIMIT`` before anything is allocated for it.
        """
        max_code(levels)
        count, row = weight_count(shape), _row(encoding, levels)
        if encoding.startswith(HAMILTON_PREFIX):
            stored = _component_shape(shape)
            codes = hamilton_matrix(row.unpack(data, count // 4, levels).reshape(stored))
        else:
            codes = row.unpack(data, count, levels).reshape(shape)
        weights = Weights(codes, levels, encoding)
        if not np.array_equal(weights.pack(), data):
            raise ProgramError(
                "packed weights hold digits outside their value set, or are not in canonical form"
            )
        return weights
