"""Flash and RAM of a program's C without a compiler: by its plan and by a table of code sizes.

Constants, arena and the caller's arrays are exact. Code is the sum of the kernels that the program calls,
at sizes that ``toolchain.mcu.calibrate`` measured for each core, and of its own statements at a number of
bytes per token of C. The stack is the deepest path through the kernels' measured frames.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from exporters.c99.build import HEADER, Source
from runtime.errors import InputError
from toolchain.mcu.image import ports_bytes

TABLE = "sizes.json"
"""The measured table, beside this file."""

WIDE = re.compile(r"\b(?:u?int64_t|\w+_wide)\b")
"""Words of C that stand for arithmetic on 64 bits."""

_TOKEN = re.compile(r"\w+|[^\s\w]")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CONSTANT = re.compile(r"^static (gf_\w+) GF_FLASH (\w+)(\[\])? = \{(.*?)\};", re.DOTALL | re.MULTILINE)
_CALL = re.compile(r"\b(gf_\w+)\(")
_INLINE = re.compile(r"^GF_INLINE [^;{]*?\b(gf_\w+)\([^;{]*\{(.*?)^\}", re.DOTALL | re.MULTILINE)
_CAST = re.compile(r"\((?:const )?\w+ \*\)\(void \*\)|static void [^{]*|\bconst\b|\b\w+_t\b")
"""What costs nothing: casts, signatures, names of types."""

ROUND_DIV = "gf_round_div"
"""The function of the header that divides 64 bits, which cores do with a library routine."""


@dataclass(frozen=True, slots=True)
class Features:
    """What of the generated text code size depends on.

    ``calls``: call sites of functions of the header. ``tokens``: of statements. ``wide``: words that stand
    for arithmetic on 64 bits. ``loops``: number of them. ``inlined``: tokens of the header's functions that
    have no code of their own, once for every call of one. ``tables``: structures by type, rows where they
    are arrays.
    """

    calls: Mapping[str, int]
    tokens: int
    wide: int
    loops: int
    inlined: int
    tables: Mapping[str, int]

    @property
    def divides(self) -> bool:
        """Whether the program's own statements divide 64 bits."""
        return ROUND_DIV in self.calls and self.wide > 0


def structures(source: Source) -> list[tuple[str, str]]:
    """Type and name of the constant structures of the program's own file."""
    text = source.files[f"{source.name}.c"].decode()
    return [(kind, name) for kind, name, *_ in _CONSTANT.findall(text)]


def features(source: Source) -> Features:
    """The features of the program's own file."""
    text = _statements(source.files[f"{source.name}.c"].decode())
    tables: Counter[str] = Counter()
    for kind, _, many, body in _CONSTANT.findall(text):
        tables[kind] += body.count("{") if many else 1
    code = _CONSTANT.sub("", text)
    calls = Counter(_CALL.findall(code))
    inline = _inline(source.files[HEADER].decode())
    inlined = sum(times * inline[name].tokens for name, times in calls.items() if name in inline)
    for name, function in inline.items():
        for callee in function.calls:
            calls[callee] += calls[name]
    return Features(
        {name: times for name, times in calls.items() if times},
        _tokens(code),
        len(WIDE.findall(code)),
        code.count("for ("),
        inlined,
        tables,
    )


def _statements(text: str) -> str:
    """C without comments and without lines of the preprocessor."""
    return "\n".join(line for line in _COMMENT.sub("", text).splitlines() if not line.startswith("#"))


def _tokens(code: str) -> int:
    return len(_TOKEN.findall(_CAST.sub("", code)))


@dataclass(frozen=True, slots=True)
class Inline:
    """A function of the header that becomes part of its callers: what it calls, and its tokens."""

    calls: tuple[str, ...]
    tokens: int


@cache
def _inline(header: str) -> dict[str, Inline]:
    """Functions of the header that have no code of their own, each after what it is called by."""
    found = {
        name: Inline(tuple(_CALL.findall(body)), _tokens(body))
        for name, body in _INLINE.findall(_statements(header))
    }
    return dict(reversed(found.items()))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated bytes. ``constants``, ``arena``, ``ports`` are exact."""

    constants: int
    code: int
    arena: int
    ports: int
    stack: int

    @property
    def flash(self) -> int:
        """Constants and code."""
        return self.constants + self.code

    @property
    def ram(self) -> int:
        """Arena, the caller's arrays and stack."""
        return self.arena + self.ports + self.stack


@cache
def _tables() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("toolchain.mcu").joinpath(TABLE).read_text(encoding="utf-8"))
    return loaded


def estimate(source: Source, table: Mapping[str, Any] | None = None) -> Estimate:
    """What ``source`` is expected to take. ``table``: in place of the shipped one.

    Raises InputError for a target without a table.
    """
    tables = _tables() if table is None else table
    if source.target.name not in tables:
        raise InputError(f"sizes are known for {', '.join(tables)}, not for target {source.target.name!r}")
    row, found = tables[source.target.name], features(source)
    routines = row["routines"]["divides" if found.divides else "plain"]
    calls = found.calls | dict.fromkeys(routines, 2)
    reached = _reached(calls, row["kernels"])
    code = sum(_entry(row["kernels"], name, sites)["bytes"] for name, sites in reached.items())
    code += row["base"] + row["token"] * found.tokens + row["inlined"] * found.inlined
    code += row["wide"] * found.wide + row["loop"] * found.loops
    unknown = set(calls) - set(row["kernels"]) - set(_inline(source.files[HEADER].decode()))
    code += row["other"] * len(unknown)
    constants = sum(
        _variant(row["tables"][kind], times)["bytes"] * times
        for kind, times in found.tables.items()
        if kind in row["tables"]
    )
    frame = row["frame"] + row["frame_token"] * found.tokens
    frame = min(max(frame, row["frame_least"]), row["frame_most"])
    deepest = max((_depth(name, reached, row["kernels"]) for name in calls), default=0)
    return Estimate(
        source.constant_bytes + round(constants),
        round(code),
        source.arena_bytes,
        ports_bytes(source),
        round(frame + deepest),
    )


def _variant(variants: Mapping[str, Any], times: int) -> Mapping[str, Any]:
    """What was measured of a thing that a program has once or several times; the other if it must be."""
    wanted = "one" if times == 1 else "many"
    found: Mapping[str, Any] = variants.get(wanted) or next(iter(variants.values()))
    return found


def _entry(kernels: Mapping[str, Any], name: str, sites: int) -> Mapping[str, Any]:
    """The measured kernel, called from one place or from several."""
    return _variant(kernels[name], sites)


def _reached(calls: Mapping[str, int], kernels: Mapping[str, Any]) -> dict[str, int]:
    """Kernels that run, with their call sites; a kernel's callees have at least its own number."""
    sites: dict[str, int] = {}
    todo = [(name, times) for name, times in calls.items() if name in kernels]
    while todo:
        name, times = todo.pop()
        if sites.get(name, 0) >= times:
            continue
        sites[name] = times
        todo += [(callee, times) for callee in _entry(kernels, name, times)["calls"] if callee in kernels]
    return sites


def _depth(name: str, reached: Mapping[str, int], kernels: Mapping[str, Any]) -> int:
    """Bytes of stack of a kernel and what it calls."""
    if name not in reached:
        return 0
    entry = _entry(kernels, name, reached[name])
    below = max((_depth(callee, reached, kernels) for callee in entry["calls"]), default=0)
    return int(entry["frame"]) + below
