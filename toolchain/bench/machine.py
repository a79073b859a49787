"""What the figures were measured on, and the threads of NumPy's BLAS."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from runtime.version import VERSION

VECTOR_FLAGS = (
    "ssse3",
    "sse4_2",
    "popcnt",
    "avx",
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bitalg",
    "avx512_vpopcntdq",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)
"""Flags of /proc/cpuinfo that decide which kernels run."""

PACKAGES = ("numpy", "onnxruntime")

BLAS_THREADS = (
    "scipy_openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
)
"""Functions of OpenBLAS, as NumPy's wheels and other builds name them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One computer at one time. ``load``: processes that wanted to run, as a mean of the last minute."""

    cpu: str
    flags: tuple[str, ...]
    cores: int
    system: str
    load: float | None
    blas_threads: int | None
    versions: dict[str, str]
    date: str

    @property
    def busy(self) -> bool:
        """Whether other processes wanted all cores before anything was measured."""
        return self.load is not None and self.load > self.cores

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        load = "" if self.load is None else f", load {self.load:.1f}"
        flags = f" ({' '.join(self.flags)})" if self.flags else ""
        cores = f"{self.cores} core{'s' * (self.cores != 1)}"
        return f"{self.cpu}{flags}, {cores}{load}; {self.system}; {versions}; {self.date}"


def describe_machine() -> Machine:
    """This computer, now."""
    info = _cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        flags=tuple(flag for flag in VECTOR_FLAGS if flag in flags),
        cores=_cores(),
        system=f"{platform.system()} {platform.machine()}",
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        blas_threads=blas_threads(),
        versions={"gatefold": VERSION, "Python": platform.python_version(), **_packages()},
        date=datetime.now(UTC).date().isoformat(),
    )


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n", maxsplit=1)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _blas_function(action: str) -> Any:
    """``get`` or ``set`` of the OpenBLAS that NumPy has loaded; None for another BLAS."""
    try:
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    names = (name.format(action) for name in BLAS_THREADS)
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)


def blas_threads() -> int | None:
    """Threads of NumPy's BLAS; None where it does not tell."""
    get = _blas_function("get")
    return None if get is None else int(get())


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's BLAS in one thread, if it is an OpenBLAS: an executor's threads are its own."""
    before, put = blas_threads(), _blas_function("set")
    if before is None or put is None:
        yield
        return
    put(1)
    try:
        yield
    finally:
        put(before)


def blas_warning() -> str | None:
    """What to say where a shell pins the BLAS to the kernels of another processor."""
    if kind := os.environ.get("OPENBLAS_CORETYPE"):
        return (
            f"OPENBLAS_CORETYPE={kind} is set, which can halve the speed of NumPy's BLAS and with it of "
            "`packed`; unset it before you measure"
        )
    return None
