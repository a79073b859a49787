"""Costs of several programs side by side: totals, layers by their path, and kinds of skips.

This is the comparison of arXiv 2501.04517: networks without skips, with logic-gated ones (OR, MUX), and
with additions of integers or floats. docs/cost-model.md says how each number is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError
from runtime.ir import Program
from toolchain.cost import NodeCost, Report, report
from toolchain.cost.skips import Connection, SkipCost, connections, skip_costs

OWN, NONE = "own", "none"
"""Beside the kinds of skips: the skips as they are in the program, and none at all."""

Values = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Skip:
    """One connection of a program, and what each kind costs there; ``costs[OWN]`` is what it has."""

    connection: Connection
    costs: dict[str, SkipCost]


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the programs: its file, its report, its skips, and its accuracy (0..1) where it is known."""

    path: str
    report: Report
    skips: tuple[Skip, ...]
    accuracy: float | None

    @staticmethod
    def of(path: str, program: Program, devices: Iterable[str]) -> Entry:
        """The costs of ``program``. Raises InputError for an unknown device."""
        costs = report(program, devices)
        layers = {layer.name: layer for layer in costs.layers}
        skips = tuple(_skip(connection, layers) for connection in connections(program))
        return Entry(path, costs, skips, accuracy_of(program.metadata))

    def kinds(self) -> dict[str, SkipCost]:
        """Every kind of skip summed over the network; of a program without skips, its own alone."""
        kinds = self.skips[0].costs if self.skips else (OWN,)
        return {kind: sum((skip.costs[kind] for skip in self.skips), SkipCost()) for kind in kinds}

    def networks(self) -> dict[str, dict[str, float | int]]:
        """The network with each kind of skip in place of its own, and with none.

        ``stored_ge``: of all skips, registers included. ``network_ge``: of the fully parallel circuit.
        ``share``: one over the other.
        """
        kinds = {NONE: SkipCost()} | self.kinds()
        rest = self.report.total.circuits.parallel.ge - kinds[OWN].stored_ge
        return {kind: _network(cost, rest + cost.stored_ge) for kind, cost in kinds.items()}


def _skip(connection: Connection, layers: dict[str, NodeCost]) -> Skip:
    return Skip(connection, {OWN: connection.cost(layers)} | skip_costs(connection.type))


def _network(cost: SkipCost, whole: float) -> dict[str, float | int]:
    share = cost.stored_ge / whole if whole else 0.0
    return {
        **cost.to_json(),
        "stored_ge": round(cost.stored_ge, 1),
        "share": round(share, 6),
        "network_ge": round(whole, 1),
    }


def accuracy_of(metadata: Mapping[str, Any]) -> float | None:
    """The accuracy in the metadata, which may hold anything; None unless it is a share."""
    value = metadata.get("accuracy")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _totals(entry: Entry) -> Values:
    total = entry.report.to_json()["total"]
    same = (
        "parameters macs bops weight_bytes threshold_bytes lookup_bytes bias_bytes flash_bytes ram_bytes "
        "arena_bytes lut6 lut6_one_position"
    )
    networks = entry.networks()
    return {key: total[key] for key in same.split()} | {
        "ge": total["gates"]["ge"],
        "ge_one_position": total["gates_one_position"]["ge"],
        "skip_ge": networks[OWN]["stored_ge"],
        "skip_share": networks[OWN]["share"],
        "float32_skips_ge": networks.get("float32_add", {}).get("network_ge"),
        "accuracy": entry.accuracy,
        "devices_fit": sum(verdict.fits for verdict in entry.report.devices.values()),
        "devices": len(entry.report.devices),
    }


LAYER_SUMS: dict[str, Callable[[NodeCost], float]] = {
    "ge": lambda cost: cost.circuits.parallel.ge,
    "ge_one_position": lambda cost: cost.circuits.one_position.ge,
    "parameters": lambda cost: cost.parameters,
    "macs": lambda cost: cost.macs,
    "bops": lambda cost: cost.bops,
    "constant_bytes": lambda cost: cost.constants.bytes,
    "activation_bytes": lambda cost: cost.activation_bytes,
}
"""What is summed over the nodes of one layer."""


