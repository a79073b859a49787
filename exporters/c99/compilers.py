"""C compilers: GCC, Clang, or the ``ziglang`` package; which one is here, and how it is called."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from exporters.c99.targets import Target
from exporters.tools import (
    Command,
    Outcome,
    Tool,
    answer,
    commands_on_path,
    overriding_command,
    run_command,
)
from runtime.errors import GatefoldError, InputError, MissingToolError

C_COMPILER = Tool(
    what="a C compiler",
    names=("cc", "gcc", "clang"),
    variable="GATEFOLD_CC",
    install="install gcc or clang, or pip install 'gatefold[c99]'",
)

C_FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffreestanding")
"""What the generated C promises to compile with."""

KINDS: dict[str, tuple[str, ...]] = {
    "gcc": ("-fno-tree-loop-distribute-patterns",),
    "clang": ("-fno-builtin",),
    "zig": ("-fno-builtin", "-fno-sanitize=undefined"),
}
"""Flags of each kind of compiler that keep loops loops: no calls of ``memset`` and ``memcpy``."""

OPTIMIZATIONS = ("-O0", "-O1", "-O2", "-O3", "-Os")

TIMEOUT = 900.0
"""Seconds one compilation may take."""

LOG = "compile.log"

ZIG = (sys.executable, "-P", "-m", "ziglang")
"""The command of the package ``ziglang``; no file of the folder where it runs is taken for a module."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler. ``command``: the program and the arguments it always gets.

    ``kind``: a row of ``KINDS``. ``version``: what it says of itself.
    """

    name: str
    command: Command
    kind: str
    version: str

    @property
    def identity(self) -> str:
        """Text that differs where the code it makes may differ."""
        return "\n".join((*self.command, self.kind, self.version))


# --- finding one -------------------------------------------------------------------------------------


def find_compiler() -> Compiler:
    """The compiler in ``GATEFOLD_CC``, else of the system, else of the package ``ziglang``.

    Raises MissingToolError where there is none, and InputError where ``GATEFOLD_CC`` is none.
    """
    return _find(os.environ.get(C_COMPILER.variable, ""), os.environ.get("PATH", ""))


def missing() -> str | None:
    """Why nothing can be compiled here and what to do, or None."""
    try:
        find_compiler()
    except GatefoldError as error:
        text = str(error)
        return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else f"has no compiler: {text}"
    return None


_PREFIX = "executor c99 "


@cache
def _find(override: str, path: str) -> Compiler:
    """``find_compiler`` for these values of the environment."""
    if given := overriding_command(C_COMPILER):
        compiler = identify(given)
        if compiler is None:
            raise InputError(
                f"{C_COMPILER.variable} must name GCC, Clang or zig cc, not {override!r:.200}: "
                "it does not say its version; correct or unset it"
            )
        return compiler
    candidates = (*commands_on_path(C_COMPILER), *_zig_command())
    found = next((compiler for compiler in map(identify, candidates) if compiler), None)
    if found is None:
        raise MissingToolError(f"{_PREFIX}{C_COMPILER.missing}")
    return found


def _zig_command() -> Iterator[Command]:
    """``zig cc`` of the package ``ziglang``, if it is installed."""
    if importlib.util.find_spec("ziglang") is not None:
        yield (*ZIG, "cc")


def identify(command: Command) -> Compiler | None:
    """The compiler behind ``command``, or None where it does not run or is of no kind known here."""
    text = answer((*command, "--version"))
    number = r"version\s+(\d+(?:\.\d+)*)"
    if text is None:
        return None
    if command[-1] == "cc" and len(command) > 1 and (zig := answer((*command[:-1], "version"))):
        return Compiler(f"zig {zig.strip()}", command, "zig", f"{zig}{text}")
    if re.search(r"\bzig-bootstrap\b", text):
        kind = "zig"
    elif "clang" in text.lower():
        kind = "clang"
    elif "Free Software Foundation" in text:
        kind, number = "gcc", r"\)\s+(\d+(?:\.\d+)*)"
    else:
        return None
    found = re.search(number, text)
    return Compiler(f"{kind} {found[1] if found else '?'}", command, kind, text)


# --- calling it --------------------------------------------------------------------------------------


def target_flags(compiler: Compiler, target: Target) -> tuple[str, ...]:
    """Flags that choose the processor; for ``zig cc`` the system too, where the target names one."""
    if compiler.kind != "zig":
        return target.gcc
    triple, cpu = target.zig
    return (*(("-target", triple) if triple else ()), *((f"-mcpu={cpu}",) if cpu else ()))


def compile_flags(compiler: Compiler, target: Target, optimize: str = "") -> tuple[str, ...]:
    """Flags of a file of generated C. ``optimize``: in place of the target's level. Raises InputError."""
    level = optimize or target.optimize
    if level not in OPTIMIZATIONS:
        raise InputError(f"optimize must be one of {', '.join(OPTIMIZATIONS)}, not {level!r:.80}")
    return (level, *C_FLAGS, *KINDS[compiler.kind], *target_flags(compiler, target))


