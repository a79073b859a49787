"""From a finished run to its published folder: lower, check, measure, and write all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import exporters
from runtime.errors import MismatchError
from runtime.folders import atomic_folder
from runtime.ir import Program
from runtime.serialize import dumps
from runtime.session import Session
from toolchain.compare import count_differing, random_samples
from toolchain.cost import report
from toolchain.data import Dataset
from toolchain.data import load as load_data
from toolchain.data.download import Progress
from toolchain.devices import DEVICES
from toolchain.lowering import CLASS
from toolchain.pipeline import ModelCheck, check_model, lower_run
from toolchain.provenance import read_commands
from toolchain.publish.card import Evidence, card_text
from toolchain.training import Run
from toolchain.training.run import read_recipe
from toolchain.vectors import Vectors, make_vectors, write_vectors

PROGRAM_FILE, VECTORS_FILE, CARD_FILE = FILES = ("program.gfold", "vectors.npz", "card.md")
"""What a published folder holds."""

FOLDER = Path("trained")
"""Where published folders go if nothing else is said."""

VECTORS = 64
"""Samples in a file of test vectors, or all test images where there are fewer."""

LARGE_MACS = 10_000_000
LARGE_CHECK = 1000
"""A network of more multiplications is compared with its float64 model on this many test images."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""``bar(label, length)``: a progress bar, and the function that advances it."""


@dataclass(frozen=True, slots=True)
class Published:
    """What ``publish`` wrote: ``evidence`` is what the card shows, ``sizes`` are bytes by file name."""

    directory: Path
    evidence: Evidence
    sizes: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of all of it but training and costs."""
        return {"path": str(self.directory), "bytes": sum(self.sizes.values()), **self.evidence.to_json()}


@contextmanager
def no_bar(_label: str, _length: int) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda _done: None


def publish(
    run_dir: str | Path,
    output: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    executor: str = "packed",
    random_vectors: bool = False,
    force: bool = False,
    bar: Bar = no_bar,
    download: Progress | None = None,
) -> Published:
    """Lower the finished run in ``run_dir`` and write the folder ``output`` [default: trained/NAME].

    The accuracy is that of the program on the whole test set, on ``executor``. The test vectors are of the
    first test images, or of ``random_vectors``. A published folder that exists is replaced with ``force``.
    ``download`` follows that of the data set.

    Raises MismatchError, and writes nothing, when the program differs from its float64 model or
    ``executor`` from the interpreter; InputError for a run, a data set or a place that cannot be used.
    """
    target = Path(output) if output else FOLDER / read_recipe(Path(run_dir)).name
    with atomic_folder(target, force, FILES, "a published") as folder:
        with bar("lowering", 1) as advance:
            program, run = lower_run(run_dir)
            advance(1)
        dataset = load_data(run.result.dataset, data_dir, download)
        session = Session(program, executor, exporters.executors())
        inputs = random_inputs(program) if random_vectors else dataset.test_images[:VECTORS]
        with bar("test vectors", len(inputs)) as advance:
            vectors = make_vectors(program, {program.inputs[0].name: inputs}, advance)
        check_vectors(session, vectors)
        cost = report(program, DEVICES)
        compared = dataset.test_images[: LARGE_CHECK if cost.total.macs > LARGE_MACS else None]
        (folder / PROGRAM_FILE).write_bytes(dumps(program))
        write_vectors(vectors, folder / VECTORS_FILE)
        evidence = Evidence(
            run=run,
            executor=executor,
            model=check_float64(program, run, compared, bar),
            correct=_count_correct(session, dataset, bar),
            samples=len(dataset.test_labels),
            cost=cost,
            vectors=len(vectors),
            random_vectors=random_vectors,
            files={name: _digest(folder / name) for name in (PROGRAM_FILE, VECTORS_FILE)},
            commands=tuple(read_commands(Path(run_dir))) if run.started else (),
        )
        (folder / CARD_FILE).write_text(card_text(evidence), encoding="utf-8")
        sizes = {name: (folder / name).stat().st_size for name in FILES}
    return Published(target, evidence, sizes)


def random_inputs(program: Program) -> NDArray[Any]:
    """``VECTORS`` uniform samples of the program's input, the same ones every time."""
    spec = program.inputs[0]
    return random_samples(program, VECTORS, seed=0)[spec.name].astype(spec.type.interval.dtype)


def check_vectors(session: Session, vectors: Vectors) -> None:
    """Raise MismatchError unless the executor that measures gives the outputs of ``vectors``."""
    differing = count_differing(vectors.outputs, session.run(vectors.inputs))
    if differing:
        raise MismatchError(
            f"an executor that measures must equal the interpreter, and {session.executor} differs on "
            f"{differing} of {len(vectors)} inputs; `gatefold verify` says more"
        )


def check_float64(program: Program, run: Run, images: NDArray[Any], bar: Bar) -> ModelCheck:
    """Compare the program with its float64 model on ``images``. Raises MismatchError where they differ."""
    with bar("float64 model", len(images)) as advance:
        found = check_model(program, run.model, images, advance)
    if found.mismatches:
        raise MismatchError(
            f"a published program must equal its float64 model, and this one differs on {found.mismatches} "
            f"of {found.samples} test images"
        )
    return found


def _count_correct(session: Session, dataset: Dataset, bar: Bar) -> int:
    with bar("evaluating", len(dataset.test_images)) as advance:
        classes = session.run(dataset.test_images, advance)[CLASS]
    return int(np.sum(classes == dataset.test_labels))


def _digest(path: Path) -> tuple[int, str]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
