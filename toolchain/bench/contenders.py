"""What takes turns: executors behind a Session, and the twins in ONNX Runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.errors import MissingToolError
from runtime.ir import Program
from runtime.session import ExecutorRow, Session
from toolchain.compare import Samples
from toolchain.executors import tuning_of
from toolchain.timing import Call

FP32, INT8 = "fp32", "int8"

TWINS = {FP32: "exporters.onnx.twin:float32_twin", INT8: "exporters.onnx.int8_twin:int8_twin"}
"""Networks of the program's shape, as ONNX Runtime runs them."""

CUTS_BATCHES = frozenset({"packed"})
"""Executors whose threads each take a part of the batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One executor or twin, ready to run.

    ``threads``: those it uses at a batch size. ``prepare``: the call to time, on some inputs.
    ``session``: None for a twin. ``kernel``: the one that was asked for, if it has kernels.
    """

    name: str
    kind: str
    threads: Callable[[int], int]
    prepare: Callable[[Samples], Call]
    session: Session | None = None
    kernel: str | None = None

    def engine(self, samples: Samples) -> Call | None:
        """The call without what a Session checks and converts; None for a twin, or if it needs parts."""
        session = self.session
        if session is None or len(next(iter(samples.values()))) > session.chunk:
            return None
        run = session.engine.run
        return lambda: run(samples)


def executor(program: Program, name: str, row: ExecutorRow, kernel: str, threads: int) -> Contender:
    """An executor with the options it has. Raises MissingToolError."""
    if why := row.missing():
        raise MissingToolError(f"executor {name} {why}")
    tuning = tuning_of(name, row)
    wanted: dict[str, Any] = {"kernel": kernel, "threads": threads}
    session = Session(program, name, {name: row}, **{key: wanted[key] for key in sorted(tuning)})

    def used(batch: int) -> int:
        if "threads" not in tuning:
            return 1
        return min(threads, batch) if name in CUTS_BATCHES else threads

    return Contender(
        name,
        "executor",
        used,
        lambda samples: lambda: session.run(samples),
        session,
        kernel if "kernel" in tuning else None,
    )


def twin(program: Program, name: str, threads: int) -> Contender:
    """The twin of that name. Raises MissingToolError."""
    module, function = TWINS[name].split(":")
    try:
        from exporters.onnx.twin import ModelSession

        model = getattr(importlib.import_module(module), function)(program)
        session = ModelSession(model, threads)
    except ImportError as error:
        raise MissingToolError(
            f"the {name} twin needs {error.name}: pip install 'gatefold[onnx]', or give --against none"
        ) from error
    return Contender(name, "twin", lambda batch: threads, session.runner)
