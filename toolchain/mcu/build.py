"""Cross-compile a program's C with ``zig cc`` and link it into an image."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporters.c99.build import Source
from runtime.errors import GatefoldError, InputError, MissingToolError
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

C_FLAGS = (
    *("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffreestanding"),
    *("-ffunction-sections", "-fdata-sections", "-fstack-size-section"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-sanitize=all", "-fno-pic"),
)
"""Flags of the program's own files, beside the target's optimization level."""

PROFILE_FLAGS = ("-include", "gf_profile.h")

HARNESS_FLAGS = ("-std=gnu99", "-Os", *C_FLAGS[5:])

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
    image, and GatefoldError with the compiler's first error.
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
    if progress:
        progress(f"compiling {source.name} for {core.name} with {level}")
    with tempfile.TemporaryDirectory(prefix="gatefold-") as folder:
        work = Path(folder)
        for path, content in source.files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        (work / "gf_harness.c").write_text(harness_c(source, core.decoder), encoding="utf-8")
        (work / "gf_profile.h").write_text(PROFILE_H, encoding="utf-8")
        triple, cpu = source.target.zig
        cc = ("cc", "-target", triple, f"-mcpu={cpu}", *core.flags)
        own = {"program.o": f"{source.name}.c", "weights.o": f"{source.name}_weights.c"}
        for name, path in own.items():
            _compile(work, core, cc, path, name, (level, *C_FLAGS, *(PROFILE_FLAGS if profile else ())))
        objects = {name: (work / name).read_bytes() for name in own}
        if not core.links:
            return Image(source, core, memory, level, profile, b"", objects)
        _compile(work, core, cc, "gf_harness.c", "harness.o", HARNESS_FLAGS)
        (work / "image.ld").write_text(linker_script(memory), encoding="utf-8")
        _zig(
            work,
            f"linking {source.name} for {core.name}",
            (
                "build-exe",
                *own,
                "harness.o",
                "-target",
                triple,
                f"-mcpu={cpu}",
                "-OReleaseSmall",
                "-fno-strip",
                "--gc-sections",
                "--emit-relocs",
                "--script",
                "image.ld",
                f"-fentry={ENTRY}",
                "-femit-bin=image.elf",
            ),
        )
        return Image(source, core, memory, level, profile, (work / "image.elf").read_bytes(), objects)


def _compile(work: Path, core: Core, cc: Sequence[str], path: str, name: str, flags: Sequence[str]) -> None:
    _zig(work, f"compiling {path} for {core.name}", (*cc, *flags, "-c", path, "-o", name))


def _zig(work: Path, what: str, arguments: Sequence[str]) -> None:
    caches = cache_dir() / "zig"
    settings = {
        "ZIG_GLOBAL_CACHE_DIR": str(caches / "global"),
        "ZIG_LOCAL_CACHE_DIR": str(caches / "local"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", *arguments],
        cwd=work,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise GatefoldError(f"{what} failed: {_first_error(done.stderr)}")


def _first_error(text: str) -> str:
    """The line of the first error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line)]
    return (errors or lines or ["no message"])[0][:300]
