"""Executor ``c99``: the generated C, compiled for this machine, cached and called through ctypes."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from exporters.c99.build import ERROR_RANGE, ERRORS, Port, Source, generate
from exporters.c99.cache import cache_key, open_cache
from exporters.c99.compilers import Compiler, compile_flags, compile_shared, find_compiler, shared_flags
from exporters.c99.host import HOST, find_host_target
from exporters.c99.library import Library
from exporters.emitter import Emitter
from runtime.errors import GatefoldError, InputError
from runtime.ir import Program
from runtime.types import IntArray

ARENA_ALIGN = 64
"""Alignment of an arena here: a cache line, and more than any target asks for."""

MAX_CHUNK = 4096
"""Most samples of one call, so that progress shows and Ctrl-C is heard."""


class C99Executor:
    """Executor ``c99``. One compilation the first time a program runs on a machine, none after that.

    ``threads``: parts of a batch that run at once. ``target``: ``host`` for the best this machine runs,
    or the name of a lower one. ``prefer``: a kernel, as of the exporter. ``optimize``: in place of
    ``-O3``; a lower level compiles sooner.
    """

    def __init__(
        self,
        program: Program,
        *,
        threads: int = 1,
        target: str = HOST,
        prefer: str = "auto",
        optimize: str = "",
    ) -> None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        self.compiler = find_compiler()
        self.source = generate(program, find_host_target(target), vectors=0, kernel=prefer)
        self._library = compiled(self.source, self.compiler, optimize)
        self._run = _batch_function(self._library, self.source)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "gatefold-c99") if threads > 1 else None
        self._arenas: list[_Arena] = []
        self._inputs = [(port.name, port.dtype) for port in self.source.inputs]
        self._outputs = [(port.name, port.type.shape, port.dtype) for port in self.source.outputs]

    def chunk(self, budget: int) -> int:
        """Samples of one run whose arrays stay within ``budget`` bytes."""
        sample = sum(p.type.size * p.dtype.itemsize for p in (*self.source.inputs, *self.source.outputs))
        return max(1, min(MAX_CHUNK, budget // max(1, sample)))

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name, in the dtypes of their ports, for inputs of shape ``(batch, *type.shape)``.

        Several calls may run at once. Raises InputError for a value outside its interval.
        """
        arrays = [np.require(inputs[name], dtype, ("C", "A")) for name, dtype in self._inputs]
        batch = len(arrays[0])
        results = {name: np.empty((batch, *shape), dtype) for name, shape, dtype in self._outputs}
        every = [*arrays, *results.values()]
        parts = min(self._threads, batch)
        if self._pool is None or parts < 2:
            self._run_part(every, 0, batch)
        else:
            ends = [batch * part // parts for part in range(parts + 1)]
            for future in [self._pool.submit(self._run_part, every, *ends) for ends in pairwise(ends)]:
                future.result()
        return results

    def _run_part(self, arrays: list[NDArray[np.generic]], start: int, stop: int) -> None:
        """Run the samples from ``start`` to ``stop`` with an arena that no other call has meanwhile."""
        if start == stop:
            return
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = _Arena(self.source.arena_bytes)
        places = (a.ctypes.data + start * a.strides[0] for a in arrays)
        code = self._run(*places, arena.place, self.source.arena_bytes, stop - start)
        self._arenas.append(arena)
        if code == ERROR_RANGE:
            limits = ", ".join(f"{p.name!r} in {p.type.interval}" for p in self.source.inputs)
            raise InputError(f"inputs must be {limits}; a value is outside")
        if code:
            reason = list(ERRORS.values())[code] if code < len(ERRORS) else f"error {code}"
            raise GatefoldError(f"executor c99: {self.source.name}_run says {reason}")


class _Arena:
    """Working memory at an aligned place."""

    def __init__(self, size: int) -> None:
        self._memory = np.empty(size + ARENA_ALIGN, np.uint8)
        self.place = -(-self._memory.ctypes.data // ARENA_ALIGN) * ARENA_ALIGN


def compiled(source: Source, compiler: Compiler, optimize: str = "") -> Library:
    """``source`` with a loop over a batch as a library of this process, compiled unless the cache has it.

    Raises InputError for an unknown level of ``optimize`` and GatefoldError where the compiler fails.
    """
    files = library_files(source)
    flags = (*compile_flags(compiler, source.target, optimize), *shared_flags(compiler))
    machine = f"{sys.platform} {platform.machine()} {ctypes.sizeof(ctypes.c_void_p)}"
    parts = {f"file {path}": content for path, content in files.items()}
    parts |= {"compiler": compiler.identity.encode(), "flags": "\n".join(flags).encode()}
    key = cache_key(parts | {"machine": machine.encode()})
    return Library(
        open_cache().obtain(key, lambda: compile_shared(files, compiler, source.target, optimize))
    )


def library_files(source: Source) -> dict[str, bytes]:
    """What the library is made of: the program's own C and the loop over a batch."""
    name = source.name
    headers = {path: content for path, content in source.files.items() if path.endswith(".h")}
    own = {path: source.files[path] for path in (f"{name}.c", f"{name}_weights.c")}
    return {**headers, **own, f"{name}_batch.c": batch_source(source).encode()}


def _batch_function(library: Library, source: Source) -> ctypes._NamedFuncPointer:
    function = library.functions[f"{source.name}_run_batch"]
    ports = len(source.inputs) + len(source.outputs)
    function.argtypes = [ctypes.c_void_p] * (ports + 1) + [ctypes.c_size_t] * 2
    function.restype = ctypes.c_int
    return function


_EXPORT = """\
#if defined(_WIN32)
#define GF_EXPORT __declspec(dllexport)
int DllMainCRTStartup(void *module, unsigned reason, void *reserved);
int DllMainCRTStartup(void *module, unsigned reason, void *reserved)
{
    (void)module, (void)reason, (void)reserved;
    return 1;
}
#else
#define GF_EXPORT __attribute__((visibility("default")))
#endif
"""
"""What the library shows; on Windows also its entry point, since no C library comes along."""


def batch_source(source: Source) -> str:
    """``NAME_run_batch``: ``NAME_run`` on ``count`` samples, one after another, to the first error."""
    name, out = source.name, Emitter()
    ports = [*source.inputs, *source.outputs]
    kinds = [f"const {p.c_type}" for p in source.inputs] + [p.c_type for p in source.outputs]
    parameters = [f"{kind} *array{i}" for i, kind in enumerate(kinds)]
    parameters += ["void *arena", "size_t arena_bytes", "size_t count"]
    signature = f"int {name}_run_batch({', '.join(parameters)})"
    out.lines(f'#include "{name}.h"', "", *_EXPORT.splitlines(), "", f"GF_EXPORT {signature};")
    out.line(signature)
    with out.block(""):
        with out.block("for (size_t i = 0; i < count; i++)"):
            arguments = ", ".join(f"array{i} + i * {_size(port)}" for i, port in enumerate(ports))
            out.line(f"const int error = {name}_run({arguments}, arena, arena_bytes);")
            out.lines("if (error)", "    return error;")
        out.line("return 0;")
    return out.text()


def _size(port: Port) -> str:
    return f"{port.type.size}u"
