"""One trial: its network is costed, trained as long as that is worth it, lowered, and costed again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.ir import Program
from runtime.serialize import save
from toolchain.config import Recipe
from toolchain.data import Dataset
from toolchain.explore.costs import Cost, cost_of
from toolchain.explore.ledger import (
    CURVE,
    FINISHED,
    GUESS,
    REJECTED,
    SECONDS,
    STOPPED,
    TEST,
    Claim,
    Ledger,
    Row,
)
from toolchain.explore.pareto import falls_behind
from toolchain.explore.settings import folding_of
from toolchain.explore.space import assignments
from toolchain.lowering import lower
from toolchain.models import model_row
from toolchain.pipeline import lower_run
from toolchain.provenance import COMMANDS_FILE, write_commands
from toolchain.training import Event, initial_model, train
from toolchain.training.plan import enter_phase
from toolchain.training.run import CHECKPOINT_FILE, RECIPE_FILE, remove_remains

SLACK = 0.1
"""Share by which an untrained network may exceed a limit: training makes some channels constant, and those
are no part of the program."""

PROGRAM_FILE = "program.gfold"


class FallenBehindError(Exception):
    """Ends a training that others have overtaken."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a worker needs for every trial. ``command``: what trains the recipe as it stands. ``listener``
    is called after every epoch."""

    ledger: Ledger
    dataset: Dataset
    device: str
    command: str
    listener: Callable[[], None]

    @property
    def directory(self) -> Path:
        """Of the exploration."""
        return self.ledger.directory

    def do(self, claim: Claim) -> str:
        """Make ``claim`` a finished run, or find out that it is not worth it; returns what became of it.

        What was trained of it before is not repeated. Raises GatefoldError and OSError.
        """
        ledger, row = self.ledger, claim.row
        recipe = ledger.settings.recipe_at(row.point, row.epochs)
        guess = row.guess or self._cost(untrained_program(recipe), claim)
        if guess.excess > SLACK:
            ledger.tell(claim, REJECTED, 0.0, guess)
            return REJECTED
        ledger.note(claim, **{GUESS: guess.to_json()})
        run = self.directory / row.run
        follow = _Follower(self, claim, guess, recipe.epochs, list(row.curve))
        try:
            resume = (run / RECIPE_FILE).exists()
            result = train(recipe, self.dataset, run, self.device, resume, follow)
        except FallenBehindError:
            fate, accuracy, cost, more = STOPPED, follow.curve[-1], guess, {}
        else:
            program, _ = lower_run(run)
            remove_remains(run, PROGRAM_FILE, COMMANDS_FILE)
            write_commands(run, [self._command(row)])
            save(program, run / PROGRAM_FILE)
            fate, cost = FINISHED, self._cost(program, claim)
            accuracy = result.validation_accuracy or 0.0
            more = {TEST: result.accuracy, SECONDS: result.seconds}
        ledger.tell(claim, fate, accuracy, cost, **more)
        (run / CHECKPOINT_FILE).unlink(missing_ok=True)
        return fate

    def _command(self, row: Row) -> str:
        """What trains the network of ``row`` as it is."""
        sets = [word for text in assignments(row.point) for word in ("--set", text)]
        epochs = ["--epochs", str(row.epochs)] if row.epochs else []
        name = self.ledger.settings.recipe.name
        return f"{self.command} {shlex.join([*sets, *epochs])} --out runs/{name}"

    def _cost(self, program: Program, claim: Claim) -> Cost:
        return cost_of(program, folding_of(claim.row.point), self.ledger.settings.limits)


@dataclass(slots=True, eq=False)
class _Follower:
    """Follows a training epoch by epoch. ``curve``: its validation accuracies, from the first epoch on."""

    work: Work
    claim: Claim
    guess: Cost
    epochs: int
    curve: list[float]

    def __call__(self, event: Event) -> None:
        """Note the accuracy of an epoch. Raises FallenBehindError when it is time to stop."""
        if not event.metrics:
            return
        self.curve[event.epoch - 1 :] = [float(event.metrics["accuracy"])]
        ledger = self.work.ledger
        ledger.note(self.claim, **{CURVE: self.curve})
        self.work.listener()
        cost = self.guess.measures[ledger.settings.measure]
        if falls_behind(self.curve, self.epochs, cost, ledger.peers(self.claim)):
            raise FallenBehindError


def untrained_program(recipe: Recipe) -> Program:
    """The program of the network of ``recipe`` with the weights that its seed draws.

    Raises InputError and LoweringError.
    """
    row, model = model_row(recipe.model), initial_model(recipe)
    enter_phase(model, recipe.active_phases[-1])
    return lower(model.eval(), row.input_shape, row.input_interval, recipe.name)
