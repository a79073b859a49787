"""``gatefold train``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import InputError
from toolchain.cli.common import data_dir_option, data_option, emit, extra, json_option

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

    if source in models():
        return default_recipe(source)
    if source in shipped_recipes() or source.endswith(".toml"):
        return load_recipe(source)
    raise InputError(
        f"MODEL must be a model or recipe of `gatefold models`, or a .toml file, not {source!r}"
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
    """A bar on a terminal, one line per epoch elsewhere unless ``quiet``; warnings on both."""
    terminal = sys.stderr.isatty()
    with click.progressbar(
        length=PERMILLE, label=label, file=sys.stderr, hidden=not terminal, item_show_func=lambda text: text
    ) as bar:
        done, last = 0, ""

        def listen(event: Event) -> None:
            nonlocal done, last
            if event.message:
                click.echo(f"\nwarning: {event.message}", err=True)
            if event.metrics:
                last = epoch_line(event)
                if not (quiet or terminal):
                    click.echo(last, err=True)
            share = (event.epoch - 1 + event.batch / event.batches) / event.epochs
            bar.update(int(PERMILLE * share) - done, last or f"epoch 1/{event.epochs} {event.phase}")
            done = int(PERMILLE * share)

        yield listen


@click.command("train")
@click.argument("model", metavar="MODEL|RECIPE.toml")
@data_option("Another data set than the recipe's.")
@data_dir_option
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change any key of the recipe; repeatable.",
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
    """Train a model, or a recipe, into a run directory; then `gatefold lower` it."""
    with extra("train", "training"):
        from toolchain.config import override
        from toolchain.data import load as load_data
        from toolchain.training import train
    recipe = override(find_recipe(model), [*assignments, *([f'dataset="{data}"'] if data else [])])
    recipe = recipe.with_epochs(epochs) if epochs else recipe
    if show:
        click.echo(json.dumps(recipe.model_dump(mode="json"), indent=2))
        return
    dataset = load_data(recipe.dataset, data_dir)
    directory = out or Path("runs") / recipe.name
    with training_progress(recipe.name, quiet=as_json) as listen:
        result = train(recipe, dataset, directory, device=device, resume=resume, progress=listen)
    text = (
        f"{directory}: {100 * result.accuracy:.2f} % on {result.test_samples:,} test images of "
        f"{result.dataset} after {result.epochs} epochs, {result.seconds:.0f} s\n"
        f"next: gatefold lower {directory}"
    )
    emit({"run": str(directory), **asdict(result)}, as_json, text)
