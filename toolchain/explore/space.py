"""What an exploration may vary: keys of a recipe, and the folding of the circuit.

A space is a TOML file. Its keys are those of ``--set`` and ``folding``, dotted or as tables; a value is a
list of choices, or a range:

    folding = ["one-position", "parallel"]
    [options]
    width = {low = 8, high = 32, step = 4}
    skip = ["none", "or"]
    density = {low = 0.05, high = 0.3, log = true}
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, RootModel, TypeAdapter, ValidationError, field_validator, model_validator

from runtime.errors import InputError
from toolchain.config import Option, Recipe, Section, leaves, override, package_files, read_toml
from toolchain.models import model_row

FOLDING = "folding"
FOLDINGS = {
    "one-position": "one output position, reused for all; activations in block memory",
    "parallel": "everything at once, combinational",
}
"""Which circuit a program is judged by; the first is the default."""

SPACES_FOLDER = "spaces"
"""Beside the recipes of a package: the space of each recipe that has one, under the recipe's name."""

ANY_SIZE = 1_000_000
"""Number of points of a space with a range of real numbers, for all that matters."""

Point = dict[str, Option]
"""A value for every key of a space."""


class Asks(Protocol):
    """What draws values: a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


class Range(Section):
    """Numbers from ``low`` to ``high``: whole ones if both are, in steps of ``step``, or evenly by their
    logarithm."""

    low: int | float
    high: int | float
    step: Annotated[int | float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError("log needs a low above 0, and no step")
        if self.whole and not isinstance(self.step or 1, int):
            raise ValueError("a step between whole numbers must be one")
        return self

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> int:
        """How many numbers there are, ``ANY_SIZE`` at most."""
        if self.whole or self.step is not None:
            return min(int((self.high - self.low) / (self.step or 1) + 1e-9) + 1, ANY_SIZE)
        return ANY_SIZE

    def suggest(self, trial: Asks, name: str) -> Option:
        """A value that ``trial`` chooses."""
        if self.whole:
            return trial.suggest_int(
                name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log
            )
        return trial.suggest_float(name, float(self.low), float(self.high), step=self.step, log=self.log)

    def draw(self, numbers: random.Random) -> Option:
        """A random value."""
        if self.log:
            value = math.exp(numbers.uniform(math.log(self.low), math.log(self.high)))
            value = min(max(value, self.low), self.high)
            return round(value) if self.whole else value
        if self.size < ANY_SIZE:
            return self.low + numbers.randrange(self.size) * (self.step or 1)
        return numbers.uniform(self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of the numbers."""
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not self.low <= value <= self.high
        ):
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return abs(steps - round(steps)) < 1e-9 and (not self.whole or isinstance(value, int))

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{', logarithmic' if self.log else ''}"


class Choices(RootModel[tuple[Option, ...]]):
    """Some values, each of them different."""

    model_config = {"frozen": True}

    @field_validator("root")
    @classmethod
    def _distinct(cls, values: tuple[Option, ...]) -> tuple[Option, ...]:
        if not values:
            raise ValueError("must have at least one value")
        if len({json.dumps(value) for value in values}) != len(values):
            raise ValueError("must all differ")
        return values

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.root)

    def suggest(self, trial: Asks, name: str) -> Option:
        """A value that ``trial`` chooses."""
        chosen: Option = trial.suggest_categorical(name, self.root)
        return chosen

    def draw(self, numbers: random.Random) -> Option:
        """A random value."""
        return numbers.choice(self.root)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of them."""
        return any(type(value) is type(choice) and value == choice for choice in self.root)

    def __str__(self) -> str:
        return ", ".join(
            str(value).lower() if isinstance(value, bool) else str(value) for value in self.root
        )


Axis = Choices | Range
Axes = dict[str, Axis]

_CHOICES = TypeAdapter(Choices)


def parse_axes(table: Mapping[str, Any], where: str) -> Axes:
    """The axes of a space by dotted key. Raises InputError that starts with ``where``."""
    axes = {key: _axis(value, f"{where}: {key}") for key, value in _flat(table)}
    if not axes:
        raise InputError(f"{where}: a space must have at least one key, as in width = [8, 16]")
    return axes


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values; a table is a part of the key unless it is a range."""
    for key, value in table.items():
        if isinstance(value, dict) and not {"low", "high"} & set(value):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _axis(value: Any, where: str) -> Axis:
    kind: Any = {list: Choices, dict: Range}.get(type(value))
    if kind is None:
        raise InputError(
            f"{where} must be a list of choices or a range {{low = .., high = ..}}, not {value!r}"
        )
    try:
        return kind.model_validate(value)  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        rule = first["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in first["loc"][:1] if isinstance(part, str))
        raise InputError(f"{where}{place and f'.{place}'}: {rule[0].lower()}{rule[1:]}") from None


def check_axes(axes: Axes, recipe: Recipe, where: str) -> None:
    """Raise InputError for a key that ``recipe`` does not have, or a value that it does not take."""
    options = model_row(recipe.model).options
    for key, axis in axes.items():
        if key == FOLDING:
            wrong = [v for v in axis.root if v not in FOLDINGS] if isinstance(axis, Choices) else [axis]
            if wrong:
                raise InputError(f"{where}: {key} must be of {', '.join(FOLDINGS)}, not {wrong[0]}")
            continue
        part, _, option = key.partition(".")
        if part == "options" and option not in options:
            known = ", ".join(options) or "none"
            raise InputError(f"{where}: options of model {recipe.model!r} are {known}, not {option!r}")
        for value in axis.root if isinstance(axis, Choices) else (axis.low, axis.high):
            try:
                override(recipe, [assignment(key, value)])
            except InputError as error:
                raise InputError(f"{where}: {str(error).removeprefix('--set: ')}") from None


def assignment(key: str, value: Option) -> str:
    """``key=value`` as ``--set`` takes it."""
    return f"{key}={json.dumps(value)}"


def apply(recipe: Recipe, point: Point) -> Recipe:
    """``recipe`` at ``point`` of a space. Raises InputError for values that do not go together."""
    return override(recipe, assignments(point))


def assignments(point: Point) -> list[str]:
    """What ``--set`` takes for ``point``; the folding is no part of a recipe."""
    return [assignment(key, value) for key, value in point.items() if key != FOLDING]


def own_point(axes: Axes, recipe: Recipe) -> Point | None:
    """The point that ``recipe`` is at as it stands, or None where it lies outside."""
    known = {f"options.{key}": value for key, value in model_row(recipe.model).options.items()}
    known |= leaves(recipe) | {FOLDING: next(iter(FOLDINGS))}
    inside = all(key in known and axis.holds(known[key]) for key, axis in axes.items())
    return {key: known[key] for key in axes} if inside else None


def size_of(axes: Axes) -> int:
    """How many points there are, ``ANY_SIZE`` at most."""
    return min(math.prod(axis.size for axis in axes.values()), ANY_SIZE)


def load_axes(source: Path | None, recipe: str) -> tuple[Axes, str]:
    """The axes of a file, or of the shipped space of the ``recipe`` of that name; and what to call it.

    Raises InputError.
    """
    shipped: dict[str, Traversable] = {} if source else package_files(SPACES_FOLDER)
    if source is None and recipe not in shipped:
        names = ", ".join(shipped) or "none"
        raise InputError(
            f"recipe {recipe!r} has no space of its own (those that do: {names}); give --space"
        )
    file = source or shipped[recipe]
    where = f"space {source or recipe}"
    return parse_axes(read_toml(file, where), where), where
