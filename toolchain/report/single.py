"""One program's report as tables and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.cost import Report
from toolchain.cost.forms import FORM_KEYS
from toolchain.devices import number, size
from toolchain.mcu.footprint import Footprint
from toolchain.report.evidence import activity_of, activity_records, energy_of, speed_of, verification_of
from toolchain.report.page import Page
from toolchain.report.synthesis import placement_of, synthesis_of, synthesis_records
from toolchain.tables import Table

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "name": lambda row: row["name"],
    "op": lambda row: row["op"],
    "output": lambda row: "" if row["shape"] is None else shape_text(row["shape"]),
    "bits": lambda row: str(row["bits"]),
    "parameters": lambda row: number(row["parameters"]),
    "MACs": lambda row: number(row["macs"]),
    "BOPs": lambda row: number(row["bops"]),
    "constants": lambda row: size(constant_bytes(row)),
    "arena": lambda row: size(row["activation_bytes"]),
    "GE parallel": lambda row: number(row["gates"]["ge"]),
    "GE reused": lambda row: number(row["gates_one_position"]["ge"]),
}
"""Columns of the layer table: a layer of ``Report.to_json()`` to text. The first three are text."""


def _optional(key: str, text: Callable[[float], str]) -> Callable[[dict[str, Any]], str]:
    return lambda row: "-" if row[key] is None else text(row[key])


FORM_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "stored as": lambda row: row["stored"],
    "zeros": lambda row: f"{100 * row['zero_share']:.1f} %",
    "dense": _optional("dense_bytes", size),
    "sparse": _optional("sparse_bytes", size),
    "Hamilton": _optional("hamilton_bytes", size),
    "Hamilton sparse": _optional("hamilton_sparse_bytes", size),
    "GE direct": _optional("gates_direct_ge", number),
    "GE fast": _optional("gates_fast_ge", number),
}
"""Columns of the table of weight forms: ``WeightForms.to_json()`` to text. The first is text."""

SKIP_KINDS = {"or": "OR", "mux": "MUX", "integer_add": "int8 add", "float32_add": "float32 add"}
"""The kinds of skips that are compared, in words."""


def shape_text(shape: list[int] | tuple[int, ...]) -> str:
    """``32x8x8``."""
    return "x".join(map(str, shape)) or "scalar"


def constant_bytes(row: dict[str, Any]) -> int:
    """All constants of a layer or of the total, in bytes."""
    return sum(row[f"{kind}_bytes"] for kind in ("weight", "threshold", "lookup", "bias"))


def layers_of(report: Report) -> Table:
    """One row per node and a total row."""
    data = report.to_json()
    total = data["total"] | {"name": "total", "op": "", "shape": None, "bits": ""}
    total["activation_bytes"] = total["arena_bytes"]
    rows = [[render(row) for render in COLUMNS.values()] for row in [*data["layers"], total]]
    return Table("Layers", list(COLUMNS), rows, range(3, len(COLUMNS)), total_row=True)


def totals_of(report: Report) -> Table:
    """The total in words."""
    total = report.total
    data = report.to_json()["total"]
    reused = number(data["gates_one_position"]["ge"])
    rows = [
        ("parameters", f"{number(total.parameters)} ({number(total.nonzero)} weights not 0)"),
        ("weights, packed", size(total.constants.weight_bytes)),
        ("thresholds", size(total.constants.threshold_bytes)),
        ("lookup tables", size(total.constants.lookup_bytes)),
        ("biases", size(total.constants.bias_bytes)),
        ("float-32 equivalent", f"{size(total.float32_bytes)} ({total.compression:.1f} times as much)"),
        ("arena of bit planes", f"{size(total.arena_bytes)} (most live at {report.memory.peak})"),
        *_footprint(total.footprint),
        ("MACs", number(total.macs)),
        ("BOPs", number(total.bops)),
        ("fully parallel circuit", f"{number(data['gates']['ge'])} GE, {number(data['lut6'])} LUT6"),
        ("one position, reused", f"{reused} GE, {number(data['lut6_one_position'])} LUT6"),
    ]
    return Table("Total", ("quantity", "value"), rows)


def _footprint(found: Footprint) -> list[tuple[str, str]]:
    """Flash and RAM, and of what."""
    used = found.bytes
    rows = [
        ("flash, estimated", f"{size(used.flash)} ({size(used.code)} of it code)"),
        (
            "RAM, estimated",
            f"{size(used.ram)} (arena {size(used.arena)}, arrays of the caller {size(used.ports)}, "
            f"stack {size(used.stack)})",
        ),
        ("flash and RAM are of", found.basis),
    ]
    refused = f"for {found.target}: {found.refused}"
    return [*rows, ("there is no C", refused)] if found.refused else rows


def devices_of(report: Report) -> Table:
    """One verdict per device."""
    rows = [(name, "yes" if v.fits else "no", v.verdict) for name, v in report.devices.items()]
    return Table("Devices", ("device", "fits", "verdict"), rows)


McuColumns = dict[str, tuple[str, Callable[[Any], str]]]
"""Columns of a table of microcontrollers: where in a verdict's JSON, and as text. The first is text."""

