"""``gatefold inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.printer import node_text, program_text
from runtime.serialize import load
from toolchain.cli.common import emit, json_option, program_argument


@click.command("inspect")
@program_argument
@click.option("--layers", is_flag=True, help="A summary table with a total row instead of the text.")
@json_option
def command(program: Path, layers: bool, as_json: bool) -> None:
    """Print PROGRAM as stable text, one op a line."""
    loaded = load(program)
    if layers:
        from toolchain.cost import report
        from toolchain.report import layer_table
        from toolchain.tables import terminal_width

        costs = report(loaded)
        emit(costs.to_json(), as_json, layer_table(costs, terminal_width()))
        return
    summary = {
        "name": loaded.name,
        "inputs": {v.name: str(v.type) for v in loaded.inputs},
        "nodes": [{"op": n.op.name, "layer": n.layer, "text": node_text(n)} for n in loaded.nodes],
        "outputs": list(loaded.outputs),
        "metadata": dict(loaded.metadata),
    }
    lines = [f"# {key}: {value}" for key, value in loaded.metadata.items()]
    emit(summary, as_json, "\n".join([*lines, program_text(loaded).rstrip()]))
