"""Recipes: everything that decides a training run, as one checked, frozen value.

A recipe is a TOML file. Packages offer recipes by name through the entry-point group
``gatefold.recipes``; each entry point names an importable folder of ``*.toml`` files.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.errors import InputError
from toolchain.layers.connections import AXES
from toolchain.offers import offers
from toolchain.quantizers import STEP_RULES

RECIPE_GROUP = "gatefold.recipes"

Option = bool | int | float | str

PHASE_NAME = r"^[a-z][a-z0-9_-]*$"


def _row_of(table: Iterable[str]) -> Callable[[str | None], str | None]:
    """What accepts a row of ``table``, or nothing."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in table:
            raise ValueError(f"must be one of {', '.join(table)}")
        return value

    return check


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Optimizer(Section):
    """``adam``, ``adamw``, or ``sgd`` with momentum.

    ``weight_decay``: an L2 factor; of ``adamw`` the share of each weight that a rate of 1 takes away.
    ``max_norm``: gradients longer than this, over all weights together, are scaled down to it; 0 never
    does.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_norm: Annotated[float, Field(ge=0)] = 0.0


class Augmentation(Section):
    """Random changes of the training images: shift by up to ``shift`` pixels, left-right ``flip``."""

    shift: Annotated[int, Field(ge=0, le=16)] = 0
    flip: bool = False


class StepUpdate(Section):
    """When and how the quantizers' steps are set anew from the latent weights.

    ``every``: ``"batch"``, ``"epoch"``, a number of epochs, or ``"never"``. In each case the first
    quantized epoch starts with an update, so ``"never"`` freezes the steps of the pre-trained weights.
    ``rule``: a row of ``STEP_RULES`` for all layers; left out, each layer has its own. ``zero_median``:
    whether an update first shifts the latent weights of each layer to a median of 0. ``ramp``: the share of
    the quantized epochs over which layers of a given density come down to it from ``initial_density``, so
    that they find out with many weights which few to keep; 0: they have it from the start.
    """

    every: Literal["batch", "epoch", "never"] | Annotated[int, Field(ge=1)] = "epoch"
    rule: Annotated[str | None, AfterValidator(_row_of(STEP_RULES))] = None
    zero_median: bool = False
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.0
    initial_density: Annotated[float, Field(gt=0, le=1)] = 0.3

    @model_validator(mode="after")
    def _consistent(self) -> StepUpdate:
        if self.ramp and self.every not in {"batch", "epoch"}:
            raise ValueError(f"ramp needs steps set every 'batch' or 'epoch', not {self.every!r}")
        return self

    def density(self, final: float, done: float) -> float:
        """What an update gives a layer of density ``final`` when the share ``done`` of the quantized epochs
        will be over at the next one (Zhu and Gupta, arXiv 1710.01878, equation 1)."""
        left = 1 - done / self.ramp if done < self.ramp else 0.0
        return final + max(0.0, self.initial_density - final) * left**3

    def before_epoch(self, quantized_epoch: int) -> bool:
        """Whether the steps change before the ``quantized_epoch``-th (from 0) quantized epoch."""
        if quantized_epoch == 0 or self.every in {"batch", "epoch"}:
            return True
        return isinstance(self.every, int) and quantized_epoch % self.every == 0


class Compute(Section):
    """How the arithmetic of training is done. Evaluation is always in float32, layer by layer.

    ``mixed``: ``"bfloat16"`` runs convolutions and matrix products in bfloat16, where integer codes are
    exact and their sums rounded. ``channels_last``: memory layout of images and weights. ``compile``:
    ``torch.compile`` the training step, which needs a C++ compiler on CPUs.
    """

    mixed: Literal["off", "bfloat16"] = "off"
    channels_last: bool = True
    compile: bool = False


class Phase(Section):
    """A stretch of training at one precision.

    ``schedule`` moves the learning rate within the phase, batch by batch: ``constant``, ``cosine``
    (to zero), or ``step`` (times ``decay`` at each of ``milestones``, which are shares of the phase). A
    phase of 0 epochs is left out; if all are, the run keeps the weights it starts with. ``connection``: of
    the model's linear and orthogonal connections in this phase; left out, they are as the model's options
    say.
    """

    name: Annotated[str, Field(pattern=PHASE_NAME)]
    epochs: Annotated[int, Field(ge=0)]
    precision: Literal["float", "quantized"]
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=2)]
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    connection: Annotated[str | None, AfterValidator(_row_of(AXES))] = None


class Recipe(Section):
    """One training run: a model and its options, a data set, and the phases of training.

    ``keep`` chooses the final weights: those of the ``last`` epoch, or of the ``best`` epoch of the last
    phase's precision on a ``validation`` share of the training images, never on test images. ``watch`` says
    what is best there: the highest ``accuracy`` or the lowest mean ``loss``. ``patience``: training stops
    early when that has not improved for so many epochs; 0 never does. ``threads`` is the number of CPU
    threads, 0 for PyTorch's choice. Sums depend on it, so a recipe that fixes it gives the same weights on
    machines with any number of cores.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    summary: str = ""
    model: str
    options: dict[str, Option] = {}
    dataset: str
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    keep: Literal["last", "best"] = "last"
    watch: Literal["accuracy", "loss"] = "accuracy"
    patience: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation = Augmentation()
    step: StepUpdate = StepUpdate()
    compute: Compute = Compute()
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phase names must differ, not {', '.join(names)}")
        if self.keep == "best" and not self.validation:
            raise ValueError("keep = 'best' needs a validation share above 0")
        if self.keep != "best" and (self.patience or self.watch != "accuracy"):
            raise ValueError("patience and watch = 'loss' need keep = 'best'")
        if self.keep == "best" and self.step.ramp:
            raise ValueError("keep = 'best' and step.ramp exclude each other: earlier weights are denser")
        return self

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def quantized_epochs(self) -> int:
        """Those of its quantized phases."""
        return sum(phase.epochs for phase in self.phases if phase.precision == "quantized")

    @property
    def active_phases(self) -> tuple[Phase, ...]:
        """The phases that have epochs, or the last one if none has. A run ends in the last of them."""
        return tuple(phase for phase in self.phases if phase.epochs) or self.phases[-1:]

    def with_epochs(self, total: int) -> Recipe:
        """The recipe shortened or stretched to ``total`` epochs: phases in proportion, each at least 1.

        Phases of 0 epochs stay out, and ``total = 0`` leaves out all. Raises InputError when there are
        fewer epochs than phases, and when no phase is left to stretch.
        """
        counts = [phase.epochs for phase in self.phases]
        trained = sum(count > 0 for count in counts)
        if total and not trained:
            raise InputError(
                f"recipe {self.name!r} trains for 0 epochs, which cannot be stretched to {total}; "
                f"set phases.{self.phases[-1].name}.epochs"
            )
        if 0 < total < trained:
            raise InputError(
                f"recipe {self.name!r} has {trained} phases and needs at least as many epochs, not "
                f"{total}; use --epochs {trained} or more"
            )
        shares = [max(1, n * total // self.epochs) if n and total else 0 for n in counts]
        shares[counts.index(max(counts))] += total - sum(shares)
        phases = [p.model_copy(update={"epochs": n}) for p, n in zip(self.phases, shares, strict=True)]
        return self.model_copy(update={"phases": tuple(phases)})


def shipped_recipes() -> dict[str, Traversable]:
    """The recipe files that installed packages offer, by name. Raises InputError as ``package_files``."""
    return package_files()


def package_files(below: str = "") -> dict[str, Traversable]:
    """The TOML files in the folders of recipes of installed packages, or in those ``below`` them, by name.

    Raises InputError when a package's folder cannot be read, or a name occurs twice.
    """
    files: dict[str, Traversable] = {}
    for entry_point in offers(RECIPE_GROUP):
        for file in _folder_files(entry_point.name, entry_point.value, below):
            name = file.name.removesuffix(".toml")
            if files.setdefault(name, file) != file:
                raise InputError(f"recipe names must be unique, {name!r} of {entry_point.value} is taken")
    return {name: files[name] for name in sorted(files)}


def _folder_files(entry_point: str, folder: str, below: str) -> list[Traversable]:
    try:
        place = resources.files(folder)
        place = place / below if below else place
        return [file for file in place.iterdir() if file.name.endswith(".toml")] if place.is_dir() else []
    except Exception as error:  # whatever a foreign package raises on import
        raise InputError(
            f"entry point {entry_point!r} of {RECIPE_GROUP} must name an importable folder, but {folder} "
            f"raises {type(error).__name__}: {error}; repair or uninstall that package"
        ) from error


def load_recipe(source: str | Path) -> Recipe:
    """A recipe from a TOML file, or a shipped one by its name. Raises InputError."""
    shipped = {} if isinstance(source, Path) else shipped_recipes()
    file = shipped.get(str(source), Path(source))
    if not file.is_file():
        raise _unknown_recipe(str(source), shipped)
    where = f"recipe {source}"
    return parse_recipe(read_toml(file, where), where)


def read_toml(file: Traversable, where: str) -> dict[str, Any]:
    """The key-value tree of ``file``. Raises InputError that names it ``where``."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {where}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is not valid TOML: {error}") from None


def _unknown_recipe(source: str, shipped: Iterable[str]) -> InputError:
    names = ", ".join(shipped)
    known = f"a TOML file or one of {names}" if names else "a TOML file"
    near = _suggest(source.removesuffix(".toml"), shipped)
    if source.endswith(".toml"):
        return InputError(f"recipe must be {known}; no such file exists: {source!r}{near}")
    return InputError(f"recipe must be {known}, not {source!r}{near}")


def parse_recipe(table: dict[str, Any], where: str) -> Recipe:
    """A recipe from its key-value tree. Raises InputError that starts with ``where``."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{where}: {first_mistake(error, table)}") from None


def leaves(recipe: Recipe) -> dict[str, Any]:
    """Every single value of ``recipe`` by the dotted key that ``override`` takes; phases go by name.

    ``phases`` itself is the list of their names, so recipes with equal leaves are equal.
    """
    tree = recipe.model_dump(mode="json")
    phases = {phase["name"]: phase for phase in tree.pop("phases")}
    return dict(_flatten(tree)) | {"phases": list(phases)} | dict(_flatten(phases, "phases."))


def first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[str, str, str] | None:
    """The first key whose values differ, and both values as text, theirs first; None if all are equal."""
    for key in [*ours, *theirs]:
        if ours.get(key) != theirs.get(key):
            found, wanted = (repr(side[key]) if key in side else "left out" for side in (theirs, ours))
            return key, found, wanted
    return None


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """``recipe`` with ``key=value`` assignments applied; dots go down, phases go by name or number.

    Values are TOML (``0.01``, ``true``, ``"text"``); anything else is taken as text.

    >>> override(recipe, ["seed=3", "phases.qat.epochs=20", "options.skip=mux"])

    Raises InputError for an unknown key or a value that breaks a rule.
    """
    tree = recipe.model_dump(mode="json")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set must be key=value, not {assignment!r}")
        _assign(tree, key.strip(), _parse_value(value.strip()))
    return parse_recipe(tree, "--set")


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the leaf that the dotted ``key`` names. Only ``options`` may get new keys."""
    node: Any = tree
    *path, last = key.split(".")
    for part in path:
        if part not in _children(node):
            raise _unknown_key(key, part, _children(node))
        node = _children(node)[part]
    if not isinstance(node, dict) or (last not in node and node is not tree["options"]):
        raise _unknown_key(key, last, _children(node))
    node[last] = value


def _children(node: Any) -> dict[str, Any]:
    """What a dotted key can name next: the keys of a table; the phases by name and by number."""
    if isinstance(node, list):
        phases = [phase for phase in node if isinstance(phase, dict)]
        return {phase["name"]: phase for phase in phases} | {str(i): p for i, p in enumerate(phases)}
    return node if isinstance(node, dict) else {}


def _unknown_key(key: str, part: str, known: dict[str, Any]) -> InputError:
    return InputError(f"--set: unknown key {key!r}{_suggest(part, known)}{_listing(known)}")


def first_mistake(error: ValidationError, table: dict[str, Any]) -> str:
    """The first of pydantic's complaints about ``table`` as ``key: rule, not value``."""
    first = error.errors(include_url=False)[0]
    if first["loc"][:1] == ("options",) and len(first["loc"]) > 2:
        # pydantic tells how each possible type is missed; among numbers, only NaN and infinities miss all.
        rule = "a finite number" if isinstance(first["input"], float) else "a number, text, true or false"
        return f"options.{first['loc'][1]}: must be {rule}, not {first['input']!r}"
    key = _dotted(first["loc"], table)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        return f"unknown key {key!r}{_suggest(str(first['loc'][-1]), known)}{_listing(known)}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    rule = first["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    return f"{key}: {rule}, not {first['input']!r}" if key else rule


def _dotted(location: tuple[int | str, ...], table: dict[str, Any]) -> str:
    """The key at pydantic's ``location`` in ``table``; a phase goes by its name if that is a valid one."""
    parts = [str(part) for part in location if not str(part).startswith(("literal", "constrained"))]
    if len(parts) > 2 and parts[0] == "phases":
        name = table["phases"][int(parts[1])].get("name")
        if isinstance(name, str) and re.fullmatch(PHASE_NAME, name):
            parts[1] = name
    return ".".join(parts)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that would have been valid where an unknown one was found."""
    sections = {
        "optimizer": Optimizer,
        "augmentation": Augmentation,
        "step": StepUpdate,
        "compute": Compute,
        "phases": Phase,
    }
    return list(sections.get(str(location[0]), Recipe).model_fields)


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _listing(known: Iterable[str]) -> str:
    keys = ", ".join(known)
    return f" (keys: {keys})" if keys else ""
