"""An exploration: a directory of trials, and the workers that train them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import GatefoldError
from toolchain.data import Dataset
from toolchain.explore.ledger import FAILED, Budget, Ledger, Row, open_ledger
from toolchain.explore.settings import Settings
from toolchain.explore.trial import Work
from toolchain.studies.place import enter_study

POLL_SECONDS = 0.5

VERB = "explore"

Watch = Callable[[list[Row]], None]
"""Is told all trials as they stand, every now and then."""

Tell = Callable[[Row], None]
"""Is told of a trial that is over."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """An exploration in ``directory``. ``name``: its own in the database, that of ``storage`` or a file.
    ``command``: what trains its recipe as it stands."""

    directory: Path
    name: str
    settings: Settings
    storage: str | None
    command: str

    def open(self) -> AbstractContextManager[Ledger]:
        """Its ledger, as a worker of its own. Raises InputError when the storage cannot be opened."""
        return open_ledger(self.directory, self.name, self.settings, self.storage)

    def work(self, budget: Budget, dataset: Dataset, device: str, watch: Watch, tell: Tell) -> None:
        """Train trials until there is nothing left that this process could do.

        Trials of other workers are waited for: they may be rejected, or their workers killed. ``watch`` is
        told after every epoch, ``tell`` after every trial. Raises InputError when nothing fits.
        """
        with self.open() as ledger:
            work = Work(ledger, dataset, device, self.command, lambda: watch(ledger.rows()))
            while True:
                claim = ledger.take(budget)
                if claim:
                    try:
                        work.do(claim)
                    except (GatefoldError, OSError) as error:
                        ledger.fail(claim, str(error))
                    watch(ledger.rows())
                    tell(_row(ledger, claim.row.number))
                elif ledger.is_busy():
                    time.sleep(POLL_SECONDS)
                else:
                    return


def _row(ledger: Ledger, number: int) -> Row:
    return next(row for row in ledger.rows() if row.number == number)


def open_exploration(
    directory: Path,
    settings: Settings,
    resume: bool,
    storage: str | None = None,
    command: str = "",
    train_command: str = "",
) -> Exploration:
    """Begin the exploration of ``settings`` in ``directory``, or join it with ``resume``.

    ``command``: what makes it again, ``train_command``: what trains its recipe. Raises InputError as
    ``enter_study`` does.
    """
    name = enter_study(directory, VERB, settings, resume, storage, command)
    return Exploration(directory, name, settings, storage, train_command)


def failures(rows: list[Row]) -> dict[str, str]:
    """Why trials failed, by run directory."""
    return {row.run: row.error for row in rows if row.fate == FAILED}
