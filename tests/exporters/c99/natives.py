"""Generated C compiled for this machine and called through ctypes, between guarded arrays."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exporters.c99.build import Port, Source
from exporters.c99.compilers import Compiler
from exporters.c99.targets import TARGETS, Target
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.types import IntArray
from tests.compilers import COMPILERS
from tests.programs import random_inputs

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffreestanding")
"""What every file of every layout promises."""

SHIM = Path(__file__).parent / "avx512"
"""AVX-512 in plain C, for the kernels with intrinsics."""

GUARD = 64
"""Bytes around every array that nothing may touch."""

GCC = COMPILERS["gcc"].command[0]


def host_flags(target: Target) -> tuple[str, ...]:
    """Flags with which the C for any target compiles on this machine, on vectors as wide as it has."""
    if target.name == "x86-64-v4":
        there = ("F", "VPOPCNTDQ", "BW", "VBMI", "VNNI")
        defines = (*(f"-D__AVX512{name}__" for name in there), "-I", str(SHIM))
        return ("-std=c99", "-Wall", "-Wextra", "-Wno-psabi", "-march=x86-64-v3", *defines)
    return (*STRICT, *(target.gcc if target.name in ("x86-64-v2", "x86-64-v3") else ()))


def write(source: Source, folder: Path) -> Path:
    """The files of ``source`` in ``folder``, which is made."""
    for path, content in source.files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def call(command: Sequence[str | Path], folder: Path, **settings: str) -> str:
    """What a program that has to succeed prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": str(folder), **settings},
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


class Native:
    """``source`` as a shared object of this process."""

    def __init__(self, source: Source, folder: Path, flags: Sequence[str] = ("-O1",)) -> None:
        write(source, folder)
        files = [f"{source.name}.c", f"{source.name}_weights.c"]
        shared = ("-shared", "-fPIC", "-o", "program.so")
        call([GCC, *host_flags(source.target), *flags, *shared, *files], folder)
        self.source = source
        self._run = getattr(ctypes.CDLL(str(folder / "program.so")), f"{source.name}_run")
        ports = len(source.inputs) + len(source.outputs)
        self._run.argtypes = [ctypes.c_void_p] * (ports + 1) + [ctypes.c_size_t]

    def call(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        arena_bytes: int | None = None,
        shift: Mapping[str, int] | None = None,
        null: str = "",
    ) -> tuple[int, dict[str, np.ndarray], bool]:
        """One call: its code, the outputs, and whether anything but arena and outputs was written.

        ``arrays``: of every input. ``shift``: bytes by which an array, or ``arena``, is misaligned.
        ``null``: the array, or ``arena``, that is NULL.
        """
        source, shift = self.source, shift or {}
        size = source.arena_bytes if arena_bytes is None else arena_bytes
        blocks = [_Block(p.type.size * p.dtype.itemsize, shift.get(p.c_name, 0)) for p in self.ports]
        arena = _Block(size, shift.get("arena", 0))
        for port, block in zip(source.inputs, blocks, strict=False):
            block.content[:] = np.frombuffer(arrays[port.name].astype(port.dtype).tobytes(), np.uint8)
        before = [block.memory.copy() for block in (*blocks, arena)]
        names = [port.c_name for port in self.ports]
        pointers = [None if n == null else b.place for n, b in zip(names, blocks, strict=True)]
        code = self._run(*pointers, None if null == "arena" else arena.place, size)
        may_change = set() if code else {id(arena), *(id(b) for b in blocks[len(source.inputs) :])}
        touched = any(
            not np.array_equal(
                block.outside(old, id(block) in may_change),
                block.outside(block.memory, id(block) in may_change),
            )
            for block, old in zip((*blocks, arena), before, strict=True)
        )
        results = {
            port.name: np.frombuffer(block.content.tobytes(), port.dtype).reshape(port.type.shape)
            for port, block in zip(source.outputs, blocks[len(source.inputs) :], strict=True)
        }
        return code, results, touched

    @property
    def ports(self) -> tuple[Port, ...]:
        """Arrays of a call in order."""
        return (*self.source.inputs, *self.source.outputs)


class _Block:
    """Bytes at a place of known alignment between guards; all start as noise."""

    def __init__(self, size: int, shift: int) -> None:
        rng = np.random.default_rng(size)
        self.memory = rng.integers(0, 256, size + 3 * GUARD, np.uint8)
        self.start = (
            -(-(self.memory.ctypes.data + GUARD) // GUARD) * GUARD - self.memory.ctypes.data + shift
        )
        self.size = size

    @property
    def place(self) -> int:
        return int(self.memory.ctypes.data) + self.start

    @property
    def content(self) -> np.ndarray:
        return self.memory[self.start : self.start + self.size]

    def outside(self, memory: np.ndarray, only: bool) -> np.ndarray:
        """The guards of ``memory``, with what lies between unless ``only`` those."""
        if not only:
            return memory
        return np.concatenate([memory[: self.start], memory[self.start + self.size :]])


def assert_equal(native: Native, program: Program, samples: int, seed: int) -> None:
    """Zero elements differ from the interpreter's, and no byte outside of arena and outputs is written."""
    inputs = random_inputs(program, samples, seed)
    check_samples(native, program, inputs, Interpreter(program).run(inputs))


def check_samples(
    native: Native, program: Program, inputs: Mapping[str, IntArray], wanted: Mapping[str, IntArray]
) -> None:
    """The same for given samples and outputs."""
    for sample in range(len(next(iter(inputs.values())))):
        code, found, touched = native.call({name: array[sample] for name, array in inputs.items()})
        assert (code, touched) == (0, False)
        differ = [name for name in program.outputs if not np.array_equal(found[name], wanted[name][sample])]
        assert not differ, f"sample {sample}: {differ}"


def zig(target: str) -> tuple[Compiler, tuple[str, ...]]:
    """Clang as the package ``ziglang`` has it, and its flags for a target."""
    triple, cpu = TARGETS[target].zig
    return COMPILERS["zig"], (*(("-target", triple) if triple else ()), f"-mcpu={cpu}")