def _layers(entry: Entry) -> dict[str, Values]:
    """Sums by layer path, in the order of the first node of each; a node without one stands alone."""
    nodes: dict[str, list[NodeCost]] = {}
    for node in entry.report.layers:
        nodes.setdefault(node.layer or node.name, []).append(node)
    return {
        path: {key: round(sum(map(of, costs)), 1) for key, of in LAYER_SUMS.items()}
        for path, costs in nodes.items()
    }


def _connections(entry: Entry) -> dict[str, dict[str, Any]]:
    """The skips by layer path; by name where a layer has several or a node has none."""
    times = Counter(skip.connection.layer for skip in entry.skips)
    rows = {}
    for skip in entry.skips:
        at = skip.connection
        path = at.layer if at.layer and times[at.layer] == 1 else at.name
        rows[path] = {
            "name": at.name,
            "kind": at.kind,
            "shape": list(at.type.shape),
            "activation_bits": at.type.bits,
            "costs": {kind: cost.to_json() for kind, cost in skip.costs.items()},
        }
    return rows


def aligned(columns: Sequence[Iterable[str]]) -> list[str]:
    """Every path of ``columns`` once: those of the first in order, and each that only a later one has
    after the path that it follows there."""
    merged: list[str] = []
    known: set[str] = set()
    for column in columns:
        place = 0
        for path in column:
            if path in known:
                place = merged.index(path) + 1
            else:
                merged.insert(place, path)
                known.add(path)
                place += 1
    return merged


@dataclass(frozen=True, slots=True)
class CostComparison:
    """Several programs: entries by a label that is unique, the name with the file where names are equal."""

    entries: dict[str, Entry]

    def to_json(self) -> dict[str, Any]:
        """``programs``: the report of each, with ``path``. ``comparison``: by label; null where a program
        has no such layer or skip, and for ratios to the first program that do not exist."""
        totals = {label: _totals(entry) for label, entry in self.entries.items()}
        networks = {label: entry.networks() for label, entry in self.entries.items()}
        return {
            "programs": [e.report.to_json() | {"path": e.path} for e in self.entries.values()],
            "comparison": {
                "programs": list(self.entries),
                "totals": totals,
                "basis": {label: e.report.total.footprint.basis for label, e in self.entries.items()},
                "ratios": _ratios(totals),
                "layers": self._side_by_side("layer", _layers),
                "skips": {
                    "connections": self._side_by_side("connection", _connections),
                    "networks": networks,
                },
            },
        }

    def _side_by_side(self, key: str, of: Callable[[Entry], dict[str, Any]]) -> list[dict[str, Any]]:
        columns = {label: of(entry) for label, entry in self.entries.items()}
        return [
            {key: path, "programs": {label: rows.get(path) for label, rows in columns.items()}}
            for path in aligned(list(columns.values()))
        ]


def _ratios(totals: dict[str, Values]) -> dict[str, Values]:
    first = next(iter(totals.values()))
    return {label: {key: _ratio(row[key], first[key]) for key in row} for label, row in totals.items()}


def _ratio(value: float | None, first: float | None) -> float | None:
    return round(value / first, 4) if first and value is not None else None


def compare_costs(programs: Iterable[tuple[str, Program]], devices: Iterable[str] = ()) -> CostComparison:
    """Costs of ``(path, program)`` side by side; the first is what ratios are taken to.

    No program is kept, so ``programs`` may load them one by one. Raises InputError for an unknown device
    or no program, and ProgramError for an op that has no cost.
    """
    chosen = tuple(devices)
    entries = [Entry.of(path, program, chosen) for path, program in programs]
    if not entries:
        raise InputError("a comparison needs at least one program, and there is none; give some")
    times = Counter(entry.report.program for entry in entries)
    return CostComparison({_label(entry, times): entry for entry in entries})


def _label(entry: Entry, times: Counter[str]) -> str:
    name = entry.report.program
    return name if times[name] == 1 else f"{name} ({entry.path})"
