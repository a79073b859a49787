"""The trials of an exploration: who trains what, kept by Optuna for any number of workers.

A trial's number names its run directory, so what is trained where is said in one place. A trial stays
``RUNNING`` until its outcome is told. If the worker that has it is no longer alive, the next one to ask
takes it over as it is, with the same values and in the same directory: no trial is lost, none is doubled.
"""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from runtime.errors import GatefoldError, InputError
from toolchain.explore.costs import Cost
from toolchain.explore.pareto import Peer, front
from toolchain.explore.settings import Settings, proposed
from toolchain.explore.space import Point, own_point, size_of
from toolchain.studies.database import open_database
from toolchain.studies.members import is_alive, membership, study_lock

WORKER, FATE, GUESS, COST, CURVE, TEST, ERROR = "worker", "fate", "guess", "cost", "curve", "test", "error"
EPOCHS, REFINES, SECONDS, ACCURACY = "epochs", "refines", "seconds", "accuracy"
"""Attributes of Optuna's trials."""

FINISHED, STOPPED, REJECTED, REPEATED, FAILED = "finished", "stopped", "rejected", "repeated", "failed"
"""What can become of a trial. Those of the first two kinds were trained."""

STALE = 200
"""So many networks in a row that cannot fit end a search."""

STARTUP, POPULATION = 12, 12
"""Random trials before the sampler ``tpe`` learns, and those of a generation of ``nsga2``."""


@dataclass(frozen=True, slots=True)
class Row:
    """A trial as it stands. ``fate``: empty while it runs. ``guess``: cost of the untrained network,
    ``cost``: of the trained program. ``curve``: validation accuracy after each epoch; ``accuracy``: that of
    the chosen weights, so far of the last ones. ``test``: accuracy on the test images. ``epochs``: 0 for
    the recipe's. ``refines``: the trial that this one trains again for more epochs."""

    number: int
    point: Point
    fate: str
    curve: tuple[float, ...]
    accuracy: float
    guess: Cost | None
    cost: Cost | None
    test: float | None
    seconds: float
    error: str
    epochs: int
    refines: int | None

    @property
    def run(self) -> str:
        """The run directory, relative to the exploration's."""
        return f"trials/{self.number:04d}"

    @property
    def trained(self) -> bool:
        """Whether it was trained, to the end or until it fell behind."""
        return self.fate in {FINISHED, STOPPED}

    @staticmethod
    def of(trial: FrozenTrial) -> Row:
        """What the storage says of ``trial``."""
        known = trial.user_attrs
        curve = tuple(known.get(CURVE, ()))
        costs = {key: Cost(**known[key]) if key in known else None for key in (GUESS, COST)}
        return Row(
            trial.number,
            dict(trial.params),
            known.get(FATE, FAILED if trial.state is TrialState.FAIL else ""),
            curve,
            known.get(ACCURACY, curve[-1] if curve else 0.0),
            costs[GUESS],
            costs[COST],
            known.get(TEST),
            known.get(SECONDS, 0.0),
            known.get(ERROR, ""),
            known.get(EPOCHS, 0),
            known.get(REFINES),
        )


