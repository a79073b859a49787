"""C identifiers from names that may hold anything."""

from __future__ import annotations

import re

LIMIT = 48
"""Longest identifier made from a name, so that prefixed ones stay below the 63 characters C99 promises."""

_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool catch class compl
concept const_cast constexpr decltype delete dynamic_cast explicit export false friend main
mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
reinterpret_cast requires static_assert static_cast template this thread_local throw true try
typeid typename using virtual wchar_t xor xor_eq arena arena_bytes NULL size_t
"""

RESERVED = frozenset(_WORDS.split())
"""Words of C and C++, and names that the generated code uses itself."""


def identifier(name: str, fallback: str = "net") -> str:
    """ASCII letters, digits and single underscores of ``name``; not a keyword and not a reserved form.

    Identifiers that start with an underscore or hold two in a row belong to the compiler (C++ [lex.name]).
    """
    text = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_")[:LIMIT].strip("_")
    if not text or text[0].isdigit():
        text = f"{fallback}_{text}".rstrip("_")
    if text in RESERVED or re.fullmatch(r"u?int\d+_t|gf(_.*)?", text, re.IGNORECASE):
        text = f"{fallback}_{text}"
    return text


def distinct(names: list[str], fallback: str = "value") -> list[str]:
    """One identifier for each name, all different, also where names differ in what these cannot hold."""
    taken: set[str] = set()
    found = []
    for name in names:
        base = identifier(name, fallback)
        text, number = base, 1
        while text in taken:
            number += 1
            text = f"{base}_{number}"
        taken.add(text)
        found.append(text)
    return found


def comment(text: str) -> str:
    """``text`` for a C comment or a line of a README: letters, digits and marks that mean nothing there."""
    return re.sub(r"[^A-Za-z0-9 ._,:+()-]", "_", text)[:200]
