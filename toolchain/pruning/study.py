"""A pruning study: a directory of runs, and the workers that train them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import GatefoldError
from toolchain.data import Dataset
from toolchain.pruning.plan import Job, Plan
from toolchain.pruning.plot import PICTURE_FILE, draw
from toolchain.pruning.protocol import Runs
from toolchain.pruning.queue import Claim, Queue, open_queue
from toolchain.pruning.results import (
    RESULTS_FILE,
    TABLE_FILE,
    Ticket,
    collect,
    summarize,
    write_results,
)
from toolchain.pruning.settings import Settings
from toolchain.studies.members import study_lock
from toolchain.studies.place import enter_study
from toolchain.training import Event, RunResult
from toolchain.training.run import remove_remains

POLL_SECONDS = 0.5

VERB = "prune"


@dataclass(frozen=True, slots=True)
class Notice:
    """What a worker tells: it is at ``event`` of ``job``, or has its ``result``, or the ``error`` of it.

    ``finished`` of ``total`` jobs of the study are done.
    """

    job: Job
    finished: int
    total: int
    event: Event | None = None
    result: RunResult | None = None
    error: str = ""


def outcome(notice: Notice) -> str:
    """One line for a run that has ended."""
    position = f"{notice.finished}/{notice.total} {notice.job.run}"
    if notice.result is None:
        return f"{position}: failed: {notice.error}"
    return f"{position}: {100 * notice.result.accuracy:.2f} %, {notice.result.seconds:.1f} s"


Listener = Callable[[Notice], None]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A study in ``directory``. ``name``: its own in the database, that of ``storage`` or a file."""

    directory: Path
    name: str
    runs: Runs
    storage: str | None

    @property
    def plan(self) -> Plan:
        """What the study consists of."""
        return self.runs.plan

    def outstanding(self) -> list[str]:
        """Runs that can start now and are not finished."""
        return [
            job.run
            for job in self.plan.jobs()
            if self.runs.is_ready(job) and not self.runs.is_finished(job)
        ]

    def finished(self) -> int:
        """How many jobs are done."""
        return sum(self.runs.is_finished(job) for job in self.plan.jobs())

    def retry(self) -> None:
        """Let jobs that failed before be taken once more."""
        with open_queue(self.directory, self.name, self.storage) as queue:
            queue.retry(self.outstanding)

    def errors(self) -> dict[str, str]:
        """Why runs that are not finished failed when they were last tried, by run."""
        left = self.outstanding()
        with open_queue(self.directory, self.name, self.storage) as queue:
            return {run: error for run, error in queue.errors().items() if run in left}

    def publish(self) -> list[Ticket]:
        """Write the tables and the picture of what is found so far; the tickets that are trained."""
        title = self.plan.settings.recipe.name
        with study_lock(self.directory):
            remove_remains(self.directory, RESULTS_FILE, TABLE_FILE, PICTURE_FILE)
            tickets = collect(self.runs)
            write_results(self.runs, tickets)
            if tickets:
                draw(summarize(tickets), title, self.directory / PICTURE_FILE)
        return tickets

    def work(self, dataset: Dataset, device: str, listener: Listener) -> None:
        """Train jobs until none is left that this process could take.

        Jobs of other workers are waited for: others may follow from them, and they may be killed.
        """
        jobs = {job.run: job for job in self.plan.jobs()}
        with open_queue(self.directory, self.name, self.storage) as queue:
            while True:
                claim = queue.take(self.outstanding)
                if claim:
                    self._work_on(claim, jobs[claim.run], queue, dataset, device, listener)
                elif queue.is_busy():
                    time.sleep(POLL_SECONDS)
                else:
                    return

    def _work_on(
        self, claim: Claim, job: Job, queue: Queue, dataset: Dataset, device: str, listener: Listener
    ) -> None:
        before, total = self.finished(), len(self.plan.jobs())

        def tell(event: Event) -> None:
            listener(Notice(job, before, total, event=event))

        try:
            result = self.runs.execute(job, dataset, device, tell)
        except (GatefoldError, OSError) as error:
            queue.fail(claim, str(error))
            listener(Notice(job, before, total, error=str(error)))
        else:
            queue.finish(claim, result.accuracy)
            listener(Notice(job, self.finished(), total, result=result))


def open_study(
    directory: Path, settings: Settings, resume: bool, storage: str | None = None, command: str = ""
) -> Study:
    """Begin the study of ``settings`` in ``directory``, or join it with ``resume``.

    ``command``: what makes it again; runs of the study that are published say so.
    Raises InputError for settings that do not go together, and when the directory holds another study, or
    one that was to be begun, or none that could be resumed.
    """
    plan = Plan.of(settings)
    name = enter_study(directory, VERB, settings, resume, storage, command)
    return Study(directory, name, Runs(plan, directory), storage)
