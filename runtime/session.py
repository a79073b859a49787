"""Running a program on a chosen executor: input checks, batching, one error per mistake."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError, MissingToolError
from runtime.ir import Input, Program
from runtime.types import IntArray

CHUNK_BYTES = 64 * 2**20
"""Working memory one chunk of a batch may take; in the interpreter's int64 representation where an executor
does not plan its own."""


class Executor(Protocol):
    """Runs one program. ``run`` gets checked arrays of any integer dtype or bool, and returns integers.

    Options that an executor has are keyword arguments of its class. One that plans its memory may say with
    ``chunk(budget)`` how many samples of a batch should run at once within ``budget`` bytes.
    """

    def __init__(self, program: Program) -> None: ...

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for inputs of shape ``(batch, *type.shape)``."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorRow:
    """One row of an executor table: where the class is, and what it needs installed.

    ``requires``: packages, which ``extra`` installs. ``check``: ``module:function`` for what else it needs;
    the function returns why the executor cannot run here and what to do, or None.
    """

    target: str
    summary: str
    requires: tuple[str, ...] = ()
    extra: str = ""
    check: str = ""

    def missing(self) -> str | None:
        """Why the executor cannot run here and what to install, or None."""
        for package in self.requires:
            try:
                importlib.import_module(package)
            except ImportError:
                return f"needs {package}: pip install 'gatefold[{self.extra}]'"
        if self.check:
            module, name = self.check.split(":")
            why: str | None = getattr(importlib.import_module(module), name)()
            return why
        return None

    def load(self, name: str) -> type[Executor]:
        """The class of the executor, whose ``name`` in the table is what a user knows it by.

        Raises MissingToolError when something is not installed.
        """
        if why := self.missing():
            raise MissingToolError(f"executor {name} {why}")
        module, class_name = self.target.split(":")
        loaded: type[Executor] = getattr(importlib.import_module(module), class_name)
        return loaded


EXECUTORS: dict[str, ExecutorRow] = {
    "interpreter": ExecutorRow(
        "runtime.interpreter:Interpreter", "the definition: int64 NumPy, one op at a time"
    ),
    "packed": ExecutorRow("runtime.packed.executor:PackedExecutor", "bit planes and popcounts in NumPy"),
}


def check_input(array: NDArray[Any], spec: Input) -> NDArray[Any]:
    """``array`` with shape ``(batch, *spec.type.shape)``, in its own dtype. Raises InputError.

    A channel axis of length 1 may be missing, as in the files of most gray image sets.
    """
    array = np.asarray(array)
    if spec.type.shape[:1] == (1,) and array.shape[1:] == spec.type.shape[1:]:
        array = array[:, None]
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"input {spec.name!r} must hold integers in {spec.type.interval}, not {array.dtype}; "
            "convert it first, for example with .astype('uint8')"
        )
    if array.shape[1:] != spec.type.shape or array.ndim == 0:
        wanted = "(batch, " + ", ".join(map(str, spec.type.shape)) + ")"
        raise InputError(f"input {spec.name!r} must have shape {wanted}, not {array.shape}")
    if array.size:
        unsigned = array.dtype.kind in "bu" and spec.type.interval.lo <= 0  # then the largest tells all
        for end in (int(array.max()),) if unsigned else (int(array.min()), int(array.max())):
            if end not in spec.type.interval:
                raise InputError(f"input {spec.name!r} has value {end} outside {spec.type.interval}")
    return array


class Session:
    """A program ready to run on one executor.

    ``run`` accepts any integer dtype within the input's interval and any batch size; large batches
    are cut in chunks, so memory stays flat. ``options`` go to the executor: ``kernel`` and ``threads``
    of ``packed``.
    """

    def __init__(
        self,
        program: Program,
        executor: str = "packed",
        table: Mapping[str, ExecutorRow] | None = None,
        **options: Any,
    ) -> None:
        rows = EXECUTORS if table is None else table
        if executor not in rows:
            raise InputError(f"executor must be one of {', '.join(rows)}, not {executor!r}")
        self.program = program
        self.executor = executor
        self._engine = rows[executor].load(executor)(program, **options)

    @property
    def engine(self) -> Executor:
        """The executor itself, which checks nothing: arrays of all inputs by name, up to ``chunk`` long."""
        return self._engine

    @cached_property
    def chunk(self) -> int:
        """Most samples that run at once: what the executor wants, else what int64 leaves room for."""
        if wanted := getattr(self._engine, "chunk", None):
            return int(wanted(CHUNK_BYTES))
        widest = max(t.size for t in self.program.types.values())
        return max(1, min(1024, CHUNK_BYTES // (16 * widest)))

    def run(
        self,
        inputs: NDArray[Any] | Mapping[str, NDArray[Any]],
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name, each in the smallest integer dtype of its interval.

        ``inputs``: one array for a program with one input, else arrays by input name, all of one batch
        size. ``progress`` is called with the number of samples done in each step. Raises InputError.
        """
        arrays = self._check(inputs)
        types = self.program.types
        batch = len(next(iter(arrays.values())))
        parts = list(self._parts(batch))
        outputs: dict[str, NDArray[Any]] = {}
        for name in self.program.outputs if len(parts) != 1 else ():  # one part needs no joining
            outputs[name] = np.empty((batch, *types[name].shape), types[name].interval.dtype)
        for part in parts:
            results = self._engine.run({n: a[part] for n, a in arrays.items()})
            for name, result in results.items():
                if name in outputs:
                    outputs[name][part] = result
                else:
                    outputs[name] = np.require(result, types[name].interval.dtype, ("C", "O", "W"))
            if progress:
                progress(part.stop - part.start)
        return outputs

    def _check(self, inputs: NDArray[Any] | Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        specs = self.program.inputs
        if not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise InputError(f"the program has {len(specs)} inputs; give them by name")
            inputs = {specs[0].name: inputs}
        if set(inputs) != {spec.name for spec in specs}:
            wanted = ", ".join(repr(spec.name) for spec in specs)
            raise InputError(f"inputs must be {wanted}, not {', '.join(map(repr, inputs)) or 'nothing'}")
        arrays = {spec.name: check_input(inputs[spec.name], spec) for spec in specs}
        if len({len(array) for array in arrays.values()}) > 1:
            raise InputError("all inputs must have one batch size")
        return arrays

    def _parts(self, batch: int) -> Iterator[slice]:
        step = self.chunk if batch > 1 else 1
        for start in range(0, batch, step):
            yield slice(start, min(start + step, batch))
