"""What decides an exploration, as one checked, frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.errors import InputError
from toolchain.config import Option, Recipe
from toolchain.devices import find
from toolchain.explore.costs import MEASURES, OBJECTIVES, Limits
from toolchain.explore.space import FOLDING, FOLDINGS, Axes, Choices, Point, Range, apply, check_axes
from toolchain.studies.place import StudySettings

SAMPLERS = ("tpe", "nsga2", "random")

VALIDATION = 0.1
"""Share of the training images that the search looks at, where the recipe holds none out."""


class Settings(StudySettings):
    """An exploration of ``recipe`` over ``axes``.

    ``objective``: a row of ``OBJECTIVES``, made small while accuracy is made large. ``fit``: devices, and
    ``most``: bounds of rows of ``MEASURES``, that a network must keep to. ``sampler``: a row of
    ``SAMPLERS``, seeded with ``seed``.
    """

    axes: dict[str, Choices | Range]
    objective: Literal["gates", "luts", "bytes", "latency"] = "gates"
    fit: tuple[str, ...] = ()
    most: dict[str, int] = Field(default={})
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def limits(self) -> Limits:
        """What a network must keep to."""
        return Limits(self.fit, self.most)

    @property
    def measure(self) -> str:
        """The row of ``MEASURES`` that is made small."""
        inputs = [found.lut_inputs for name in self.fit if (found := find(name)).lut_inputs]
        return f"lut{inputs[0]}" if self.objective == "luts" and inputs else OBJECTIVES[self.objective]

    def recipe_at(self, point: Point, epochs: int = 0) -> Recipe:
        """What is trained at ``point``; ``epochs`` if it is not to be as many as the recipe says."""
        recipe = apply(self.recipe, point)
        return recipe.with_epochs(epochs) if epochs else recipe


def folding_of(point: Point) -> str:
    """The circuit that is judged at ``point``."""
    return str(point.get(FOLDING, next(iter(FOLDINGS))))


def make_settings(
    recipe: Recipe, axes: Axes, where: str, maxima: Sequence[str], **options: Any
) -> Settings:
    """The settings of an exploration; ``maxima``: bounds as ``name=number``; ``where``: what the space is.

    A recipe that holds no images out gets a validation share. Raises InputError.
    """
    check_axes(axes, recipe, where)
    if recipe.active_phases[-1].precision != "quantized":
        raise InputError(f"recipe {recipe.name!r} ends in full precision and has no program to cost")
    if not recipe.validation:
        recipe = recipe.model_copy(update={"validation": VALIDATION})
    devices = tuple(find(name).name for name in options.pop("fit"))
    return Settings(recipe=recipe, axes=axes, fit=devices, most=dict(map(_bound, maxima)), **options)


def _bound(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if name not in MEASURES:
        raise InputError(f"--max must be of {', '.join(MEASURES)}, not {name!r}")
    if not equals or not number.isdecimal() or not int(number):
        raise InputError(f"--max must be NAME=NUMBER, as in {name}=60000, not {text!r}")
    return name, int(number)


def proposed(axes: Axes, trial: Any) -> Point:
    """The values that Optuna's ``trial`` chooses."""
    found: dict[str, Option] = {key: axis.suggest(trial, key) for key, axis in axes.items()}
    return found
