"""``gatefold demo``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

import exporters
from runtime.errors import MismatchError
from toolchain.cli.common import data_dir_option, emit, extra, json_option, progress_bar, tell_download
from toolchain.cli.train import training_progress
from toolchain.cli.verify import agreement_table, model_line
from toolchain.devices import fitting

if TYPE_CHECKING:
    from toolchain.demo import Demonstration

CORTEX_M4 = "nano-33-ble"
"""The device whose flash and RAM are shown."""

TITLES = {"digits-ternary": "OR", "digits-mux": "MUX", "fashion-or": "OR", "fashion-mux": "MUX"}


def summary(shown: Demonstration) -> str:
    """Accuracy, agreement, speed and cost of one network, for people."""
    report = shown.cost.to_json()
    total, devices = report["total"], report["devices"]
    correct = f"{100 * shown.accuracy:.2f} % of {shown.result.test_samples:,} test images"
    speed = ", ".join(f"{name} {ms:.2f} ms" for name, ms in shown.milliseconds.items())
    sizes = ", ".join(f"{name} {size:,} B" for name, size in shown.onnx_bytes.items())
    skips = report["skip_cost"]["connections"][0]
    skip_costs = ", ".join(
        f"{label} {skips[kind]['ge']:,.0f}"
        for label, kind in (
            ("OR", "or"),
            ("MUX", "mux"),
            ("int8 add", "integer_add"),
            ("float32 add", "float32_add"),
        )
    )
    needs = devices[CORTEX_M4]["estimated"]
    lines = [
        f"accuracy  {correct} of {shown.result.dataset}, trained in {shown.result.seconds:.0f} s",
        agreement_table(shown.comparison),
        model_line(shown.model.to_json()),
        f"speed     one image, one thread: {speed}",
        f"ONNX      {sizes}; float32 network of the same shape {shown.float32_onnx_bytes:,} B",
        f"cost      {total['parameters']:,} parameters, {total['macs']:,} MACs; its C on a Cortex-M4: "
        f"{needs['flash']:,} B flash, {needs['ram']:,} B RAM, estimated",
        f"gates     {total['gates']['ge']:,.0f} gate equivalents fully parallel, "
        f"{total['gates_one_position']['ge']:,.0f} for one position reused",
        f"one skip  gate equivalents: {skip_costs}",
        f"fits      {fitting({name: row['fits'] for name, row in devices.items()})}",
        f"files     {shown.directory}/: program.gfold, portable.onnx, modern.onnx, c99/ for a Cortex-M4",
        f"more      gatefold report {shown.directory}/program.gfold",
    ]
    return "\n".join(lines)


def announce(stage: str) -> None:
    """Say which step runs, on standard error."""
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
        from toolchain.demo import DEMOS, demonstrate, train_once
    for name, row in exporters.executors().items():
        row.load(name)  # a missing package is said before training, not after
    dataset = load_data(data, data_dir, tell_download)
    shown = []
    for recipe in DEMOS[data]:
        click.echo(f"{TITLES[recipe]} network: recipe {recipe}", err=as_json)
        announce("training")
        with training_progress("training", quiet=True) as listen:
            result = train_once(recipe, dataset, out / recipe, listen)
        done = demonstrate(result, dataset, out / recipe, announce, progress_bar)
        shown.append(done)
        if not as_json:
            click.echo(summary(done) + "\n")
    if as_json:
        emit({"networks": {d.result.recipe: d.to_json() for d in shown}}, True, "")
    if not all(d.ok for d in shown):
        raise MismatchError("an executor differs from the interpreter; see the table above")
