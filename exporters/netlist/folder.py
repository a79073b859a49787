"""``gatefold export --to netlist``: circuits as BLIF and AIGER, and what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.formats import to_aiger, to_blif
from exporters.netlist.limits import check_flat, check_stage
from exporters.netlist.stages import Stage, Stages, flatten, stages
from runtime.errors import InputError
from runtime.ir import Program

WRITERS: dict[str, tuple[str, Callable[[Circuit], bytes]]] = {
    "blif": (".blif", lambda circuit: to_blif(circuit).encode()),
    "aiger": (".aig", to_aiger),
}
"""Suffix and writer of every format."""


def render(
    program: Program, format: str, part: str, channel: str, style: str, whole: str
) -> Mapping[str, bytes]:
    """Files of the circuits of ``program``: one of each stage at one position, or of the ``part`` alone, or
    of one ``channel`` of it.

    ``whole``: ``yes`` for all positions of all stages in one circuit. ``format``: ``blif``, ``aiger`` or
    ``both``. Raises InputError for an unknown part, TooLargeError for a circuit beyond the limits.
    """
    parts = stages(program)
    if channel and not (part and channel.isdecimal()):
        raise InputError(f"channel must be a number, together with part, not {channel!r:.80}")
    if whole == "yes":
        check_flat(parts)
        circuits = {_file_name(program.name): flatten(program, style)}
        entries = [_whole_entry(*item) for item in circuits.items()]
    else:
        chosen = _chosen(parts, part)
        circuits = {name: stage.circuit(style) for name, stage in chosen.items()}
        if channel:
            circuits = {name: circuit.only(int(channel)) for name, circuit in circuits.items()}
        entries = [_stage_entry(name, stage, circuits[name]) for name, stage in chosen.items()]
    summary = {"program": program.name, "style": style, "circuits": entries}
    files = {"circuits.json": (json.dumps(summary, indent=1) + "\n").encode()}
    for name, circuit in circuits.items():
        for suffix, writer in _writers(format):
            files[name + suffix] = writer(circuit)
    return files


def _writers(format: str) -> list[tuple[str, Callable[[Circuit], bytes]]]:
    return list(WRITERS.values()) if format == "both" else [WRITERS[format]]


def _chosen(parts: Stages, part: str) -> dict[str, Stage]:
    """Stages by the name of their files."""
    chosen = [parts.part(part)] if part else list(parts.circuits)
    named: dict[str, Stage] = {}
    for number, stage in enumerate(chosen):
        check_stage(stage)
        named[f"{number:02}_{_file_name(stage.value)}"] = stage
    return named


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60] or "circuit"


def _stage_entry(name: str, stage: Stage, circuit: Circuit) -> dict[str, Any]:
    reads = dict(zip((port.name for port in circuit.inputs), stage.operands, strict=True))
    return {"file": name, "value": stage.value, "layer": stage.layer, "reads": reads} | _figures(
        circuit, stage.positions
    )


def _whole_entry(name: str, circuit: Circuit) -> dict[str, Any]:
    return {"file": name} | _figures(circuit, 1)


def _figures(circuit: Circuit, positions: int) -> dict[str, Any]:
    return {
        "positions": positions,
        "inputs": [_port(port) for port in circuit.inputs],
        "outputs": [_port(port) for port in circuit.outputs],
        "cells": dict(sorted(circuit.counts.items())),
        "depth": circuit.depth,
    }


def _port(port: Port) -> dict[str, Any]:
    """Bits of a port lie element by element, the lowest first: ``name[element * bits + bit]``."""
    return {
        "name": port.name,
        "shape": list(port.type.shape),
        "bits": port.type.bits,
        "signed": port.type.interval.signed,
    }
