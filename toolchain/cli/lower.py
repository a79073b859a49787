"""``gatefold lower``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.serialize import save
from toolchain.cli.common import emit, extra, json_option


@click.command("lower")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The program [default: RUN/program.gfold]."
)
@json_option
def command(run: Path, output: Path | None, as_json: bool) -> None:
    """Lower the trained run directory RUN to one integer program."""
    with extra("train", "lowering"):
        from toolchain.pipeline import lower_run
    program, _ = lower_run(run)
    path = save(program, output or run / "program.gfold")
    size = path.stat().st_size
    summary = {"path": str(path), "bytes": size, "nodes": len(program.nodes), "name": program.name}
    emit(summary, as_json, f"{path}: {len(program.nodes)} ops, {size:,} bytes")
