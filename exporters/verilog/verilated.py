"""A design as a program of this machine: Verilator's C++ and a hand-written driver, compiled and cached."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from exporters.c99.cache import cache_key, open_cache
from exporters.c99.compilers import Compiler, run_compiler, workplace
from exporters.tools import run_command
from exporters.verilog.design import Design
from exporters.verilog.simulators import Verilator
from runtime.errors import GatefoldError

VERILATE = (
    *("--cc", "--no-timing", "-O3", "-fno-gate", "-fno-dfg"),
    *("--x-initial", "unique", "--x-assign", "unique"),
    *("--inline-mult", "50", "--Mdir", "made", "--prefix", "Vgf", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
)
"""Optimizations that take longer than what they save stay off. Registers start at random. A module that is
large and has many instances stays one function."""

COMPILE = ("-std=c++17", "-O0", "-w", "-DVL_TIME_CONTEXT")
"""Compilers take minutes to optimize what runs for a second."""

RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
"""Verilator's own sources that every program has."""

TIMEOUT = 900.0
"""Seconds that each step may take."""


def simulation(design: Design, texts: Mapping[str, str], verilator: Verilator) -> bytes:
    """The program that streams samples through ``design``: of the cache, else made now.

    Raises GatefoldError with the first error where it cannot be made.
    """
    driver = files("exporters.verilog").joinpath("gatefold_driver.cpp").read_text()
    head = _definitions(design)
    parts = {f"file {name}": text.encode() for name, text in texts.items()}
    parts |= {"driver": driver.encode(), "head": head.encode(), **_tools(verilator)}
    key = cache_key(parts)
    return open_cache("verilog").obtain(key, lambda: _built(design, texts, head + driver, verilator))


def _tools(verilator: Verilator) -> dict[str, bytes]:
    """What the result depends on besides the sources."""
    machine = f"{sys.platform} {platform.machine()} {ctypes.sizeof(ctypes.c_void_p)}"
    return {
        "tools": verilator.identity.encode(),
        "flags": "\n".join((*VERILATE, *COMPILE)).encode(),
        "machine": machine.encode(),
    }


def _definitions(design: Design) -> str:
    """The part of the driver that differs: names of ports."""
    inputs = " ".join(f"X({signal.name})" for signal in design.inputs)
    outputs = " ".join(f"X({signal.name})" for signal in design.outputs)
    return (
        f'#include "Vgf.h"\n#define GF_INPUTS(X) {inputs}\n#define GF_OUTPUTS(X) {outputs}\n'
        f"#define GF_CLOCKED {int(design.latency > 0)}\n#define GF_LATENCY {design.latency}\n"
    )


def _built(design: Design, texts: Mapping[str, str], driver: str, verilator: Verilator) -> bytes:
    runtime = [_runtime(name, verilator) for name in RUNTIME]
    doing = f"simulating {design.name} with Verilator"
    with workplace(doing) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text)
        command = (*verilator.command, *VERILATE, "--top-module", design.name, *texts)
        outcome = run_command(command, folder, doing, TIMEOUT, verilator.settings)
        made = sorted((folder / "made").glob("*.cpp"))
        if outcome.code or not made:
            raise GatefoldError(f"{doing} failed: {' '.join(outcome.output.split())[:300]}")
        (folder / "made" / "driver.cc").write_text(
            "".join(f'#include "{path.name}"\n' for path in made) + driver
        )
        objects = [f"runtime{i}.o" for i in range(len(runtime))]
        for name, content in zip(objects, runtime, strict=True):
            (folder / name).write_bytes(content)
        result = folder / "driver.exe"
        sources = (str(Path("made", "driver.cc")), *objects)
        link = () if verilator.compiler.kind == "zig" else ("-pthread",)
        _compile(verilator, result, ("-Imade", *sources, *link), doing)
        return result.read_bytes()


def _runtime(name: str, verilator: Verilator) -> bytes:
    """An object of Verilator's own, which all programs share."""
    source = verilator.root / "include" / name
    parts = {"runtime": source.read_bytes(), **_tools(verilator)}

    def make() -> bytes:
        doing = f"compiling Verilator's {name} with {verilator.compiler.name}"
        with workplace(doing) as folder:
            result = folder / "runtime.o"
            _compile(verilator, result, ("-c", str(source)), doing)
            return result.read_bytes()

    return open_cache("verilog").obtain(cache_key(parts), make)


def _compile(verilator: Verilator, result: Path, words: tuple[str, ...], doing: str) -> None:
    compiler: Compiler = verilator.compiler
    include = verilator.root / "include"
    kind = ("-fno-sanitize=undefined",) if compiler.kind == "zig" else ()
    flags = (*COMPILE, *kind, f"-I{include}", f"-I{include / 'vltstd'}")
    command = (*compiler.command, *flags, "-o", result.name, *words)
    run_compiler(command, result, doing, TIMEOUT, _settings(compiler))


def _settings(compiler: Compiler) -> dict[str, str]:
    """``zig`` builds its C++ library once for each of its caches: so one that lasts, of this user alone."""
    if compiler.kind != "zig":
        return {}
    folder = str(open_cache("verilog").folder / "zig")
    return dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), folder)
