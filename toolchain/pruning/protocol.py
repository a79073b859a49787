"""One training run of a pruning study: what it starts with, and the masks that follow from it.

Source: arXiv 2308.06780 and its authors' code (``continue``); Frankle & Carbin, arXiv 1803.03635
(``rewind``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from runtime.errors import InputError
from toolchain.data import Dataset
from toolchain.pruning.magnitude import Size, masks_of, prune, set_masks
from toolchain.pruning.plan import CHAIN, Job, Plan
from toolchain.training import Progress, RunResult, initial_model, load_run, train
from toolchain.training.run import (
    CHECKPOINT_FILE,
    RECIPE_FILE,
    RESULT_FILE,
    read_result,
    read_tensors,
    remove_remains,
    write_tensors,
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The run directories of a study below ``directory``."""

    plan: Plan
    directory: Path

    def is_ready(self, job: Job) -> bool:
        """Whether all that ``job`` starts with exists."""
        return job.round == 0 or (self.directory / job.mask_file()).exists()

    def is_finished(self, job: Job) -> bool:
        """Whether the run is finished, and so are the masks that the next round waits for."""
        done = (self.directory / job.run / RESULT_FILE).exists()
        return done and (not self.plan.makes_mask(job) or (self.directory / job.mask_file(1)).exists())

    def result(self, job: Job) -> RunResult | None:
        """The result of a finished run. Raises InputError if it is damaged."""
        path = self.directory / job.run / RESULT_FILE
        return read_result(path) if path.exists() else None

    def masks(self, job: Job) -> dict[str, Tensor]:
        """The masks that ``job`` starts with; none in round 0. Raises InputError."""
        if not job.round:
            return {}
        try:
            return read_tensors(self.directory / job.mask_file())
        except InputError as error:
            raise InputError(f"{error}; delete it, --resume makes it anew") from None

    def size(self, job: Job) -> Size:
        """What of its network ``job`` trains. Raises InputError for damaged masks."""
        dense = self.plan.sizes[job.network]
        masks = self.masks(job)
        if not masks:
            return dense
        weights = sum(int(mask.sum()) for mask in masks.values())
        return Size(dense.parameters - dense.weights + weights, weights)

    def execute(self, job: Job, dataset: Dataset, device: str, progress: Progress | None) -> RunResult:
        """Train ``job``, or go on with it, and write the masks that follow. Raises GatefoldError, OSError.

        What is finished is not repeated. The checkpoint of a finished run is of no more use and removed.
        """
        directory, recipe = self.directory / job.run, self.plan.recipe(job)
        result = self.result(job)
        if result is None:
            resume = (directory / RECIPE_FILE).exists()
            result = train(recipe, dataset, directory, device, resume, progress, self.start(job))
        if not self.is_finished(job):
            settings, model = self.plan.settings, load_run(directory).model
            try:
                prune(model, settings.share, settings.granularity)
            except InputError as error:
                raise InputError(f"round {job.round + 1} cannot be pruned: {error}") from None
            masks = self.directory / job.mask_file(1)
            remove_remains(masks.parent, masks.name)
            write_tensors(masks, masks_of(model))
        (directory / CHECKPOINT_FILE).unlink(missing_ok=True)
        return result

    def start(self, job: Job) -> Mapping[str, Tensor] | None:
        """The state that ``job`` begins with; None for the initial weights of the dense network.

        The chain goes on with the weights of its last round, a ticket with its initial weights; masked.
        """
        if not job.round:
            return None
        if job.kind == CHAIN:
            previous = Job(job.network, job.seed, self.plan.mask_kind(job.round - 1), job.round - 1)
            model = load_run(self.directory / previous.run).model
        else:
            model = initial_model(self.plan.recipe(job))
        set_masks(model, self.masks(job))
        return model.state_dict()
