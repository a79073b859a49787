"""Compilers of microcontrollers: ``zig cc`` with LLVM's linker, and avr-gcc."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from exporters.c99.build import Source
from exporters.c99.compilers import C_FLAGS, TIMEOUT, ZIG, run_compiler
from exporters.tools import Tool, find_tool
from toolchain.data.download import cache_dir
from toolchain.mcu.avr import (
    AVR_GCC,
    HARNESS_FLAGS,
    OWN_FLAGS,
    compile_avr,
    frames_avr,
    harness_avr,
    link_avr,
    linker_script_avr,
)
from toolchain.mcu.cores import Core
from toolchain.mcu.harness import ENTRY, Memory, harness_c, linker_script

_ZIG_PLAIN_FLAGS = (
    *("-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fstack-size-section"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-sanitize=all", "-fno-pic"),
)


@dataclass(frozen=True, slots=True)
class Toolset:
    """A compiler with its linker.

    ``modules``, ``tool``: Python modules and the program that it needs. ``own_flags``: for the program's
    own files, beside a level. ``compile``: makes an object of a file beside it. ``harness``: C that calls
    the program, profiled or not. ``script``: of the linker. ``link``: makes the image. ``frames``: stack by
    function where the image itself does not tell it.
    """

    modules: tuple[str, ...]
    tool: Tool | None
    own_flags: tuple[str, ...]
    harness_flags: tuple[str, ...]
    compile: Callable[[Source, Core, str, Path, Sequence[str]], None]
    harness: Callable[[Source, Core, bool], str]
    script: Callable[[Memory], str]
    link: Callable[[Source, Core, Sequence[str], Path], bytes]
    frames: Callable[[Path], dict[str, int]] = lambda folder: {}

    def missing(self) -> str | None:
        """What it lacks here and how to install it, or None. Raises MissingToolError where the variable of
        its program names none."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if absent:
            packages = ", ".join({"elftools": "pyelftools"}.get(name, name) for name in absent)
            return f"needs {packages}: pip install 'gatefold[mcu]'"
        if self.tool and find_tool(self.tool) is None:
            return self.tool.missing
        return None


def _compile_zig(source: Source, core: Core, path: str, result: Path, flags: Sequence[str]) -> None:
    triple, cpu = source.target.zig
    chosen = ("cc", "-target", triple, f"-mcpu={cpu}", *core.flags, *flags)
    _zig(f"compiling {path} for {core.name}", (*chosen, "-c", path, "-o", result.name), result)


def _link_zig(source: Source, core: Core, objects: Sequence[str], result: Path) -> bytes:
    """The image of ``objects`` and the library routines that they call; ``image.ld`` lies beside them."""
    triple, cpu = source.target.zig
    kept = ("-OReleaseSmall", "-fno-strip", "--gc-sections", "--emit-relocs")
    _zig(
        f"linking {source.name} for {core.name}",
        (
            *("build-exe", *objects, "-target", triple, f"-mcpu={cpu}", *kept),
            *("--script", "image.ld", f"-fentry={ENTRY}", f"-femit-bin={result.name}"),
        ),
        result,
    )
    return result.read_bytes()


def _zig(what: str, arguments: Sequence[str], result: Path) -> None:
    """Run ``zig`` with caches of this user: library routines are built once for each core."""
    caches = cache_dir() / "zig"
    settings = {
        "ZIG_GLOBAL_CACHE_DIR": str(caches / "global"),
        "ZIG_LOCAL_CACHE_DIR": str(caches / "local"),
    }
    run_compiler((*ZIG, *arguments), result, what, TIMEOUT, settings)


TOOLSETS = MappingProxyType(
    {
        "zig": Toolset(
            ("ziglang", "unicorn", "elftools"),
            None,
            (*C_FLAGS, *_ZIG_PLAIN_FLAGS),
            ("-std=gnu99", "-Os", *_ZIG_PLAIN_FLAGS),
            _compile_zig,
            lambda source, core, profile: harness_c(source, core.decoder),
            linker_script,
            _link_zig,
        ),
        "avr-gcc": Toolset(
            ("elftools",),
            AVR_GCC,
            OWN_FLAGS,
            HARNESS_FLAGS,
            compile_avr,
            lambda source, core, profile: harness_avr(source, profile),
            lambda memory: linker_script_avr(),
            link_avr,
            frames_avr,
        ),
    }
)
"""By the name in ``Core.compiler``."""
