"""The demonstration: the whole job on real images, for an OR and a MUX network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import exporters
from runtime.ir import Program
from runtime.serialize import save
from runtime.session import Session
from toolchain.compare import Comparison, compare, random_samples
from toolchain.config import load_recipe
from toolchain.cost import Report, report
from toolchain.data import Dataset
from toolchain.devices import DEVICES
from toolchain.pipeline import ModelCheck, check_model, lower_run
from toolchain.timing import alternate_ms
from toolchain.training import RunResult, train
from toolchain.training.progress import Progress
from toolchain.training.run import RECIPE_FILE

DEMOS: dict[str, tuple[str, str]] = {
    "digits": ("digits-ternary", "digits-mux"),
    "fashion-mnist": ("fashion-or", "fashion-mux"),
}
"""The recipes each data set demonstrates: an OR and a MUX network."""

PROFILES = ("portable", "modern")
C_FOLDER, C_TARGET = "c99", "cortex-m4"
RANDOM_SAMPLES = 1000


Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""``bar(label, length)``: a progress bar, and the function that advances it."""


@dataclass(frozen=True)
class Demonstration:
    """What one network showed. ``onnx_bytes`` by profile; ``milliseconds`` per image at batch 1."""

    directory: Path
    result: RunResult
    program: Program
    accuracy: float
    model: ModelCheck
    comparison: Comparison
    onnx_bytes: dict[str, int]
    float32_onnx_bytes: int
    milliseconds: dict[str, float]
    cost: Report

    @property
    def ok(self) -> bool:
        """Whether nothing differed anywhere."""
        return self.comparison.ok and not self.model.mismatches

    def to_json(self) -> dict[str, Any]:
        """Plain numbers of everything shown."""
        return {
            "run": str(self.directory),
            "accuracy": self.accuracy,
            "samples": self.result.test_samples,
            "train_seconds": self.result.seconds,
            "model": self.model.to_json(),
            "verify": self.comparison.to_json(),
            "onnx_bytes": self.onnx_bytes,
            "float32_onnx_bytes": self.float32_onnx_bytes,
            "milliseconds": self.milliseconds,
            "report": self.cost.to_json(),
        }


def train_once(recipe: str, dataset: Dataset, directory: Path, listen: Progress) -> RunResult:
    """Train a shipped recipe into ``directory``, or go on with the run it already holds."""
    resume = (directory / RECIPE_FILE).exists()
    return train(load_recipe(recipe), dataset, directory, resume=resume, progress=listen)


def demonstrate(
    result: RunResult, dataset: Dataset, directory: Path, stage: Callable[[str], None], bar: Bar
) -> Demonstration:
    """Lower, export, verify, time and cost the finished run in ``directory``.

    ``stage`` hears the name of each step, ``bar`` shows the progress of the long one. Raises the errors
    of each.
    """
    stage("lowering")
    program, run = lower_run(directory)
    save(program, directory / "program.gfold")
    stage("exporting")
    paths = {
        profile: exporters.export(program, "onnx", directory / f"{profile}.onnx", profile=profile)
        for profile in PROFILES
    }
    exporters.export(program, "c99", directory / C_FOLDER, force=True, target=C_TARGET)
    stage(f"verifying on {len(dataset.test_images):,} test images and {RANDOM_SAMPLES:,} random ones")
    images = {program.inputs[0].name: dataset.test_images}
    sets, table = [images, random_samples(program, RANDOM_SAMPLES, 0)], exporters.executors()
    with bar("verifying", len(table) * (len(dataset.test_images) + RANDOM_SAMPLES)) as advance:
        comparison = compare(program, sets, table, progress=advance)
    model = check_model(program, run.model, dataset.test_images)
    classes = Session(program).run(dataset.test_images)["class"]
    stage("measuring")
    milliseconds, float32_bytes = latencies(program, dataset.test_images[:1])
    return Demonstration(
        directory,
        result,
        program,
        float(np.mean(classes == dataset.test_labels)),
        model,
        comparison,
        {profile: path.stat().st_size for profile, path in paths.items()},
        float32_bytes,
        milliseconds,
        report(program, DEVICES),
    )


def latencies(program: Program, image: NDArray[Any]) -> tuple[Mapping[str, float], int]:
    """Median milliseconds per image by executor and of the float32 twin, and the twin's file size.

    One image at a time, one thread, all alternating in one loop. The ONNX files run as a user would
    run them, ``packed`` and the C through a ``Session``.
    """
    from exporters.onnx.build import build
    from exporters.onnx.twin import float32_twin, model_runner

    twin, session = float32_twin(program), Session(program, "packed")
    compiled = exporters.open_session(program, "c99")
    calls: dict[str, Callable[[], object]] = {
        "packed": lambda: session.run(image),
        "C": lambda: compiled.run(image),
        "ONNX": model_runner(build(program), image),
        "float32 twin": model_runner(twin, image.astype(np.float32)),
    }
    return alternate_ms(calls), len(twin.SerializeToString())
