"""The training runs that a pruning study consists of, known before the first one starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from runtime.errors import InputError
from toolchain.config import Recipe
from toolchain.models import model_row
from toolchain.pruning.magnitude import Size, masks_of, prunable_part, set_masks, size_of
from toolchain.pruning.settings import Settings

CHAIN = "chain"
"""Kind of the runs that only serve to find the next mask."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training run: of a network that was pruned ``round`` times; in round 0 it is dense.

    ``kind``: a row of ``ACCURACIES``, or ``CHAIN``.
    """

    network: str
    seed: int
    kind: str
    round: int

    @property
    def run(self) -> str:
        """The run directory, relative to the study's; it identifies the job."""
        return f"{self.network}/seed-{self.seed}/{self.kind}/round-{self.round:02d}"

    def mask_file(self, later: int = 0) -> str:
        """The file of the masks ``later`` rounds after this one, relative to the study's directory."""
        return f"{self.network}/seed-{self.seed}/masks/round-{self.round + later:02d}.pt"


@dataclass(frozen=True, slots=True)
class Plan:
    """``settings``, and what follows from them: the size of each dense network, and its rounds of pruning.

    ``reference``: parameters of the dense real network, the 100 % of every share that is reported.
    """

    settings: Settings
    reference: int
    sizes: dict[str, Size]
    rounds: dict[str, int]

    @staticmethod
    def of(settings: Settings) -> Plan:
        """Raises InputError for a network that cannot be built or pruned."""
        models = {name: _build(settings, name) for name in settings.networks}
        _check_model(settings, models)
        if "early" in settings.accuracies:
            settings.recipe.with_epochs(settings.early_epochs)
        sizes = {name: size_of(model) for name, model in models.items()}
        baseline = _build(settings, "real") if settings.algebras else models[settings.recipe.model]
        reference = size_of(baseline).parameters
        rounds = {
            name: _count_rounds(
                settings, name, sizes[name].parameters, _prunable(settings, model), reference
            )
            for name, model in models.items()
        }
        return Plan(settings, reference, sizes, rounds)

    def jobs(self) -> list[Job]:
        """All runs, round by round, those that later ones wait for first."""
        last = max(self.rounds.values())
        return [
            Job(network, seed, kind, index)
            for index in range(last + 1)
            for seed in self.settings.seeds
            for network, rounds in self.rounds.items()
            if index <= rounds
            for kind in self._kinds(index, rounds)
        ]

    def tickets(self) -> list[Job]:
        """The runs whose accuracy is reported."""
        return [job for job in self.jobs() if job.kind in self.settings.accuracies]

    def _kinds(self, index: int, rounds: int) -> list[str]:
        masking = [self.mask_kind(index)] if index < rounds else []
        return list(dict.fromkeys([*masking, *self.settings.accuracies]))

    def mask_kind(self, index: int) -> str:
        """The kind of run whose weights give the masks of the round after ``index``.

        With ``continue`` it is the chain, whose first run is the dense network's like any other's.
        """
        if self.settings.protocol == "rewind":
            return self.settings.accuracies[0]
        return CHAIN if index else "last"

    def makes_mask(self, job: Job) -> bool:
        """Whether the next round waits for ``job``."""
        return job.round < self.rounds[job.network] and job.kind == self.mask_kind(job.round)

    def recipe(self, job: Job) -> Recipe:
        """What ``job`` trains."""
        settings = self.settings
        changes: dict[str, Any] = {"seed": job.seed, "options": _options(settings, job.network)}
        if job.kind == "early":
            policy = {"keep": "best", "watch": "loss", "patience": settings.patience}
            changes |= {**policy, "validation": settings.validation}
            return settings.recipe.with_epochs(settings.early_epochs).model_copy(update=changes)
        policy = {"keep": "last", "watch": "accuracy", "patience": 0, "validation": 0.0}
        return settings.recipe.model_copy(update=changes | policy)


def _options(settings: Settings, network: str) -> dict[str, Any]:
    return settings.recipe.options | ({"algebra": network} if settings.algebras else {})


def _build(settings: Settings, network: str) -> nn.Module:
    return model_row(settings.recipe.model).build(**_options(settings, network))


def _prunable(settings: Settings, model: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in prunable_part(model, settings.granularity).values())


def _check_model(settings: Settings, models: dict[str, nn.Module]) -> None:
    """Try to prune each of ``models``. Raises InputError that names the one that cannot be."""
    for name, model in models.items():
        try:
            prunable_part(model, settings.granularity)
            set_masks(model, masks_of(model))
        except InputError as error:
            raise InputError(f"{name} network of model {settings.recipe.model!r}: {error}") from None


def _count_rounds(settings: Settings, name: str, parameters: int, prunable: int, reference: int) -> int:
    """The first round with at most ``until`` percent of ``reference`` left, or all rounds.

    Pruning whole quaternions or channels removes at least as many weights as assumed here. Raises
    InputError when ``until`` is out of reach.
    """
    if settings.until is None:
        return settings.rounds
    for done in range(settings.rounds):
        if 100 * parameters <= settings.until * reference:
            return done
        pruned = round(settings.share * prunable)
        if not pruned:
            raise InputError(
                f"--until must be a percentage that pruning can reach, not {settings.until:g}: the {name} "
                f"network keeps {100 * parameters / reference:.3g} %"
            )
        parameters, prunable = parameters - pruned, prunable - pruned
    return settings.rounds
