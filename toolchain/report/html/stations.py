"""The stations of a drawn network: its inputs, and runs of nodes of one layer; their edges and sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from runtime.ops import FAMILIES
from toolchain.devices import size
from toolchain.report.html.svg import compact

Json = Mapping[str, Any]

FAMILY = {op.__name__: family.__name__.rpartition(".")[2] for family in FAMILIES for op in family.OPS}
"""Family of every op, by the file it is defined in."""

WORDS = {
    "linear": "weights",
    "compare": "thresholds",
    "bitwise": "logic",
    "arithmetic": "arithmetic",
    "products": "products",
    "reduce": "pools and sums",
    "shape": "wires",
    "other": "other",
}
"""Families in words, in the order they are shown."""

METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "ge": ("GE, parallel", compact),
    "ge_one_position": ("GE, one position", compact),
    "constant_bytes": ("constants", size),
    "macs": ("MACs", compact),
    "bops": ("BOPs", compact),
}
"""What is summed over the nodes of a station: in words, and how it is written."""

HEAVY = ("linear", "products", "bitwise", "arithmetic", "compare", "reduce", "shape", "other")
"""Which family a station of several ops is drawn as: the first of these."""


@dataclass(frozen=True, slots=True)
class Station:
    """``sums``: of ``METRICS``. ``sources``: the stations whose values it reads, by their place. ``marks``:
    what else to say of it: an output, a skip."""

    name: str
    ops: tuple[str, ...]
    family: str
    shape: tuple[int, ...]
    bits: int
    sums: Mapping[str, float]
    sources: tuple[int, ...]
    marks: tuple[str, ...] = ()


def family_of(op: str) -> str:
    """The family of an op; ``other`` for one of another package."""
    return FAMILY.get(op, "other")


def metrics_of(row: Json) -> dict[str, float]:
    """The ``METRICS`` of a layer or of the total of a report's JSON."""
    return {
        "ge": row["gates"]["ge"],
        "ge_one_position": row["gates_one_position"]["ge"],
        "constant_bytes": sum(row[f"{kind}_bytes"] for kind in ("weight", "threshold", "lookup", "bias")),
        "macs": row["macs"],
        "bops": row["bops"],
    }


def stations_of(data: Json) -> list[Station]:
    """The stations of a report's JSON in order, the inputs first."""
    kinds = {row["name"]: row["kind"] for row in data["skip_cost"]["connections"] if "kind" in row}
    found = [_input(spec, data) for spec in data["inputs"]]
    place = {station.name: index for index, station in enumerate(found)}
    runs = groupby(enumerate(data["layers"]), lambda pair: pair[1]["layer"] or pair[0])
    for _, run in runs:
        rows = [row for _, row in run]
        own = {row["name"] for row in rows}
        read = {name for row in rows for name in row["operands"]} - own
        marks = [f"skip: {kinds[row['name']]}" for row in rows if row["name"] in kinds]
        marks += _output_marks(data, own)
        found.append(_station(rows, tuple(sorted({place[name] for name in read})), tuple(marks)))
        place |= dict.fromkeys(own, len(found) - 1)
    return found


def _output_marks(data: Json, own: Set[str]) -> list[str]:
    names = [name for name in data["outputs"] if name in own]
    return [f"output{'s' * (len(names) > 1)}: {', '.join(names)}"] if names else []


def _input(spec: Json, data: Json) -> Station:
    marks = ("input", *_output_marks(data, {spec["name"]}))
    nothing = dict.fromkeys(METRICS, 0.0)
    return Station(spec["name"], (), "input", tuple(spec["shape"]), spec["bits"], nothing, (), marks)


def _station(rows: Sequence[Json], sources: tuple[int, ...], marks: tuple[str, ...]) -> Station:
    last = rows[-1]
    families = {family_of(row["op"]) for row in rows}
    sums = [metrics_of(row) for row in rows]
    return Station(
        name=last["layer"] or last["name"],
        ops=tuple(row["op"] for row in rows),
        family=next(family for family in HEAVY if family in families),
        shape=tuple(last["shape"]),
        bits=last["bits"],
        sums={key: sum(row[key] for row in sums) for key in METRICS},
        sources=sources,
        marks=marks,
    )


def ops_text(ops: Sequence[str]) -> str:
    """``Sub · Requantize x2``: each op where it first is, and how often in a row."""
    counted = [(op, len(list(run))) for op, run in groupby(ops)]
    return " · ".join(op if times == 1 else f"{op} \N{MULTIPLICATION SIGN}{times}" for op, times in counted)
