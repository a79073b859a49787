"""``gatefold demo``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import exporters
from runtime.errors import MismatchError
from toolchain.cli.common import data_dir_option, emit, extra, json_option
from toolchain.cli.train import training_progress
from toolchain.cli.verify import agreement_table, model_line

if TYPE_CHECKING:
    from toolchain.demo import Demonstration

TITLES = {"digits-ternary": "OR", "digits-mux": "MUX", "fashion-or": "OR", "fashion-mux": "MUX"}


def summary(shown: Demonstration) -> str:
    """Accuracy, agreement, speed and cost of one network, for people."""
    total = shown.cost.to_json()["total"]
    correct = f"{100 * shown.accuracy:.2f} % of {shown.result.test_samples:,} test images"
    speed = ", ".join(f"{name} {ms:.2f} ms" for name, ms in shown.milliseconds.items())
    sizes = ", ".join(f"{name} {size:,}" for name, size in shown.onnx_bytes.items())
    devices = shown.cost.to_json()["devices"]
    lines = [
        f"accuracy   {correct} of {shown.result.dataset} (trained in {shown.result.seconds:.0f} s)",
        agreement_table(shown.comparison),
        model_line(shown.model.to_json()),
        f"speed      one image, one thread: {speed}",
        f"ONNX       bytes: {sizes}; the float32 twin {shown.float32_onnx_bytes:,}",
        f"cost       {total['parameters']:,} parameters, {total['macs']:,} MACs, "
        f"{total['flash_bytes']:,} B flash, {total['ram_bytes']:,} B RAM, "
        f"{total['gates']['ge']:,.0f} gate equivalents fully parallel",
        "fits       " + ", ".join(name for name, row in devices.items() if row["fits"]),
        f"files      {shown.directory}/program.gfold, portable.onnx, modern.onnx",
    ]
    return "\n".join(lines)


def announce(stage: str) -> None:
    """Say which stage runs, on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"{stage} ...", err=True)


@click.command("demo")
@click.option(
    "--data",
    type=click.Choice(["digits", "fashion-mnist"]),
    default="digits",
    show_default=True,
    help="digits trains in seconds; fashion-mnist in minutes.",
)
@data_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("gatefold-demo"),
    show_default=True,
    help="Where runs, programs and ONNX files go.",
)
@json_option
def command(data: str, data_dir: Path | None, out: Path, as_json: bool) -> None:
    """Train, lower, export, verify and report an OR and a MUX network on real images.

    Ternary weights, binary activations. A run that --out already holds is continued, not repeated.
    Exits with code 4 if any executor differs in one bit.
    """
    os.environ.pop("OPENBLAS_CORETYPE", None)
    with extra("all", "the demo"):
        from toolchain.data import load as load_data
        from toolchain.demo import DEMOS, demonstrate
    for row in exporters.executors().values():
        row.load()  # a missing package is said before training, not after
    dataset = load_data(data, data_dir)
    shown = []
    for recipe in DEMOS[data]:
        click.echo(f"{TITLES[recipe]} network: recipe {recipe}", err=as_json)
        with training_progress("training", quiet=True) as listen:
            done = demonstrate(recipe, dataset, out / recipe, listen, announce)
        shown.append(done)
        if not as_json:
            click.echo(summary(done) + "\n")
    if as_json:
        emit({"networks": {d.result.recipe: d.to_json() for d in shown}}, True, "")
    if not all(d.ok for d in shown):
        raise MismatchError("an executor differs from the interpreter; see the table above")
