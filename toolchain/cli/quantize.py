"""``gatefold quantize``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from runtime.errors import InputError
from toolchain.cli.common import (
    command_line,
    data_dir_option,
    emit,
    extra,
    json_option,
    set_option,
    tell_download,
)
from toolchain.cli.train import training_progress


@click.command("quantize")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--levels",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    help="Of the weights; odd if the run is pruned.",
)
@click.option("--first-levels", type=int, help="Of the first layer; 0 for --levels [default: the model's].")
@click.option("--last-levels", type=int, help="Of the output layer; 0 for --levels [default: the model's].")
@click.option("--bits", type=int, default=2, show_default=True, help="Of the activations, 1 to 8.")
@click.option(
    "--steps",
    type=click.Choice(["layer", "component"]),
    default="layer",
    show_default=True,
    help="One step of the weights' codes a layer, or one a component of its quaternions.",
)
@click.option(
    "--epochs",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Of quantization-aware training; 0 calibrates only.",
)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=100, show_default=True)
@click.option(
    "--images",
    type=click.IntRange(2, 5000),
    default=500,
    show_default=True,
    help="Training images to calibrate on.",
)
@set_option
@click.option("--seed", type=click.IntRange(0), help="[default: that of the run]")
@data_dir_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the run directory's last checkpoint.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory [default: RUN-heq].")
@json_option
def command(
    run: Path,
    levels: int,
    first_levels: int | None,
    last_levels: int | None,
    bits: int,
    steps: str,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    images: int,
    assignments: tuple[str, ...],
    seed: int | None,
    data_dir: Path | None,
    device: str,
    resume: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Quantize the network of the run directory RUN: HEQ weights, low-bit activations, then train it
    further.

    RUN is a plain network as `gatefold train conv-4` or a ticket of `gatefold prune` leaves it. Its weights
    are the latent weights to start from, pruned ones stay pruned, and the norms and ranges are calibrated
    on training images. The new run directory can be lowered.
    """
    with extra("train", "quantizing"):
        from toolchain.config import override
        from toolchain.data import load as load_data
        from toolchain.provenance import STUDY_FILE, canonical_place, read_commands, write_commands
        from toolchain.quantize import qat_phase, quantized_recipe, starting_state
        from toolchain.training import load_run, train
    if (run / STUDY_FILE).exists():
        raise InputError(f"{run} is a study; give one of its runs, such as those of {run}/results.csv")
    plain = load_run(run)
    made = command_line(run=canonical_place(run))
    phase = qat_phase(epochs, learning_rate, batch_size)
    options = {
        "levels": levels,
        "first_levels": first_levels,
        "last_levels": last_levels,
        "bits": bits,
        "steps": steps,
    }
    seeds = [] if seed is None else [f"seed={seed}"]
    recipe = override(quantized_recipe(plain, run, options, phase), [*seeds, *assignments])
    commands = [*read_commands(run), f"{made} --out runs/{recipe.name}"]
    dataset = load_data(recipe.dataset, data_dir, tell_download)
    directory = out or run.with_name(f"{run.name}-heq")
    start = starting_state(plain, recipe, dataset, images)
    with training_progress(recipe.name, quiet=as_json) as listen:
        result = train(
            recipe, dataset, directory, device=device, resume=resume, progress=listen, start=start
        )
    write_commands(directory, commands)
    how = f"{result.epochs} epoch{'s'[: result.epochs > 1]} of training"
    how = how if result.epochs else "calibration alone"
    text = (
        f"{directory}: {100 * result.accuracy:.2f} % on {result.test_samples:,} test images of "
        f"{result.dataset} after {how}; the plain network has {100 * plain.result.accuracy:.2f} % of "
        f"{plain.result.dataset}\n"
        f"next: gatefold lower {directory}"
    )
    emit({"run": str(directory), "plain_accuracy": plain.result.accuracy, **asdict(result)}, as_json, text)
