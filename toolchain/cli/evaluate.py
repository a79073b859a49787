"""``gatefold evaluate``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from runtime.errors import InputError
from runtime.serialize import load
from runtime.session import Session
from toolchain.cli.common import (
    data_dir_option,
    data_option,
    emit,
    executor_option,
    json_option,
    program_argument,
    progress_bar,
    tell_download,
    tuning_options,
)
from toolchain.data import Dataset
from toolchain.data import load as load_data
from toolchain.executors import open_tuned


def data_name(metadata: object, given: str | None) -> str:
    """The data set asked for, else the one the program was trained on. Raises InputError."""
    trained = metadata.get("dataset") if hasattr(metadata, "get") else None
    if not given and not trained:
        raise InputError("the program names no data set; give one with --data")
    return str(given or trained)


def predicted_classes(session: Session, dataset: Dataset) -> np.ndarray:
    """Class of every test image. Raises InputError when the program gives none."""
    with progress_bar("evaluating", len(dataset.test_images)) as advance:
        outputs = session.run(dataset.test_images, advance)
    if "class" not in outputs:
        raise InputError(f"the program has outputs {', '.join(outputs)}, none of them 'class'")
    return outputs["class"]


@click.command("evaluate")
@program_argument
@data_option("The data set [default: the one the program was trained on].")
@data_dir_option
@executor_option("packed")
@tuning_options
@json_option
def command(
    program: Path,
    data: str | None,
    data_dir: Path | None,
    executor: str,
    kernel: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure PROGRAM's accuracy on the test part of a data set."""
    loaded = load(program)
    session = open_tuned(loaded, executor, kernel, threads)
    dataset = load_data(data_name(loaded.metadata, data), data_dir, tell_download)
    classes = predicted_classes(session, dataset)
    correct = int(np.sum(classes == dataset.test_labels))
    accuracy = correct / len(classes)
    result = {
        "accuracy": accuracy,
        "correct": correct,
        "samples": len(classes),
        "executor": executor,
        "data": dataset.name,
    }
    total = f"{len(classes):,} test images of {dataset.name}"
    emit(result, as_json, f"{100 * accuracy:.2f} % of {total}: {correct:,} right")