def best_rows(rows: Sequence[Row], measure: str) -> list[Row]:
    """The front of the finished trials that fit, from the cheapest to the most accurate."""
    able = [row for row in rows if row.fate == FINISHED and row.cost and row.cost.fits]
    return [
        able[i] for i in front([(row.accuracy, row.cost.measures[measure]) for row in able if row.cost])
    ]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to explore: ``trials`` that train, begun before ``deadline``, of ``time.monotonic``.
    ``refine``: epochs that the trials on the front are then trained again for, 0 for none."""

    trials: int
    deadline: float = float("inf")
    refine: int = 0

    @property
    def in_time(self) -> bool:
        """Whether a trial may still begin."""
        return time.monotonic() < self.deadline


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A trial that this worker has taken."""

    trial: optuna.Trial
    row: Row


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The trials of one exploration, as the worker ``worker`` sees them."""

    directory: Path
    settings: Settings
    trials: optuna.Study
    worker: str
    seen: dict[int, Row] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """Every trial, oldest first. What is over is read once."""
        for trial in self.trials.get_trials(deepcopy=False):
            if trial.number not in self.seen or not self.seen[trial.number].fate:
                self.seen[trial.number] = Row.of(trial)
        return [self.seen[number] for number in sorted(self.seen)]

    def take(self, budget: Budget) -> Claim | None:
        """The next trial, now this worker's, or None where there is nothing to do at present.

        It is one that a worker left behind as it ended, else a new one, else one of the front to refine.
        Raises InputError when nothing fits.
        """
        with study_lock(self.directory):
            for trial in self.trials.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not is_alive(self.directory, trial.user_attrs.get(WORKER)):
                    return self._claim(optuna.Trial(self.trials, trial._trial_id))
            if not budget.in_time:
                return None
            rows = self.rows()
            search = [row for row in rows if row.refines is None]
            if self._is_searching(search, budget):
                return self._propose(rows)
            return self._refine(rows, budget) if budget.refine else None

    def is_busy(self) -> bool:
        """Whether any worker has a trial."""
        return bool(self.trials.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def note(self, claim: Claim, **attributes: Any) -> None:
        """Write attributes of a trial that goes on."""
        with study_lock(self.directory):
            for key, value in attributes.items():
                claim.trial.set_user_attr(key, value)

    def tell(self, claim: Claim, fate: str, accuracy: float, cost: Cost, **attributes: Any) -> None:
        """The trial is over, with these values for the sampler to learn from."""
        with study_lock(self.directory):
            more = {ACCURACY: accuracy, COST: cost.to_json(), FATE: fate}
            for key, value in (attributes | more).items():
                claim.trial.set_user_attr(key, value)
            self.trials.sampler = self._sampler(claim.trial.number)
            self.trials.tell(claim.trial, [accuracy, cost.measures[self.settings.measure]])

    def fail(self, claim: Claim, error: str) -> None:
        """The trial cannot be trained, for the reason ``error``."""
        with study_lock(self.directory):
            claim.trial.set_user_attr(ERROR, error)
            self._drop(claim.trial, FAILED)

    def peers(self, claim: Claim) -> list[Peer]:
        """The other trials of as many epochs that fit, to be compared with."""
        return [
            Peer(row.guess.measures[self.settings.measure], row.curve)
            for row in self.rows()
            if row.number != claim.row.number and row.curve and row.guess and row.epochs == claim.row.epochs
        ]

    def _is_searching(self, rows: Sequence[Row], budget: Budget) -> bool:
        """Whether a new trial is wanted. Raises InputError when so many did not fit that none will."""
        taken = sum(row.trained or not row.fate for row in rows)
        failed = sum(row.fate == FAILED for row in rows)
        last = [row.fate for row in rows if row.fate != REPEATED][-STALE:]
        if (
            max(taken, failed) < budget.trials
            and len(_distinct(rows)) < size_of(self.settings.axes)
            and last.count(REJECTED) < STALE
        ):
            return True
        _check_any_fits(rows)
        return False

    def _propose(self, rows: Sequence[Row]) -> Claim:
        """A new trial at a point where none has been: the recipe's own one first, then what the sampler
        says, or a random one where the sampler repeats itself."""
        settings, known = self.settings, _distinct(rows)
        own = own_point(settings.axes, settings.recipe)
        if own and _key(own) not in known:
            self.trials.enqueue_trial(own)
        claim = self._ask(len(rows))
        if _key(claim.row.point) not in known:
            return claim
        self._drop(claim.trial, REPEATED)
        numbers = random.Random(f"{settings.seed} {len(rows)}")
        while True:
            point = {key: axis.draw(numbers) for key, axis in settings.axes.items()}
            if _key(point) not in known:
                self.trials.enqueue_trial(point)
                return self._ask(len(rows))

    def _refine(self, rows: Sequence[Row], budget: Budget) -> Claim | None:
        """The most accurate trial of the front that is not refined for so long yet, once the search is
        over."""
        search = [row for row in rows if row.refines is None]
        if any(not row.fate for row in search):
            return None
        done = {row.refines for row in rows if row.epochs >= budget.refine}
        for row in reversed(best_rows(search, self.settings.measure)):
            if row.number not in done:
                attributes = {REFINES: row.number, EPOCHS: budget.refine}
                self.trials.enqueue_trial(row.point, user_attrs=attributes)
                return self._ask(len(rows))
        return None

    def _ask(self, number: int) -> Claim:
        self.trials.sampler = self._sampler(number)
        with _quiet():
            return self._claim(self.trials.ask())

    def _claim(self, trial: optuna.Trial) -> Claim:
        """Take ``trial``; values that its worker had no time to choose are chosen now."""
        trial.set_user_attr(WORKER, self.worker)
        proposed(self.settings.axes, trial)
        frozen = next(t for t in self.trials.get_trials(deepcopy=False) if t.number == trial.number)
        return Claim(trial, Row.of(frozen))

    def _drop(self, trial: optuna.Trial, fate: str) -> None:
        trial.set_user_attr(FATE, fate)
        self.trials.tell(trial, state=TrialState.FAIL)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler for the trial of that number: seeded so that it does not matter which worker asks."""
        seed = self.settings.seed + number
        with _quiet():
            if self.settings.sampler == "random":
                return optuna.samplers.RandomSampler(seed=seed)
            if self.settings.sampler == "nsga2":
                return optuna.samplers.NSGAIISampler(
                    population_size=POPULATION, seed=seed, constraints_func=_excess
                )
            return optuna.samplers.TPESampler(
                n_startup_trials=STARTUP,
                multivariate=True,
                constant_liar=True,
                seed=seed,
                constraints_func=_excess,
            )


