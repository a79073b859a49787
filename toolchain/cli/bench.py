"""``gatefold bench``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray

import exporters
from runtime.errors import InputError
from runtime.ir import Input, Program
from runtime.packed.executor import KERNELS
from runtime.serialize import load
from runtime.session import ExecutorRow, check_input
from toolchain.bench import Settings, bench
from toolchain.bench.contenders import TWINS
from toolchain.bench.machine import blas_warning
from toolchain.bench.results import save_result
from toolchain.bench.text import to_plain_text
from toolchain.cli.common import (
    PARALLEL,
    data_dir_option,
    data_option,
    emit,
    json_option,
    late_status,
    program_argument,
    tell_download,
)
from toolchain.compare import Samples
from toolchain.executors import check_tuning, chosen
from toolchain.tables import terminal_width

SLOW = frozenset({"interpreter", "onnx-reference", "netlist", "verilog"})
"""Executors that are there to be right; measured only where they are asked for."""

LARGEST_BATCH = 65536


def wanted_executors(names: str | None) -> tuple[dict[str, ExecutorRow], dict[str, str]]:
    """The executors to measure, and why others are left out. By default all fast ones that can run here."""
    if names is not None:
        return chosen(names), {}
    fast = {name: row for name, row in exporters.executors().items() if name not in SLOW}
    missing = {name: why for name, row in fast.items() if (why := row.missing())}
    return {name: row for name, row in fast.items() if name not in missing}, missing


def wanted_twins(names: str) -> tuple[str, ...]:
    """The twins of ``--against``. Raises InputError."""
    picked = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if picked == ("none",):
        return ()
    for name in picked:
        if name not in TWINS:
            raise InputError(f"--against must be none, or of {', '.join(TWINS)}, not {name!r}")
    if not picked:
        raise InputError(f"--against must be none, or of {', '.join(TWINS)}")
    return picked


def wanted_batches(given: tuple[str, ...]) -> tuple[int, ...]:
    """Batch sizes in the order given. Raises InputError."""
    words = [word.strip() for item in given for word in item.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= LARGEST_BATCH):
            raise InputError(
                f"--batch must be whole numbers from 1 to {LARGEST_BATCH} with commas, such as 1,64; "
                f"not {word!r}"
            )
    return tuple(dict.fromkeys(map(int, words)))


def test_images(program: Program, data: str, data_dir: Path | None) -> tuple[Input, NDArray[Any]]:
    """The input of ``program``, and the test images of a data set. Raises InputError for several inputs."""
    from toolchain.data import load as load_data

    if len(program.inputs) != 1:
        raise InputError(f"--data is for programs of one input; {program.name} has {len(program.inputs)}")
    return program.inputs[0], load_data(data, data_dir, tell_download).test_images


def data_samples(
    program: Program, data: str, data_dir: Path | None, largest: int
) -> Callable[[int], Samples]:
    """Takes the first test images of a data set. Raises InputError where they are too few or do not fit."""
    spec, images = test_images(program, data, data_dir)
    if len(images) < largest:
        raise InputError(f"{data} has {len(images)} test images, too few for --batch {largest}")
    fitting = check_input(images[:largest], spec)
    return lambda batch: {spec.name: fitting[:batch]}


@click.command("bench")
@program_argument
@click.option(
    "--executors",
    metavar="NAMES",
    help="`all`, or names with commas; one that cannot run here is then an error "
    f"[default: every installed one but {' and '.join(sorted(SLOW))}].",
)
@click.option(
    "--against",
    default=",".join(TWINS),
    show_default=True,
    metavar="TWINS",
    help="Networks of the same shape in ONNX Runtime, built here and run in turn; `none` for none.",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    default=("1",),
    show_default="1",
    metavar="N",
    help="Batch sizes: with commas, or the option again.",
)
@click.option(
    "--threads",
    type=PARALLEL,
    default=1,
    show_default=True,
    help="Threads of everything that can use them; the table says who did.",
)
@click.option(
    "--kernel",
    type=click.Choice(KERNELS),
    default="auto",
    show_default=True,
    help="Which kernel `packed` prefers for layers with weights.",
)
@click.option(
    "--repeats", type=click.IntRange(1), default=100, show_default=True, help="Most turns of each."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Time for each batch size, after which no turn beyond the fifth begins.",
)
@click.option("--layers", is_flag=True, help="Also each layer alone: packed, interpreter, float32.")
@data_option("Measure on test images of this data set [default: uniform random inputs].")
@data_dir_option
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="Also write the JSON: to this file if it ends in .json, else to a new file in this folder.",
)
@json_option
def command(
    program: Path,
    executors: str | None,
    against: str,
    batches: tuple[str, ...],
    threads: int,
    kernel: str,
    repeats: int,
    seconds: float,
    layers: bool,
    data: str | None,
    data_dir: Path | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Measure the speed of executors on PROGRAM, in turns with float32 and int8 networks of its shape.

    Ratios say how many times faster than that network an executor is: 2 is half its time. Executors
    must agree bit for bit on what is measured, or it ends with code 4.
    """
    loaded = load(program)
    rows, skipped = wanted_executors(executors)
    settings = Settings(
        wanted_twins(against), wanted_batches(batches), threads, kernel, repeats, seconds, layers
    )
    if kernel != "auto" and not layers:
        check_tuning(rows, {"kernel": kernel})
    samples = None
    if data:
        samples = data_samples(loaded, data, data_dir, max(settings.batches))
        settings = replace(settings, data=data)
    if warning := blas_warning():
        click.echo(f"warning: {warning}", err=True)
    with late_status() as tell:
        result = bench(loaded, rows, settings, samples, tell, skipped)
    found = result.to_json()
    if save and (file := save_result(found, save)) != save:
        click.echo(f"saved {file}", err=True)
    emit(found, as_json, to_plain_text(result, terminal_width()))
