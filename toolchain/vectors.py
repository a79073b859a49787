"""Test vectors: inputs of a program and the outputs that every executor must give for them.

The file is a compressed ``.npz`` with one array per input and per output, each under the value's name
and with the samples along its first axis.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import FormatError, InputError
from runtime.ir import Program
from runtime.session import Session

STEP = 4
"""Samples the interpreter runs at a time; small, so that progress is seen to move."""

UNPACKED_LIMIT = 256 * 2**20
"""Most bytes that the arrays of a file may take in memory."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """``inputs`` and ``outputs`` by name, integers of shape ``(N, *type.shape)``, N at least 1."""

    inputs: Arrays
    outputs: Arrays

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def make_vectors(
    program: Program, inputs: Arrays, progress: Callable[[int], None] | None = None
) -> Vectors:
    """``inputs`` with the interpreter's outputs, int64. ``progress`` gets the number of samples done."""
    session = Session(program, "interpreter")
    count = len(next(iter(inputs.values())))
    parts = []
    for start in range(0, count, STEP):
        parts.append(session.run({name: array[start : start + STEP] for name, array in inputs.items()}))
        if progress:
            progress(min(STEP, count - start))
    outputs = {
        name: np.concatenate([part[name] for part in parts]).astype(np.int64) for name in program.outputs
    }
    return Vectors(inputs, outputs)


def write_vectors(vectors: Vectors, path: Path) -> None:
    """Write to ``path``; equal vectors give equal bytes. Raises OSError."""
    arrays: dict[str, Any] = {**vectors.inputs, **vectors.outputs}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_vectors(path: str | Path, program: Program) -> Vectors:
    """The vectors in ``path``, which must be those of ``program``'s inputs and outputs.

    Raises InputError when the file cannot be read, FormatError when it is damaged or of another program.
    """
    arrays = _read(Path(path))
    inputs = {spec.name: spec.type.shape for spec in program.inputs}
    shapes = inputs | {name: program.types[name].shape for name in program.outputs}
    if set(arrays) != set(shapes):
        raise FormatError(
            f"{path} must hold {', '.join(map(repr, shapes))} of {program.name!r}, "
            f"not {', '.join(f'{name!r:.40}' for name in arrays) or 'nothing'}"
        )
    count = len(arrays[next(iter(inputs))]) if arrays[next(iter(inputs))].ndim else 0
    for name, shape in shapes.items():
        array = arrays[name]
        if not np.issubdtype(array.dtype, np.integer) or array.shape != (count, *shape) or not count:
            wanted = "(samples, " + ", ".join(map(str, shape)) + ")"
            raise FormatError(
                f"{path}: {name!r} must hold integers of shape {wanted}, as many samples as every other, "
                f"not {array.dtype} of shape {array.shape}"
            )
    return Vectors(
        {name: arrays[name] for name in inputs}, {name: arrays[name] for name in program.outputs}
    )


def _read(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > UNPACKED_LIMIT:
            raise FormatError(f"{path}: test vectors may take {UNPACKED_LIMIT} bytes, these take {size}")
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        raise FormatError(f"{path} is not an intact .npz file of plain numbers") from None