def shared_flags(compiler: Compiler, platform: str = sys.platform) -> tuple[str, ...]:
    """Flags of a shared object that needs no other. What it exports says so itself.

    Where Clang links, the system's own libraries come along: macOS wants them in every object.
    """
    visible = () if platform == "win32" else ("-fvisibility=hidden",)
    alone = {"gcc": ("-nostdlib",), "zig": ("-nostdlib",)}.get(compiler.kind, ())
    return ("-shared", "-fPIC", *visible, *alone)


def compile_shared(
    files: Mapping[str, bytes],
    compiler: Compiler,
    target: Target,
    optimize: str = "",
    timeout: float = TIMEOUT,
) -> bytes:
    """A shared object of the ``.c`` files of ``files``, contents by path. Raises as ``compile_files``."""
    flags = (*compile_flags(compiler, target, optimize), *shared_flags(compiler))
    libraries = ("-lgcc",) if compiler.kind == "gcc" else ()
    return compile_files(files, compiler, f"for {target.name}", flags, libraries, timeout)


def compile_files(
    files: Mapping[str, bytes],
    compiler: Compiler,
    what: str,
    flags: Sequence[str],
    libraries: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> bytes:
    """What ``compiler`` makes of every ``.c`` file of ``files``: a program, or what ``flags`` say.

    It works in a private folder, which stays where a compilation fails. Raises GatefoldError with the
    first error and that folder.
    """
    sources = sorted(path for path in files if path.endswith(".c"))
    doing = f"compiling {Path(sources[0]).stem if sources else 'nothing'} {what} with {compiler.name}"
    with workplace(doing) as folder:
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        result = folder / "result.bin"
        command = (*compiler.command, *flags, "-o", result.name, *sources, *libraries)
        run_compiler(command, result, doing, timeout, _zig_caches(compiler, folder))
        return result.read_bytes()


def run_compiler(
    command: Sequence[str],
    result: Path,
    doing: str,
    timeout: float = TIMEOUT,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run a command of a compiler that makes the file ``result``, in the folder of that.

    ``doing``: what is said of it. ``settings``: added to the environment. Raises GatefoldError with the
    first error, or where it takes longer than ``timeout`` seconds.
    """
    outcome = run_command(command, result.parent, doing, timeout, settings, LOG)
    if outcome.code or not result.is_file():
        raise GatefoldError(f"{doing} failed: {first_error(outcome)}")


@contextmanager
def workplace(doing: str) -> Iterator[Path]:
    """A folder of this process alone, which is named in every error and kept for it."""
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="gatefold-c99-"))
        yield folder
    except OSError as error:
        _remove(folder)
        raise GatefoldError(f"{doing} failed: {error.strerror or error} in {folder or 'TMPDIR'}") from None
    except GatefoldError as error:
        raise type(error)(f"{error}; sources and {LOG} are in {folder}") from None
    except BaseException:
        _remove(folder)
        raise
    _remove(folder)


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _zig_caches(compiler: Compiler, folder: Path) -> dict[str, str]:
    """Caches of ``zig``, which it trusts: within ``folder``, except those that the environment names."""
    if compiler.kind != "zig":
        return {}
    names = {"ZIG_GLOBAL_CACHE_DIR": "zig-global", "ZIG_LOCAL_CACHE_DIR": "zig-local"}
    return {name: str(folder / place) for name, place in names.items() if not os.environ.get(name)}


def first_error(outcome: Outcome) -> str:
    """The first error a compiler tells, on one line; else its last line, else how it ended."""
    lines = [" ".join(line.split()) for line in outcome.output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line)]
    if not lines:
        code = outcome.code
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with {code} and no message"
    text = errors[0] if errors else lines[-1]
    return "".join(ch for ch in text if ch.isprintable())[:300]