MCU_BYTES: McuColumns = {
    "core": ("estimated.target", str),
    "flash estimated": ("estimated.flash", number),
    "flash measured": ("measured.flash", number),
    "flash off by": ("measured.deviation.flash", lambda share: f"{100 * share:+.2f} %"),
    "RAM estimated": ("estimated.ram", number),
    "RAM measured": ("measured.ram", number),
    "RAM off by": ("measured.deviation.ram", lambda share: f"{100 * share:+.2f} %"),
    "of it stack": ("measured.stack", number),
}

MCU_TIMES: McuColumns = {
    "core": ("estimated.target", str),
    "instructions estimated": ("estimated.instructions", number),
    "counted": ("measured.run.instructions", number),
    "off by": ("measured.deviation.instructions", lambda share: f"{100 * share:+.1f} %"),
    "per MAC": ("measured.run.instructions_per_mac", lambda ratio: f"{ratio:.3f}"),
    "at MHz": ("estimated.clock_hz", lambda hz: f"{hz / 1e6:g}"),
    "ms estimated": ("estimated.milliseconds", lambda ms: f"{ms:,.2f}"),
    "ms by the count": ("measured.run.estimated_milliseconds", lambda ms: f"{ms:,.2f}"),
}


def _at(data: Any, path: str) -> Any:
    """The value at a path of keys; None where there is none on the way."""
    for key in path.split("."):
        data = data and data[key]
    return data


def microcontrollers_of(report: Report) -> Table:
    """Estimated and measured bytes on each microcontroller."""
    return _of_microcontrollers(report, "Microcontrollers (bytes)", MCU_BYTES)


def times_of(report: Report) -> Table:
    """Estimated and counted instructions on each microcontroller, and milliseconds estimated from both."""
    return _of_microcontrollers(report, "Microcontrollers (one inference)", MCU_TIMES)


def _of_microcontrollers(report: Report, title: str, columns: McuColumns) -> Table:
    rows = []
    for name, verdict in report.devices.items():
        if verdict.estimated is not None:
            data = verdict.to_json()
            values = [(_at(data, path), text) for path, text in columns.values()]
            rows.append([name, *("-" if value is None else text(value) for value, text in values)])
    headers = ["device", *columns]
    return Table(title, headers, rows, range(2, len(headers)))


def instructions_of(report: Report) -> Table:
    """Instructions of every layer on each microcontroller that ran it, in all and per MAC; cycles where
    only those are counted."""
    found = {name: _at(verdict.to_json(), "measured.run") for name, verdict in report.devices.items()}
    runs = {name: run for name, run in found.items() if run}
    layers = {row["layer"]: row["macs"] for run in runs.values() for row in run["layers"]}
    by_layer = {name: {row["layer"]: row for row in run["layers"]} for name, run in runs.items()}
    rows = [
        [layer, number(macs), *(_instructions(found.get(layer)) for found in by_layer.values())]
        for layer, macs in layers.items()
    ]
    total = ["total", number(sum(layers.values())), *(_instructions(run) for run in runs.values())]
    title = "Instructions by layer (in brackets: per MAC)"
    headers = ["layer", "MACs", *runs]
    return Table(title, headers, [*rows, total] if runs else [], range(1, len(headers)), total_row=True)