def _excess(trial: FrozenTrial) -> tuple[float]:
    """What Optuna's samplers take for a broken constraint where it is above 0."""
    return (float(trial.user_attrs[COST]["excess"]),)


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _distinct(rows: Sequence[Row]) -> set[str]:
    """The points that have been tried."""
    return {_key(row.point) for row in rows if row.fate != REPEATED}


def _check_any_fits(rows: Sequence[Row]) -> None:
    """Raise InputError when all trials were rejected: what came nearest, and how near."""
    rejected = [row.cost for row in rows if row.fate == REJECTED and row.cost]
    if not rejected or any(row.trained or not row.fate for row in rows):
        return
    nearest = min(rejected, key=lambda cost: cost.excess)
    verdicts = "; ".join(f"{name} {text}" for name, text in nearest.verdicts.items() if not _holds(text))
    raise InputError(
        f"none of {len(rejected)} networks of the space fits, the nearest: {verdicts}; "
        "allow more with --fit or --max, or widen the space"
    )


def _holds(verdict: str) -> bool:
    return verdict.startswith("fits")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that some of what is used here may still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@contextmanager
def open_ledger(directory: Path, name: str, settings: Settings, storage: str | None) -> Iterator[Ledger]:
    """Join the exploration ``name`` in ``directory`` as a worker, for as long as the block runs.

    Raises InputError when the storage cannot be opened, GatefoldError when it fails later.
    """
    remedy = "its trials are lost with it, so choose another --out"
    directions = ["maximize", "minimize"]
    with (
        membership(directory) as worker,
        open_database(directory, name, storage, directions, remedy) as trials,
    ):
        try:
            yield Ledger(directory, settings, trials, worker)
        except optuna.exceptions.StorageInternalError as error:
            reason = str(error).strip().partition("\n")[0]
            raise GatefoldError(f"the storage of the study fails: {reason}; go on with --resume") from error
