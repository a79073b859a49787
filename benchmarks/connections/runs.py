"""The training runs of the study: each trained once, into a directory named after what it varies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

from benchmarks.study import finish, stored
from toolchain.config import Recipe, load_recipe, override
from toolchain.data import load
from toolchain.training import RunResult
from toolchain.training.run import RESULT_FILE

RECIPES = {
    "fashion-mnist": "connections-fashion",
    "cifar-10": "connections-cifar",
    "digits": "digits-resnet",
}
"""The recipe that all runs on a data set share."""

CONNECTIONS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "orthogonal": ("options.connection=orthogonal",),
    "quotient": ("options.connection=quotient",),
    "or": ("options.connection=or",),
    "mux": ("options.connection=mux",),
    "linear, quadratic": ('options.quadratic="1"',),
}
"""The rows of the study, as ``gatefold train --set`` takes them. All but the last have equal parameters."""

BASELINE, FLOAT = "linear", "float32"

PRECISIONS: dict[str, tuple[str, ...]] = {
    FLOAT: ("phases.qat.precision=float",),
    "8-bit": ("options.levels=127", "options.bits=8", "options.stream_bits=8"),
    "4-bit": ("options.levels=15", "options.bits=4", "options.stream_bits=4"),
    "HEQ-ternary": ("options.levels=3", "options.bits=4", "options.stream_bits=4"),
}
"""Weights, activations and streams. "8-bit" weights have 127 levels, 4-bit ones 15."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Variant:
    """One run: keys of ``CONNECTIONS`` and ``PRECISIONS``, and a seed."""

    connection: str
    precision: str
    seed: int

    @property
    def name(self) -> str:
        """What tells this run from others: ``linear-quadratic-8-bit-s0``."""
        words = f"{self.connection}-{self.precision}-s{self.seed}"
        return words.replace(", ", "-").lower()

    def recipe(self, data: str, epochs: int | None = None) -> Recipe:
        """Its recipe; ``epochs`` in all, those of the shared one by default. Raises InputError."""
        assignments = [*CONNECTIONS[self.connection], *PRECISIONS[self.precision], f"seed={self.seed}"]
        recipe = override(load_recipe(RECIPES[data]), assignments)
        return recipe if epochs is None else recipe.with_epochs(epochs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run and its directory."""

    variant: Variant
    directory: Path
    result: RunResult

    @property
    def accuracy(self) -> float:
        """Test accuracy of the last epoch's weights, in percent."""
        return 100 * self.result.accuracy


def run_all(
    data: str,
    out: Path,
    data_dir: Path | None = None,
    connections: Sequence[str] = tuple(CONNECTIONS),
    precisions: Sequence[str] = tuple(PRECISIONS),
    seeds: Sequence[int] = SEEDS,
    epochs: int | None = None,
) -> Iterator[Outcome]:
    """Finish every run on data set ``data``, seed by seed, in folders of ``out``. Raises InputError."""
    dataset = cache(partial(load, data, data_dir))
    for seed in seeds:
        for connection in connections:
            for precision in precisions:
                variant = Variant(connection, precision, seed)
                directory = out / f"{data}-{variant.name}"
                yield Outcome(variant, directory, finish(variant.recipe(data, epochs), dataset, directory))


def finished(data: str, out: Path, epochs: int | None = None) -> list[Outcome]:
    """Every finished run on data set ``data`` in folders of ``out``, in the order of the tables above.

    Raises InputError when one is of another recipe.
    """
    names = [path.parent.name for path in out.glob(f"{data}-*-s*/{RESULT_FILE}")]
    ends = {name.rpartition("-s")[2] for name in names}
    seeds = sorted(int(end) for end in ends if end.isdecimal())
    found = []
    for precision, connection, seed in product(PRECISIONS, CONNECTIONS, seeds):
        variant = Variant(connection, precision, seed)
        directory = out / f"{data}-{variant.name}"
        if directory.name in names:
            found.append(Outcome(variant, directory, stored(variant.recipe(data, epochs), directory)))
    return found
