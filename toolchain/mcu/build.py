"""Cross-compile a program's C and link it into an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporters.c99.build import Source
from exporters.c99.compilers import workplace
from runtime.errors import InputError, MissingToolError
from toolchain.mcu.cores import Core
from toolchain.mcu.harness import PROFILE_H, REGION_BYTES, STACK_BYTES, Memory
from toolchain.mcu.toolsets import TOOLSETS

PROFILE_FLAGS = ("-include", "gf_profile.h")

OBJECTS = {"program.o": "{}.c", "weights.o": "{}_weights.c"}
"""The program's own object files, and the files that they are made of."""

Progress = Callable[[str], None]
"""Gets one line about what is being done."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """What the compiler made. ``elf``: the linked image. ``frames``: stack by function where the compiler
    does not tell it in the image."""

    source: Source
    core: Core
    memory: Memory
    optimize: str
    profile: bool
    elf: bytes
    frames: Mapping[str, int]


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
    MissingToolError where the core's compiler is not installed, InputError where the program is too large
    for any image, and GatefoldError with the compiler's first error, or where it hangs; its log is then
    kept.
    """
    tools = TOOLSETS[core.compiler]
    level = optimize or source.target.optimize
    if why := tools.missing():
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
        (work / "gf_harness.c").write_text(tools.harness(source, core, profile), encoding="utf-8")
        (work / "gf_profile.h").write_text(PROFILE_H, encoding="utf-8")
        (work / "image.ld").write_text(tools.script(memory), encoding="utf-8")
        flags = (level, *tools.own_flags, *(PROFILE_FLAGS if profile else ()))
        for name, path in OBJECTS.items():
            tools.compile(source, core, path.format(source.name), work / name, flags)
        frames = tools.frames(work)
        tools.compile(source, core, "gf_harness.c", work / "harness.o", tools.harness_flags)
        elf = tools.link(source, core, [*OBJECTS, "harness.o"], work / "image.elf")
        return Image(source, core, memory, level, profile, elf, frames)
