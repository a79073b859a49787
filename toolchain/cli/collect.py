"""``gatefold collect``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from toolchain.bench.collection import collect
from toolchain.bench.results import read_results
from toolchain.cli.common import json_option, print_or_write
from toolchain.report import FORMATS, format_of, to_text
from toolchain.tables import terminal_width


@click.command("collect")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PLACE...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    help="[default: by the suffix of the output, else table]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead.")
@json_option
def command(places: tuple[Path, ...], format_: str | None, output: Path | None, as_json: bool) -> None:
    """Put the measurements in PLACE, files and folders of `gatefold bench --save`, into one page.

    A table for each network, with the median, the quartiles and the ratio to float32 on every machine.
    """
    results, refused = read_results(places)
    for line in refused:
        click.echo(f"warning: {line}", err=True)
    formats = FORMATS | {"table": partial(to_text, width=None if output else terminal_width())}
    print_or_write(formats[format_of(output, format_, as_json)](collect(results)), output)
