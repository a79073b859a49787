"""``gatefold report``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.files import atomic_write
from runtime.serialize import load
from toolchain.cli.common import json_option, program_argument
from toolchain.cost import report
from toolchain.devices import DEVICES
from toolchain.report import FORMATS


@click.command("report")
@program_argument
@click.option(
    "--device",
    "devices",
    metavar="NAME",
    multiple=True,
    help="Judge this device; repeatable [default: every device of `gatefold devices`].",
)
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), help="[default: table]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead.")
@json_option
def command(
    program: Path, devices: tuple[str, ...], format_: str | None, output: Path | None, as_json: bool
) -> None:
    """Say what PROGRAM costs in gates, bytes and operations, and which devices it fits."""
    text = FORMATS[format_ or ("json" if as_json else "table")](report(load(program), devices or DEVICES))
    if output is None:
        click.echo(text.rstrip())
        return
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {output.stat().st_size:,} bytes")
