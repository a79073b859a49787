"""``gatefold lower``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.serialize import save
from toolchain.cli.common import emit, extra, json_option
from toolchain.passes.fast_hamilton import CHOICES, FastHamilton


@click.command("lower")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The program [default: RUN/program.gfold]."
)
@click.option(
    "--hamilton",
    type=click.Choice(list(CHOICES)),
    default="direct",
    show_default=True,
    help="How quaternion layers multiply: direct, 16 products as one op; fast, 8 products as several ops, "
    "which takes more RAM and flash; cost, layer by layer whichever takes fewer gates, not counting "
    "registers between the ops (the column GE fast of the report).",
)
@json_option
def command(run: Path, output: Path | None, hamilton: str, as_json: bool) -> None:
    """Lower the trained run directory RUN to one integer program."""
    with extra("train", "lowering"):
        from toolchain.pipeline import lower_run
    program, _ = lower_run(run)
    program = FastHamilton(hamilton)(program)
    path = save(program, output or run / "program.gfold")
    size = path.stat().st_size
    summary = {"path": str(path), "bytes": size, "nodes": len(program.nodes), "name": program.name}
    emit(summary, as_json, f"{path}: {len(program.nodes)} ops, {size:,} bytes")
