"""What decides a pruning study, as one checked, frozen value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from runtime.errors import InputError
from toolchain.config import Recipe, first_mistake
from toolchain.models import model_row
from toolchain.studies.place import StudySettings

PROTOCOLS = {
    "continue": "prune and train on, round after round; then train every mask from the initial weights",
    "rewind": "prune, put the initial weights back, train, and so on",
}

ACCURACIES = {
    "last": "the weights of the last epoch, trained on all training images",
    "early": "early stopping: the weights with the smallest loss on held-out training images",
}

DEFAULT_ROUNDS = 12
MAX_ROUNDS = 100


class Settings(StudySettings):
    """A pruning study of one recipe.

    ``algebras``: values of the model's option ``algebra``, each a network; none for a model without it.
    ``rounds`` of pruning at most; ``until``: no more than it takes to get down to so many percent of the
    parameters of the dense real network. ``share``: of the remaining weights, pruned in a round.
    ``protocol``: a row of ``PROTOCOLS``; ``accuracies``: rows of ``ACCURACIES``. ``early_epochs``,
    ``patience`` and ``validation``: maximum of epochs, patience and held-out share of early stopping.
    """

    algebras: tuple[str, ...] = ()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0,)
    rounds: Annotated[int, Field(ge=0, le=MAX_ROUNDS)] = DEFAULT_ROUNDS
    until: Annotated[float, Field(gt=0, le=100)] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    granularity: Literal["weight", "quaternion", "channel"] = "weight"
    protocol: Literal["continue", "rewind"] = "continue"
    accuracies: Annotated[tuple[Literal["last", "early"], ...], Field(min_length=1)] = ("last",)
    early_epochs: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)] = 10
    validation: Annotated[float, Field(gt=0, le=0.5)] = 0.1

    @field_validator("algebras", "seeds", "accuracies")
    @classmethod
    def _distinct(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError("must all differ")
        return values

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks' names: algebras, or the model's name where it has none."""
        return self.algebras or (self.recipe.model,)


def make_settings(recipe: Recipe, **options: Any) -> Settings:
    """The settings of a study of ``recipe``; an option that is left out or None has its default.

    By default real and quaternion networks are compared, if the model has the option ``algebra`` and the
    recipe does not choose one, and
    rounds go on for as long as ``until`` asks. Raises InputError.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    has_algebra = "algebra" in model_row(recipe.model).options
    if "algebras" in given and not has_algebra:
        raise InputError(f"model {recipe.model!r} has no option 'algebra'; leave out --algebra")
    own = recipe.options.get("algebra")
    both = (own,) if own else ("real", "quaternion")
    defaults = {
        "algebras": both if has_algebra else (),
        "rounds": DEFAULT_ROUNDS if given.get("until") is None else MAX_ROUNDS,
        "early_epochs": max(1, recipe.epochs),
    }
    table = {**defaults, **given, "recipe": recipe.model_dump()}
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise InputError(f"pruning: {first_mistake(error, table)}") from None
