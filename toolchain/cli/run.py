"""``gatefold run``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.errors import InputError
from runtime.serialize import load
from toolchain.cli.common import (
    emit,
    executor_option,
    json_option,
    program_argument,
    progress_bar,
    read_arrays,
    tuning_options,
    write_arrays,
)
from toolchain.executors import open_tuned


@click.command("run")
@program_argument
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    help="Raw inputs, batch first: .npy (or .npz by input name), uint8 images as the data set has them.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the class scores go: .npy for the first output, .npz for all of them.",
)
@executor_option("packed")
@tuning_options
@json_option
def command(
    program: Path,
    source: Path,
    output: Path,
    executor: str,
    kernel: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run PROGRAM on a batch of raw inputs and write its integer outputs."""
    if output.suffix not in (".npy", ".npz"):
        raise InputError(f"--output must end in .npy or .npz, and {output} does not")
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"--output must be another file than --input, and both are {source}")
    session = open_tuned(load(program), executor, kernel, threads)
    inputs = read_arrays(source)
    first = inputs if not isinstance(inputs, dict) else next(iter(inputs.values()), [])
    with progress_bar("running", len(first) if getattr(first, "ndim", 0) else 0) as advance:
        outputs = session.run(inputs, advance)
    write_arrays(output, outputs)
    name, array = next(iter(outputs.items()))
    written = {"path": str(output), "executor": executor, "samples": len(array), "outputs": list(outputs)}
    emit(written, as_json, f"{output}: {name} {array.dtype} {list(array.shape)} by {executor}")
