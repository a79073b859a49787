"""The constants of generated C: named arrays, equal ones once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runtime.types import Interval

WIDTH = 100
"""Characters of a line of numbers."""


@dataclass(slots=True)
class Constants:
    """Arrays by name, in the order in which they were added. ``prefix``: in front of every name."""

    prefix: str
    _arrays: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def add(self, hint: str, c_type: str, array: np.ndarray) -> str:
        """The name of a constant of that C type with the elements of ``array`` in row-major order.

        ``hint``: letters alone. A prefix may hold underscores, so what follows its own must not: else
        ``limits`` of a program ``a_lane`` and ``lane_limits`` of ``a`` were one symbol.
        """
        assert hint.isalpha(), hint
        flat = np.ascontiguousarray(array).reshape(-1)
        key = (f"{c_type} {flat.dtype.str}", flat.tobytes())
        if key not in self._known:
            name = f"{self.prefix}_{hint}"
            number = 1
            while name in self._arrays:
                number += 1
                name = f"{self.prefix}_{hint}{number}"
            self._arrays[name] = (c_type, flat)
            self._known[key] = name
        return self._known[key]

    def add_integers(self, hint: str, array: np.ndarray) -> str:
        """A constant in the smallest C type that holds the array."""
        lo, hi = int(array.min()), int(array.max())
        for bits in (8, 16, 32, 64):
            if lo >= 0 and hi < 1 << bits:
                return self.add(hint, f"uint{bits}_t", array)
            if -(1 << (bits - 1)) <= lo and hi < 1 << (bits - 1):
                return self.add(hint, f"int{bits}_t", array)
        raise AssertionError(f"{hint} exceeds 64 bits")

    def bytes(self, sizes: dict[str, int]) -> int:
        """Bytes of all arrays. ``sizes``: of C types that ``uint8_t`` .. ``int64_t`` do not name."""
        return sum(flat.size * c_size(c_type, sizes) for c_type, flat in self._arrays.values())

    def largest(self, sizes: dict[str, int]) -> tuple[str, int]:
        """Name and bytes of the largest array; "" and 0 without any."""
        rows = [(name, flat.size * c_size(c_type, sizes)) for name, (c_type, flat) in self._arrays.items()]
        return max(rows, key=lambda row: row[1], default=("", 0))

    def reach(self, c_type: str) -> Interval:
        """Hull of 0 and all elements of arrays of that type."""
        ends = [
            int(end) for t, flat in self._arrays.values() if t == c_type for end in (flat.min(), flat.max())
        ]
        return Interval.of([0, *ends])

    def declarations(self) -> list[str]:
        """One ``extern`` line per array."""
        return [f"extern {t} GF_FLASH {name}[{flat.size}];" for name, (t, flat) in self._arrays.items()]

    def definitions(self) -> list[str]:
        """Lines that define every array."""
        lines: list[str] = []
        for name, (c_type, flat) in self._arrays.items():
            lines += [f"{c_type} GF_FLASH {name}[{flat.size}] = {{", *number_lines(flat), "};", ""]
        return lines


def c_size(c_type: str, sizes: dict[str, int]) -> int:
    """Bytes of an integer type such as ``uint16_t``, or of one in ``sizes``."""
    if c_type in sizes:
        return sizes[c_type]
    return int("".join(ch for ch in c_type.removesuffix("_t") if ch.isdigit())) // 8


def literal(value: int) -> str:
    """A C literal of any 64-bit value, without an operator that would change its type."""
    if -(2**15) < value < 2**15:
        return str(value)
    if value == -(2**63):
        return "INT64_MIN"
    if value >= 2**63:
        return f"{value}u"
    if -(2**31) < value < 2**31:
        return f"INT32_C({value})"
    return f"INT64_C({value})" if value < 2**63 else f"UINT64_C({value})"


def number_lines(flat: np.ndarray) -> list[str]:
    """The elements as lines of at most ``WIDTH`` characters; hexadecimal for words."""
    if flat.dtype.kind == "u" and flat.dtype.itemsize >= 4:
        return _word_lines(flat)
    if flat.dtype == np.uint8:
        items = [str(value) for value in flat.tolist()]
    else:
        items = [literal(value) for value in flat.tolist()]
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > WIDTH:
            lines.append(f"    {line},")
            line = item
        else:
            line = f"{line}, {item}" if line else item
    return [*lines, f"    {line}"]


def _word_lines(flat: np.ndarray) -> list[str]:
    """Hexadecimal words, all equally long: large networks have a million."""
    digits, suffix = 2 * flat.dtype.itemsize, "u" if flat.dtype.itemsize == 4 else "ull"
    text = flat.astype(flat.dtype.newbyteorder(">")).tobytes().hex()
    items = [f"0x{text[at : at + digits]}{suffix}" for at in range(0, len(text), digits)]
    many = (WIDTH + 2) // (len(items[0]) + 2)
    lines = [", ".join(items[at : at + many]) for at in range(0, len(items), many)]
    return [*(f"    {line}," for line in lines[:-1]), f"    {lines[-1]}"]
