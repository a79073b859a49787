"""The queue of a study: who trains what, kept by Optuna for any number of workers.

The run directories say what is done; the queue only says what is being done. So it is filled with what is
missing each time a job is taken, under the study's lock: no job is lost or doubled, whenever a worker
starts or is killed, and a queue that was deleted is made anew. The job of a worker that is no longer alive
counts as lost, and whoever comes next takes it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from toolchain.studies.database import open_database
from toolchain.studies.members import is_alive, membership, study_lock

RUN, WORKER, ERROR = "run", "worker", "error"
"""Attributes of Optuna's trials: the run directory, who trains it, and why that failed."""

LIVE = (TrialState.WAITING, TrialState.RUNNING)

Outstanding = Callable[[], Iterable[str]]
"""Says which runs can start now and are not finished."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A job that this worker has taken: its run directory, and its trial."""

    run: str
    trial: optuna.Trial


@dataclass(frozen=True, slots=True, eq=False)
class Queue:
    """The jobs of one study, as the worker ``worker`` sees them."""

    directory: Path
    trials: optuna.Study
    worker: str

    def retry(self, outstanding: Outstanding) -> None:
        """Put jobs that failed before back into the queue."""
        with study_lock(self.directory):
            self._release_lost()
            self._refill(outstanding(), again=True)

    def take(self, outstanding: Outstanding) -> Claim | None:
        """The next job, now this worker's, or None when none is waiting. Those that failed are left out."""
        with study_lock(self.directory):
            self._release_lost()
            self._refill(outstanding(), again=False)
            if not self._list(TrialState.WAITING):
                return None
            trial = self.trials.ask()
            trial.set_user_attr(WORKER, self.worker)
            return Claim(trial.user_attrs[RUN], trial)

    def finish(self, claim: Claim, accuracy: float) -> None:
        """The job is done."""
        with study_lock(self.directory):
            self.trials.tell(claim.trial, accuracy)

    def fail(self, claim: Claim, error: str) -> None:
        """The job cannot be done, for the reason ``error``."""
        with study_lock(self.directory):
            claim.trial.set_user_attr(ERROR, error)
            self.trials.tell(claim.trial, state=TrialState.FAIL)

    def is_busy(self) -> bool:
        """Whether any worker has a job."""
        return bool(self._list(TrialState.RUNNING))

    def errors(self) -> dict[str, str]:
        """Why runs failed when they were last tried, by run."""
        latest = self._latest()
        return {run: trial.user_attrs[ERROR] for run, trial in latest.items() if _has_failed(trial)}

    def _list(self, *states: TrialState) -> list[FrozenTrial]:
        return self.trials.get_trials(deepcopy=False, states=states or None)

    def _latest(self) -> dict[str, FrozenTrial]:
        return {trial.user_attrs[RUN]: trial for trial in self._list()}

    def _release_lost(self) -> None:
        """Give up the trials of workers that are gone, or were killed as they took one."""
        for trial in self._list(TrialState.RUNNING):
            if not is_alive(self.directory, trial.user_attrs.get(WORKER)):
                self.trials.tell(trial.number, state=TrialState.FAIL)

    def _refill(self, outstanding: Iterable[str], again: bool) -> None:
        latest = self._latest()
        for run in outstanding:
            trial = latest.get(run)
            known = trial is not None and (trial.state in LIVE or (_has_failed(trial) and not again))
            if not known:
                self.trials.enqueue_trial({}, user_attrs={RUN: run})


def _has_failed(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and ERROR in trial.user_attrs


@contextmanager
def open_queue(directory: Path, name: str, storage: str | None = None) -> Iterator[Queue]:
    """Join the study ``name`` in ``directory`` as a worker, for as long as the block runs.

    ``storage``: the URL of a database that SQLAlchemy can open; without it a file in the directory. Raises
    InputError when it cannot be opened.
    """
    with (
        membership(directory) as worker,
        open_database(
            directory, name, storage, ["maximize"], "delete it, --resume makes it anew"
        ) as trials,
    ):
        yield Queue(directory, trials, worker)