def _instructions(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["instructions"] is None:
        return f"{number(row['estimated_cycles'])} cycles"
    ratio = row["instructions_per_mac"]
    return number(row["instructions"]) + ("" if ratio is None else f" ({ratio:.3f})")


def skips_of(report: Report) -> Table:
    """Gate equivalents of each way to join two branches, per connection; first those of its own."""
    present = report.skip_cost["present"]
    title = "Skip connections (GE)" if present else "Skip connections that could be added (GE)"
    first, kinds = ("has", ("own", *SKIP_KINDS)) if present else ("op", (*SKIP_KINDS,))
    rows = [
        (
            row["name"],
            row["kind"] if present else row["op"],
            shape_text(row["shape"]),
            *(number(row[kind]["ge"]) for kind in kinds),
        )
        for row in report.skip_cost["connections"]
    ]
    words = {"own": "its GE"} | SKIP_KINDS
    headers = ("connection", first, "shape", *(words[kind] for kind in kinds))
    return Table(title, headers, rows, range(3, len(headers)))


def forms_of(report: Report) -> Table:
    """Every form of the weights of each linear layer; no rows where there is nothing to choose between:
    no Hamilton weights, and no layer most of whose weights are 0."""
    layers = {name: forms.to_json() for name, forms in report.forms.items()}
    rows = [[name, *(render(row) for render in FORM_COLUMNS.values())] for name, row in layers.items()]
    compared = any(row["hamilton_bytes"] is not None or row["zero_share"] > 0.5 for row in layers.values())
    headers = ["layer", *FORM_COLUMNS]
    title = "Weight forms (GE of one position with its Threshold, without registers)"
    return Table(title, headers, rows if compared else [], range(2, len(headers)))


def records_of(report: Report) -> list[dict[str, Any]]:
    """The layers in full, one record each and a total; gates as ``gates.KEY``, forms as ``forms.KEY``."""
    data = report.to_json()
    total = {"name": "total", "op": "", "layer": "", "shape": [], "bits": ""} | _shared(data["total"])
    no_forms = {"forms": dict.fromkeys(FORM_KEYS)}
    rows = (*data["layers"], total)
    for row in data["layers"]:
        del row["operands"]
    figures = synthesis_records([row.pop("synthesis") for row in rows])
    flat = [_flat(row if row.get("forms") else row | no_forms) for row in rows]
    return [
        row | more | own for row, more, own in zip(flat, figures, activity_records(report), strict=True)
    ]


def _shared(total: dict[str, Any]) -> dict[str, Any]:
    own = {"arena_bytes", "code_bytes", "flash_bytes", "ram_bytes", "target", "refused", "footprint"}
    own |= {"float32_bytes", "compression"}
    return {k: v for k, v in total.items() if k not in own} | {"activation_bytes": total["arena_bytes"]}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{k}": v for k, v in value.items()}
        else:
            flat[key] = "x".join(map(str, value)) if isinstance(value, list) else value
    return flat


def memory_of(report: Report) -> Table:
    """The memory plan: one row per buffer, with the step that makes it and the last that reads it."""
    names = ["(inputs)", *(layer.name for layer in report.layers), "(outputs)"]
    rows = [
        [
            ", ".join(buffer.names),
            number(buffer.offset),
            number(buffer.size),
            names[buffer.birth + 1],
            names[buffer.death + 1],
        ]
        for buffer in report.memory.buffers
    ]
    return Table("Memory plan (bytes)", ("values", "offset", "bytes", "from", "to"), rows, numbers=(1, 2))


def report_page(report: Report) -> Page:
    """Every table with at least one row, and the layers as records."""
    tables = [
        layers_of(report),
        totals_of(report),
        activity_of(report),
        forms_of(report),
        devices_of(report),
        energy_of(report),
        microcontrollers_of(report),
        times_of(report),
        instructions_of(report),
        skips_of(report),
        synthesis_of(report.synthesis),
        placement_of(report.synthesis),
        verification_of(report),
        speed_of(report),
    ]
    shown = [table for table in tables if table.rows]
    return Page(report.program, shown, report.to_json(), records_of(report), [memory_of(report)])
