"""Cross-compile a program's C with ``zig cc`` and link it into an image."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporters.c99.build import Source
from exporters.c99.compilers import C_FLAGS, TIMEOUT, ZIG, run_compiler, workplace
from runtime.errors import InputError, MissingToolError
from toolchain.data.download import cache_dir
from toolchain.mcu.cores import Core
from toolchain.mcu.harness import (
    ENTRY,
    PROFILE_H,
    REGION_BYTES,
    STACK_BYTES,
    Memory,
    harness_c,
    linker_script,
)

PACKAGES = ("ziglang", "unicorn", "elftools")
"""Modules that measuring needs; the extra ``mcu`` installs them."""

_PLAIN_FLAGS = (
    *("-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fstack-size-section"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-sanitize=all", "-fno-pic"),
)

OWN_FLAGS = (*C_FLAGS, *_PLAIN_FLAGS)
"""Flags of the program's own files, beside the target's optimization level."""

PROFILE_FLAGS = ("-include", "gf_profile.h")

HARNESS_FLAGS = ("-std=gnu99", "-Os", *_PLAIN_FLAGS)

Progress = Callable[[str], None]
"""Gets one line about what is being done."""


def missing() -> str | None:
    """What measuring lacks here and how to install it, or None."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    packages = ", ".join({"elftools": "pyelftools"}.get(name, name) for name in absent)
    return f"needs {packages}: pip install 'gatefold[mcu]'"


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """What the compiler made. ``elf``: the linked image, or "" where nothing links. ``objects``: the
    program's object files by name."""

    source: Source
    core: Core
    memory: Memory
    optimize: str
    profile: bool
    elf: bytes
    objects: dict[str, bytes]


def build(
    source: Source,
    core: Core,
    memory: Memory,
    optimize: str = "",
    profile: bool = False,
    progress: Progress | None = None,
) -> Image:
    """Compile ``source`` for ``core`` and link it with the harness.

    ``optimize``: in place of the target's level. ``profile``: every step reports that it begins. Raises
    MissingToolError where ``ziglang`` is not installed, InputError where the program is too large for any
    image, and GatefoldError with the compiler's first error, or where it hangs; its log is then kept.
    """
    level = optimize or source.target.optimize
    if why := missing():
        raise MissingToolError(f"a cross-compiled image {why}")
    largest = max(source.constant_bytes, source.arena_bytes + STACK_BYTES)
    if largest >= REGION_BYTES:
        raise InputError(
            f"{source.name} takes {largest:,} bytes, and an image may have {REGION_BYTES:,} of each memory;"
            " give --no-measure or a smaller network"
        )
    doing = f"compiling {source.name} for {core.name}"
    if progress:
        progress(f"{doing} with {level}")
    with workplace(doing) as work:
        for path, content in source.files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        (work / "gf_harness.c").write_text(harness_c(source, core.decoder), encoding="utf-8")
        (work / "gf_profile.h").write_text(PROFILE_H, encoding="utf-8")
        own = {"program.o": f"{source.name}.c", "weights.o": f"{source.name}_weights.c"}
        flags = (level, *OWN_FLAGS, *core.flags, *(PROFILE_FLAGS if profile else ()))
        for name, path in own.items():
            _compile(source, core, path, work / name, flags)
        objects = {name: (work / name).read_bytes() for name in own}
        if not core.links:
            return Image(source, core, memory, level, profile, b"", objects)
        _compile(source, core, "gf_harness.c", work / "harness.o", HARNESS_FLAGS)
        (work / "image.ld").write_text(linker_script(memory), encoding="utf-8")
        elf = _link(source, core, [*own, "harness.o"], work / "image.elf")
        return Image(source, core, memory, level, profile, elf, objects)


def _compile(source: Source, core: Core, path: str, result: Path, flags: Sequence[str]) -> None:
    triple, cpu = source.target.zig
    chosen = ("cc", "-target", triple, f"-mcpu={cpu}", *flags)
    _zig(f"compiling {path} for {core.name}", (*chosen, "-c", path, "-o", result.name), result)


def _link(source: Source, core: Core, objects: Sequence[str], result: Path) -> bytes:
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
