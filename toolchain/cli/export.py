"""``gatefold export``."""

from __future__ import annotations

from pathlib import Path

import click

import exporters
from runtime.serialize import load
from toolchain.cli.common import emit, json_option, program_argument


def exporter_options(function: click.decorators.FC) -> click.decorators.FC:
    """One ``--NAME`` per option of any exporter, from the table; those of one name are one option."""
    named: dict[str, list[tuple[str, exporters.Option]]] = {}
    for to, row in exporters.EXPORTERS.items():
        for option in row.options:
            named.setdefault(option.name, []).append((to, option))
    for name, same in reversed(named.items()):
        choices = list(dict.fromkeys(choice for _, option in same for choice in option.choices))
        free = not all(option.choices for _, option in same)
        decorate = click.option(
            f"--{name}",
            type=str if free else click.Choice(choices),
            help=" ".join(_option_help(to, option) for to, option in same),
        )
        function = decorate(function)
    return function


def _option_help(to: str, option: exporters.Option) -> str:
    default = f" [default: {option.default}]." if option.default else "."
    return f"{to}: {option.summary}{default}"


@click.command("export")
@program_argument
@click.option("--to", type=click.Choice(list(exporters.EXPORTERS)), required=True, help="The target.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where it goes.")
@exporter_options
@click.option("--force", is_flag=True, help="Replace a folder that holds nothing but an earlier export.")
@json_option
def command(
    program: Path, to: str, output: Path, force: bool, as_json: bool, **options: str | None
) -> None:
    """Write PROGRAM for another system. The result equals the program bit for bit.

    onnx writes one file, the others a folder.

    \b
      gatefold export digits.gfold --to c99 --target cortex-m4 -o firmware
      gatefold export digits.gfold --to verilog --tables 4 -o hardware
      gatefold export digits.gfold --to verilog --part scores --pipeline levels --levels 6 -o scores
    """
    given = {name: value for name, value in options.items() if value is not None}
    path = exporters.export(load(program), to, output, force=force, **given)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    emit({"path": str(path), "to": to, "bytes": size, **given}, as_json, f"{path}: {size:,} bytes")
