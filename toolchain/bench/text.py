"""A measurement in words: tables and what their columns mean."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.bench.contenders import FP32, INT8
from toolchain.bench.layers import LayerRow
from toolchain.bench.measure import Bench, Row
from toolchain.tables import Table, to_text

MEANING = (
    "median: milliseconds a batch through Session.run, as a user calls it (twins: ONNX Runtime's run); "
    "engine: without the Session's checks and conversions\n"
    "x fp32, x int8: how many times faster than that twin, in the same run; above 1 is faster"
)

LAYER_MEANING = (
    "layers alone, on the values of a real run, engines only; x: how many times faster packed is"
)


BUSY = "others keep this machine busy: ratios are of one run in turns and hold better than milliseconds"


def to_plain_text(result: Bench, width: int | None = None) -> str:
    """Tables, their meaning, what was skipped, and the machine."""
    parts = [f"{result.program}: speed", to_text(row_table(result), width), MEANING]
    if result.layers:
        parts += ["", to_text(layer_table(result.layers), width), LAYER_MEANING]
    parts += [f"skipped: {name} {why}" for name, why in result.skipped.items()]
    parts += [BUSY] if result.machine.busy else []
    return "\n".join([*parts, str(result.machine)])


def row_table(result: Bench) -> Table:
    """One row per executor and twin, at each batch size."""
    ratios = [name for name in (FP32, INT8) if name in result.settings.against]
    headers = ["executor", "batch", "threads", "median ms", "quartiles ms"]
    headers += [*(f"x {name}" for name in ratios), "engine ms"]
    rows = [_cells(row, ratios) for row in result.rows]
    return Table("", headers, rows, range(1, len(headers)))


def contender_name(row: Row) -> str:
    """An executor, with the kernel that was asked for; or what runs a twin."""
    name = f"{row.executor} ({row.kernel})" if row.kernel not in (None, "auto") else row.executor
    return f"ONNX Runtime {row.executor}" if row.kind == "twin" else name


def quartiles(row: Row) -> str:
    """The first and the third quartile, in milliseconds."""
    return f"{milliseconds(row.quartile1_ms)} - {milliseconds(row.quartile3_ms)}"


def _cells(row: Row, ratios: Sequence[str]) -> list[str]:
    found = {FP32: row.ratio_to_fp32, INT8: row.ratio_to_int8}
    return [
        contender_name(row),
        str(row.batch),
        str(row.threads),
        milliseconds(row.median_ms),
        quartiles(row),
        *(times(found[ratio]) for ratio in ratios),
        milliseconds(row.engine_ms),
    ]


def layer_table(layers: Sequence[LayerRow]) -> Table:
    """One row per layer, with a total for each batch size."""
    float32 = any(row.fp32_ms is not None for row in layers)
    headers = ["layer", "ops", "result", "kernel", "batch", "packed ms", "interpreter ms", "x interpreter"]
    headers += ["fp32 ms", "x fp32"] if float32 else []
    rows = []
    for batch in dict.fromkeys(row.batch for row in layers):
        of_batch = [row for row in layers if row.batch == batch]
        rows += [_layer_cells(row, float32) for row in of_batch]
        rows.append(_layer_cells(total_of(of_batch), float32))
    return Table("", headers, rows, range(4, len(headers)))


def total_of(layers: Sequence[LayerRow]) -> LayerRow:
    """The sums of the layers of one batch size."""
    packed, plain = (
        sum(getattr(row, f"{name}_ms") for row in layers) for name in ("packed", "interpreter")
    )
    float32 = sum(row.fp32_ms or 0.0 for row in layers) if layers[0].fp32_ms is not None else None
    ratio = None if float32 is None else float32 / packed
    return LayerRow(layers[0].batch, "sum", "", "", (), None, packed, plain, plain / packed, float32, ratio)


def _layer_cells(row: LayerRow, float32: bool) -> list[str]:
    cells = [
        row.layer or row.node,
        row.ops,
        "x".join(map(str, row.shape)),
        row.kernel or "",
        str(row.batch),
        milliseconds(row.packed_ms),
        milliseconds(row.interpreter_ms),
        times(row.ratio_to_interpreter),
    ]
    return [*cells, milliseconds(row.fp32_ms), times(row.ratio_to_fp32)] if float32 else cells


def milliseconds(value: float | None) -> str:
    """Three digits that matter, at most three decimals; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:,.{3 if value < 10 else 2 if value < 100 else 1}f}"


def times(value: float | None) -> str:
    """A ratio with two digits after the point, fewer for large ones; a dash for nothing."""
    return "-" if value is None else f"{value:,.{2 if value < 100 else 0}f}"
