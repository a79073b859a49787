"""C identifiers from names that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Collection

LIMIT = 48
"""Longest identifier made from a name, so that prefixed ones stay below the 63 characters C99 promises."""

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef typeof union
unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t
char32_t class co_await co_return co_yield compl concept const_cast consteval constexpr constinit
decltype delete dynamic_cast explicit export false friend main mutable namespace new noexcept not
not_eq nullptr operator or or_eq private protected public reinterpret_cast requires static_assert
static_cast template this thread_local throw true try typeid typename typeof_unqual using virtual
wchar_t xor xor_eq
"""

KEYWORDS = frozenset(_KEYWORDS.split())
"""Words of C and C++."""

_PARAMETERS = """
arena arena_bytes memory i outside
arm complex errno far i386 interface linux mips near small sun unix
"""

PARAMETERS = KEYWORDS.union(_PARAMETERS.split())
"""Names that no array can have: what ``NAME_run`` uses itself, and macros of systems and compilers."""

_PROGRAMS = """
assert complex ctype errno fenv float immintrin inttypes iso646 limits locale math memory setjmp signal
stdarg stdbool stddef stdint stdio stdlib string strings tgmath threads time uchar unistd wchar wctype
all clean depend edit_cache help install package preinstall rebuild_cache test gatefold_kernels
c dl gcc m pthread rt
"""

PROGRAMS = KEYWORDS.union(_PROGRAMS.split())
"""Names that no program can have: its files would hide other headers, its targets those of build tools."""


def identifier(name: str, fallback: str = "net", reserved: Collection[str] = PROGRAMS) -> str:
    """ASCII letters, digits and single underscores of ``name``; not ``reserved`` and not a reserved form.

    Identifiers that start with an underscore or hold two in a row belong to the compiler (C++ [lex.name]).
    """
    text = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_")[:LIMIT].strip("_")
    if not text or text[0].isdigit():
        text = f"{fallback}_{text}".rstrip("_")
    if text.lower() in reserved or re.fullmatch(r"gf(_.*)?", text, re.IGNORECASE):
        text = f"{fallback}_{text}"
    return text


OWN_FILES = re.compile(r"_(weights|selftest|batch)$", re.IGNORECASE)
"""What a program's further files are called, behind its name."""


def program_prefix(name: str) -> str:
    """What the files and symbols of a program begin with; nothing that another's further files are called.

    ``a_weights`` becomes ``aweights``: ``a`` has a file ``a_weights.c``, which may lie in the same folder.
    """
    return OWN_FILES.sub(r"\1", identifier(name))


def parameters(names: list[str], prefix: str, fallback: str = "value") -> list[str]:
    """One identifier for each array of ``PREFIX_run``, all different, also where names differ in what these
    cannot hold; none is one of a program's own, nor looks like a type or a macro."""
    taken: set[str] = set()
    found = []
    for name in names:
        base = identifier(name, fallback, PARAMETERS)
        if base.startswith(f"{prefix}_") or re.fullmatch(r".*_t|[A-Z][A-Z0-9_]*|GATEFOLD_.*", base):
            base = f"{fallback}_{base}"
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
