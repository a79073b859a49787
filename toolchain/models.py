"""Models by name: what the entry-point group ``gatefold.models`` offers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from toolchain.offers import offers

GROUP = "gatefold.models"

RULES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""What an option must be, by the type of its default."""

WIDENED: dict[type, tuple[type, ...]] = {float: (int,), str: (int, float)}
"""Other types that are taken too, and converted: 2 for 2.0, and the shift 1 for "1"."""


@dataclass(frozen=True)
class ModelRow:
    """One row of a model table.

    ``builder``: called with every option as a keyword; returns the network. ``input_shape``: without the
    batch. ``input_interval``: the raw integers it takes. ``dataset``: what it is trained on by default.
    ``options``: defaults, whose types say what ``build`` accepts, with those of ``WIDENED``.
    """

    name: str
    summary: str
    builder: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    input_interval: Interval
    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, **options: Any) -> nn.Module:
        """The untrained network. Raises InputError for an unknown option or one of the wrong type."""
        for key in options:
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise InputError(f"options of model {self.name!r} are {known}, not {key!r}")
        fitted = {key: self._fitted(key, value) for key, value in options.items()}
        return self.builder(**{**self.options, **fitted})

    def _fitted(self, key: str, value: Any) -> Any:
        """``value`` as the type of the option's default."""
        wanted = type(self.options[key])
        # By way of its text a whole number that is too large for a float is infinite, not an OverflowError.
        fitted = wanted(str(value)) if type(value) in WIDENED.get(wanted, ()) else value
        if type(fitted) is not wanted:
            rule = RULES.get(wanted, wanted.__name__)
            raise InputError(f"option {key!r} of model {self.name!r} must be {rule}, not {value!r}")
        if wanted is float and not math.isfinite(fitted):
            raise InputError(
                f"option {key!r} of model {self.name!r} must be a finite number, not {fitted!r}"
            )
        return fitted


def models() -> dict[str, ModelRow]:
    """Every installed model by name, from each table in the entry-point group ``gatefold.models``.

    Raises InputError when a table cannot be loaded, is no table of models, or a name occurs twice.
    """
    rows: dict[str, ModelRow] = {}
    for entry in offers(GROUP):
        for name, row in _table(entry.name, entry.value, entry.load).items():
            if name in rows and rows[name] is not row:
                raise InputError(f"model names must be unique, {name!r} of {entry.value} is taken")
            rows[name] = row
    return rows


def model_row(name: str) -> ModelRow:
    """The model of that name. Raises InputError listing the known ones."""
    rows = models()
    if name not in rows:
        known = ", ".join(rows) or f"those of installed packages, and none has entry points {GROUP}"
        raise InputError(f"model must be one of {known}, not {name!r}")
    return rows[name]


def _table(name: str, value: str, load: Callable[[], Any]) -> dict[str, ModelRow]:
    try:
        table = load()
    except Exception as error:  # whatever a foreign package raises on import
        raise InputError(
            f"entry point {name!r} of {GROUP} must load, but {value} raises {type(error).__name__}: "
            f"{error}; repair or uninstall that package"
        ) from error
    if not isinstance(table, dict) or not all(isinstance(row, ModelRow) for row in table.values()):
        raise InputError(f"entry point {name!r} of {GROUP} must name a dict of ModelRow, not {value}")
    return table
