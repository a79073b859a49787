"""Saved measurements: files that keep each other, and what is accepted on reading them back.

Nothing in a file is trusted: they come from other people's machines. One that is damaged, foreign or of
another schema is left out with one line that says why.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from runtime import strict_json
from runtime.errors import InputError
from runtime.files import atomic_write
from toolchain.bench.machine import Machine
from toolchain.bench.measure import SCHEMA, Row
from toolchain.bench.settings import Settings

LARGEST_BYTES = 1 << 20
"""Of one file; a measurement of all executors takes a few KB."""

LONGEST_TEXT = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement as it was saved: what ``gatefold bench`` reports, without layers.

    ``time``: when, in UTC. ``sha256``: of the program's file.
    """

    program: str
    sha256: str
    time: str
    machine: Machine
    settings: Settings
    rows: tuple[Row, ...]


def save_result(found: Mapping[str, Any], place: Path) -> Path:
    """Write a report to the file ``place``, or to a new one in that folder if it does not end in ``.json``.

    Files of a folder are named after machine, program, time and content, so that none replaces another.
    Returns the file. Raises InputError where it cannot be written.
    """
    text = json.dumps(found, indent=2, allow_nan=False) + "\n"
    folder = place.is_dir() or place.suffix != ".json"
    file = place / result_name(found, text) if folder else place
    with atomic_write(file) as temporary:
        temporary.write_text(text)
    return file


def result_name(found: Mapping[str, Any], text: str) -> str:
    """``processor-program-time-digest.json``, in lower-case letters, digits and hyphens."""
    words = [found["machine"]["cpu"], found["program"], found["time"][:10]]
    slugs = (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:40] for word in words)
    return "-".join([*filter(None, slugs), sha256(text.encode()).hexdigest()[:12]]) + ".json"


def read_results(places: Iterable[Path]) -> tuple[list[tuple[Path, Result]], list[str]]:
    """What files, and ``.json`` files of folders, hold, oldest first; and a line for each left out.

    Raises InputError for a place that is not there, or where nothing is left.
    """
    results, refused = [], []
    files = dict.fromkeys(file for place in places for file in _files_of(place))
    for file in files:
        try:
            results.append((file, read_result(file)))
        except InputError as error:
            refused.append(str(error))
    if not results:
        raise InputError(
            refused[0]
            if len(refused) == 1
            else "no file holds a measurement; make one with `gatefold bench PROGRAM --save FOLDER`"
        )
    return sorted(results, key=lambda found: (found[1].time, found[0].name)), refused


def _files_of(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(file for file in place.iterdir() if file.suffix == ".json" and file.is_file())
    if not place.is_file():
        raise InputError(f"measurements must be .json files or folders of them, and {place} is neither")
    return [place]


def read_result(file: Path) -> Result:
    """The measurement in ``file``. Raises InputError, in one line, where it holds none."""
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    try:
        if len(data) > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES:,} bytes")
        return _result(strict_json.loads(data.decode()))
    except (UnicodeError, json.JSONDecodeError):
        why = "its text is not JSON"
    except RecursionError:
        why = "it is nested too deep"
    except ValueError as error:
        why = str(error)
    raise InputError(f"{str(file)!r} is no measurement of `gatefold bench --save` ({why}); left out")


def _result(value: Any) -> Result:
    if not isinstance(value, dict) or "schema" not in value:
        raise ValueError("it has no schema")
    if value["schema"] != SCHEMA:
        raise ValueError(f"its schema is {value['schema']!r:.40}, and this version reads {SCHEMA}")
    found: Result = _decode(Result, value, "")
    for row in found.rows:
        if not 0 < row.best_ms <= row.quartile1_ms <= row.median_ms <= row.quartile3_ms:
            raise ValueError(f"the times of {row.executor} are not in order")
        if min(row.batch, row.threads, row.turns, row.calls) < 1:
            raise ValueError(f"the counts of {row.executor} are not positive")
    if not found.rows:
        raise ValueError("it has no rows")
    return found


PLAIN: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable(),
    float: lambda value: type(value) in (int, float),
    int: lambda value: type(value) is int,
    bool: lambda value: type(value) is bool,
}
"""What is accepted as each plain type."""


def _decode(kind: Any, value: Any, where: str) -> Any:
    """``value`` as a ``kind``: a data class, a tuple, a dict of text, or plain, each perhaps None."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _decode(arguments[0], value, where)
    if is_dataclass(kind) and isinstance(value, dict):
        return _decode_fields(typing.cast(type[Any], kind), value, where)
    if origin in (tuple, dict) and isinstance(value, list if origin is tuple else dict):
        items = list(value) if origin is tuple else [*value, *value.values()]
        found = [_decode(arguments[0], item, where) for item in items]
        return tuple(found) if origin is tuple else dict(zip(value, found[len(value) :], strict=True))
    if kind in PLAIN and PLAIN[kind](value):
        return kind(value)
    raise ValueError(f"{where or 'it'} is not what it should be")


def _decode_fields(kind: type[T], value: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    return kind(**dict(_fields_of(kind, hints, value, f"{where}." if where else "")))


def _fields_of(
    kind: Any, hints: Mapping[str, Any], value: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for field in fields(kind):
        if field.name not in value:
            raise ValueError(f"{prefix}{field.name} is missing")
        yield field.name, _decode(hints[field.name], value[field.name], f"{prefix}{field.name}")
