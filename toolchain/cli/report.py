"""``gatefold report``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import click

from runtime.errors import InputError
from runtime.files import atomic_write
from runtime.serialize import load
from toolchain.cli.common import json_option
from toolchain.cost import Report, report
from toolchain.devices import DEVICES
from toolchain.report import FORMATS, CostComparison, compare_costs, to_text
from toolchain.tables import terminal_width


def once_each(paths: Iterable[Path]) -> None:
    """Raise InputError where two paths lead to the same file."""
    seen: dict[str, Path] = {}
    for path in paths:
        first = seen.setdefault(os.path.realpath(path), path)
        if first is not path:
            raise InputError(
                f"every program must be given once, but {first} and {path} are one file; leave one out"
            )


def subject(programs: tuple[Path, ...], devices: Iterable[str]) -> Report | CostComparison:
    """The report of one program, or several side by side."""
    once_each(programs)
    if len(programs) == 1:
        return report(load(programs[0]), devices)
    return compare_costs(((str(path), load(path)) for path in programs), devices)


@click.command("report")
@click.argument("programs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PROGRAM...")
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
    programs: tuple[Path, ...],
    devices: tuple[str, ...],
    format_: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say what PROGRAM costs in gates, bytes and operations, and which devices it fits.

    Several programs are compared: totals, layer by layer, and their skip connections against OR, MUX,
    integer and float additions. Ratios are to the first.
    """
    formats = FORMATS | {"table": partial(to_text, width=None if output else terminal_width())}
    text = formats[format_ or ("json" if as_json else "table")](subject(programs, devices or DEVICES))
    if output is None:
        click.echo(text.rstrip())
        return
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {output.stat().st_size:,} bytes")
