"""``gatefold publish``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.common import (
    data_dir_option,
    emit,
    executor_option,
    extra,
    json_option,
    progress_bar,
    tell_download,
)

if TYPE_CHECKING:
    from toolchain.publish import Published


def summary(done: Published) -> str:
    """What was published, and what to do next."""
    found = done.evidence
    return (
        f"{done.directory}: {100 * found.accuracy:.2f} % of {found.samples:,} test images of "
        f"{found.run.result.dataset} ({found.correct:,} right) on {found.executor}, "
        f"{sum(done.sizes.values()):,} bytes\n"
        f"equals its float64 model on {found.model.samples:,} test images\n"
        f"next: gatefold verify {done.directory}/program.gfold --vectors {done.directory}/vectors.npz"
    )


@click.command("publish")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The folder [default: trained/NAME].")
@data_dir_option
@executor_option("packed")
@click.option(
    "--vectors",
    type=click.Choice(["images", "random"]),
    default="images",
    show_default=True,
    help="Test vectors of the first 64 test images, or of 64 random inputs.",
)
@click.option("--force", is_flag=True, help="Replace a published folder.")
@json_option
def command(
    run: Path,
    output: Path | None,
    data_dir: Path | None,
    executor: str,
    vectors: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make a folder of the trained run directory RUN: its program, test vectors and a card.

    The program is checked against its float64 model, and its accuracy measured on the whole test set. The
    folder appears whole or not at all. Exits with code 4 on one differing bit.
    """
    with extra("train", "publishing"):
        from toolchain.publish import publish
    done = publish(
        run,
        output,
        data_dir=data_dir,
        executor=executor,
        random_vectors=vectors == "random",
        force=force,
        bar=progress_bar,
        download=tell_download,
    )
    emit(done.to_json(), as_json, summary(done))
