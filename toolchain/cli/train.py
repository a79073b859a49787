"""``gatefold train``."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import InputError
from toolchain.cli.common import (
    command_line,
    data_dir_option,
    data_option,
    emit,
    extra,
    json_option,
    tell_download,
)

PERMILLE = 1000
"""Resolution of the bar."""

if TYPE_CHECKING:
    from toolchain.config import Recipe
    from toolchain.training import Event


def find_recipe(source: str) -> Recipe:
    """A recipe by name or file, or the default recipe of a model. Raises InputError."""
    from toolchain.config import load_recipe, shipped_recipes
    from toolchain.models import models
    from toolchain.pipeline import default_recipe

    if source in shipped_recipes() or source.endswith(".toml"):
        return load_recipe(source)
    if source in models():
        return default_recipe(source)
    close = difflib.get_close_matches(source, [*models(), *shipped_recipes()], 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(
        f"MODEL must be a model or recipe of `gatefold models`, or a .toml file, not {source!r}{hint}"
    )


def epoch_line(event: Event) -> str:
    """One line for a finished epoch."""
    found: Any = event.metrics
    return (
        f"epoch {event.epoch}/{event.epochs} {event.phase}: loss {found['loss']:.4f}, "
        f"accuracy {100 * found['accuracy']:.2f} %, {found['seconds']:.1f} s"
    )


@contextmanager
def training_progress(label: str, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A bar on a terminal, one line per epoch elsewhere unless ``quiet``; warnings on both.

    An epoch's last step of the bar is its evaluation, so the bar ends with the last accuracy.
    """
    terminal = sys.stderr.isatty()
    with click.progressbar(
        length=PERMILLE,
        label=label,
        file=sys.stderr,
        hidden=not terminal,
        width=20,
        show_eta=False,
        item_show_func=lambda text: text,
    ) as bar:
        accuracy, below_bar = "", "\n" if terminal else ""

        def listen(event: Event) -> None:
            nonlocal accuracy
            batch = event.batch / (event.batches + 1)
            if event.message:
                click.echo(f"{below_bar}warning: {event.message}", err=True)
            elif event.metrics:
                batch, accuracy = 1.0, f", {100 * event.metrics['accuracy']:.1f} %"
                if not (quiet or terminal):
                    click.echo(epoch_line(event), err=True)
            wanted = int(PERMILLE * (event.epoch - 1 + batch) / event.epochs)
            bar.update(wanted - bar.pos, f"{event.phase} {event.epoch}/{event.epochs}{accuracy}")

        yield listen


def next_step(recipe: Recipe, directory: Path) -> str:
    """What to do with the finished run of ``recipe``."""
    from toolchain.quantize import has_plain_form

    if recipe.active_phases[-1].precision == "quantized":
        return f"next: gatefold lower {directory}"
    if has_plain_form(recipe.model):
        return f"next: gatefold quantize {directory}"
    return "a float32 network to compare with: only a run whose last phase is quantized can be lowered"


@click.command("train")
@click.argument("model", metavar="MODEL|RECIPE.toml")
@data_option("Another data set than the recipe's.")
@data_dir_option
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change any key of the recipe (--show prints them all): seed=3, phases.qat.epochs=20, "
    "phases.qat.milestones=[0.5,0.8], step.rule=twn, step.zero_median=true, compute.mixed=bfloat16, "
    "compute.compile=true, ...; repeatable.",
)
@click.option("--epochs", type=click.IntRange(1), help="Total epochs, phases in proportion.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the run directory's last checkpoint.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory [default: runs/NAME].")
@click.option("--show", is_flag=True, help="Print the recipe that would be trained, and stop.")
@json_option
def command(
    model: str,
    data: str | None,
    data_dir: Path | None,
    assignments: tuple[str, ...],
    epochs: int | None,
    device: str,
    resume: bool,
    out: Path | None,
    show: bool,
    as_json: bool,
) -> None:
    """Train a model, or a recipe, into a run directory; then `gatefold lower` it.

    A run that was stopped, by Ctrl-C, a crash or a kill, goes on with --resume. Several processes share
    the batches where torchrun starts them; with --device cuda each has a GPU of its own:

    \b
        torchrun --nproc-per-node 4 --no-python gatefold train RECIPE --device cuda
    """
    with extra("train", "training"):
        from toolchain.config import override
        from toolchain.data import load as load_data
        from toolchain.provenance import write_commands
        from toolchain.training import train
        from toolchain.training.loop import check_recipe, initial_model
        from toolchain.training.world import speaks_for_all
    speaks = speaks_for_all()
    chosen_data = [f"dataset={json.dumps(data)}"] if data else []
    recipe = override(find_recipe(model), [*assignments, *chosen_data])
    recipe = recipe.with_epochs(epochs) if epochs else recipe
    if show:
        if speaks:
            click.echo(json.dumps(recipe.model_dump(mode="json"), indent=2))
        return
    if any(phase.connection for phase in recipe.active_phases):
        check_recipe(initial_model(recipe), recipe)  # before a data set is downloaded
    dataset = load_data(recipe.dataset, data_dir, tell_download if speaks else None)
    directory = out or Path("runs") / recipe.name
    with training_progress(recipe.name, quiet=as_json) if speaks else nullcontext() as listen:
        result = train(recipe, dataset, directory, device=device, resume=resume, progress=listen)
    if speaks:
        write_commands(directory, [f"{command_line()} --out runs/{recipe.name}"])
    text = (
        f"{directory}: {100 * result.accuracy:.2f} % on {result.test_samples:,} test images of "
        f"{result.dataset} after {result.epochs} epochs, {result.seconds:.0f} s\n"
        f"{next_step(recipe, directory)}"
    )
    if speaks:
        emit({"run": str(directory), **asdict(result)}, as_json, text)
