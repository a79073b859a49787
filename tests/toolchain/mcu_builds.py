"""Programs and images that the tests of microcontrollers share, each made once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import sample_models
from exporters.c99.build import Source, generate
from exporters.c99.targets import TARGETS
from runtime.ir import Program
from runtime.serialize import load
from toolchain.mcu.build import Image, build
from toolchain.mcu.cores import CORES, Core, Machine
from toolchain.mcu.harness import Memory

TRAINED = Path(sample_models.__file__).parent / "trained"
MEMORY = Memory(0x08000000, 0x20000000)

BIG_ENDIAN = Core(
    "mips32, big-endian",
    Machine("UC_ARCH_MIPS", ("UC_MODE_MIPS32", "UC_MODE_BIG_ENDIAN"), "", "UC_MIPS_REG_SP"),
    None,
    flags=("-mno-abicalls", "-msoft-float"),
)
"""Not a microcontroller that anybody asks for: to see that the C does not depend on the order of bytes."""

BIG_TARGET = replace(TARGETS["rv32imc"], name="mips32", zig=("mips-freestanding-none", "mips32r2"))


@cache
def program(name: str = "digits-ternary") -> Program:
    """A trained program."""
    return load(TRAINED / name / "program.gfold")


@cache
def source(core: str, name: str = "digits-ternary") -> Source:
    """Its C for a core."""
    return generate(program(name), core, vectors=0)


@cache
def image(core: str, profile: bool = False, name: str = "digits-ternary") -> Image:
    """Its image."""
    return build(source(core, name), CORES[core], MEMORY, profile=profile)


def handwritten(body: str, like: Source) -> Source:
    """``like`` with another function in place of its own, and no steps."""
    c = f'#include "{like.name}.h"\n{body}\n'
    names = ", ".join(
        [f"const {p.c_type} *{p.c_name}" for p in like.inputs]
        + [f"{p.c_type} *{p.c_name}" for p in like.outputs]
    )
    c = c.replace("RUN", f"int {like.name}_run({names}, void *arena, size_t arena_bytes)")
    unused = "".join(f"(void){p.c_name}; " for p in (*like.inputs, *like.outputs))
    c = c.replace("UNUSED", f"{unused}(void)arena; (void)arena_bytes;")
    return replace(like, files=like.files | {f"{like.name}.c": c.encode()})
