"""What turns a program's C into an image that starts by itself: entry, linker script, arrays of the caller.

None of it counts as the network's: it has sections of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporters.c99.build import Source

INPUT, OUTPUT, RESULT, ENTRY, HALT = "gf_input", "gf_output", "gf_result", "gf_entry", "gf_halt"
"""Symbols of the harness; inputs and outputs are numbered from 0."""

MARK = "gf_mark"
"""The function that every step of a profiled image calls as it begins."""

PROFILE_H = """#ifndef GF_PROFILE_H
#define GF_PROFILE_H
void gf_mark(unsigned step);
#define GF_STEP(number) gf_mark(number)
#endif
"""
"""Included before anything else in a profiled image."""

STACK_TOP = "gf_stack_top"

STACK_BYTES = 64 * 1024
"""Room for the stack under emulation, far more than any program takes: it is measured, not limited."""

REGION_BYTES = 16 * 1024 * 1024
"""Room of each memory in the linker script: whether a program fits a device is judged by its sizes."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a device's flash and RAM begin."""

    flash: int
    ram: int


_START = {
    "thumb": """
__attribute__((section(".vectors"), used)) static const void *const gf_vectors[2] = {
    gf_stack_top, (const void *)gf_entry};
void gf_entry(void) { gf_start(); }
""",
    "riscv": """
__asm__(".section .harness.entry,\\"ax\\",@progbits\\n.globl gf_entry\\n.type gf_entry,@function\\n"
        "gf_entry:\\n lui sp, %hi(gf_stack_top)\\n addi sp, sp, %lo(gf_stack_top)\\n j gf_start\\n");
""",
    "": """
void gf_entry(void) { gf_start(); }
""",
}
"""How a core comes to ``gf_start`` with a stack, by its decoder."""

_C = """#include <stddef.h>
#include <stdint.h>
{include}
extern uint8_t gf_stack_top[];
extern uint32_t gf_data_from[], gf_data[], gf_data_end[], gf_bss[], gf_bss_end[];
void gf_entry(void);
void gf_halt(void);
void gf_start(void);

{arrays}
volatile int gf_result __attribute__((section(".noinit")));
{start}
__attribute__((noinline, used)) void gf_halt(void)
{{
    for (;;)
        __asm__ volatile("");
}}

void gf_mark(unsigned step);
__attribute__((noinline, used)) void gf_mark(unsigned step)
{{
    __asm__ volatile("" : : "r"(step));
}}

__attribute__((noinline, used)) void gf_start(void)
{{
    const volatile uint32_t *from = gf_data_from;
    for (volatile uint32_t *to = gf_data; to < gf_data_end;)
        *to++ = *from++;
    for (volatile uint32_t *to = gf_bss; to < gf_bss_end;)
        *to++ = 0;
    gf_result = {call};
    gf_halt();
}}
"""


def harness_c(source: Source, decoder: str) -> str:
    """C of the harness: one call of the program on arrays under known names."""
    ports = [(p, f"{INPUT}{i}") for i, p in enumerate(source.inputs)]
    ports += [(p, f"{OUTPUT}{i}") for i, p in enumerate(source.outputs)]
    arrays = [
        f'{p.c_type} {name}[{p.type.size}] __attribute__((section(".noinit"), aligned(8)));'
        for p, name in ports
    ]
    arrays.append(
        f'uint8_t gf_arena[{source.arena_bytes}] __attribute__((section(".noinit"), aligned(8)));'
    )
    call = f"{source.name}_run({', '.join(n for _, n in ports)}, gf_arena, sizeof gf_arena)"
    return _C.format(
        include=f'#include "{source.name}.h"', arrays="\n".join(arrays), start=_START[decoder], call=call
    )


def linker_script(memory: Memory) -> str:
    """Sections of the network, of library routines and of the harness, each on its own."""
    return f"""ENTRY({ENTRY})
MEMORY {{
  FLASH (rx) : ORIGIN = {memory.flash:#x}, LENGTH = {REGION_BYTES:#x}
  RAM (rwx) : ORIGIN = {memory.ram:#x}, LENGTH = {REGION_BYTES:#x}
}}
SECTIONS {{
  .harness : {{ KEEP(*(.vectors .harness.entry)) *harness.o(.text .text.* .rodata .rodata.*) }} > FLASH
  .text : {{ *program.o(.text .text.*) *weights.o(.text .text.*) }} > FLASH
  .rodata : {{ *program.o(.rodata .rodata.*) *weights.o(.rodata .rodata.* .srodata .srodata.*) }} > FLASH
  .library : {{ *(.text .text.* .rodata .rodata.* .srodata .srodata.*) }} > FLASH
  .data : ALIGN(4) {{
    gf_data = .; *(.data .data.* .sdata .sdata.*) . = ALIGN(4); gf_data_end = .;
  }} > RAM AT> FLASH
  gf_data_from = LOADADDR(.data);
  .bss (NOLOAD) : ALIGN(4) {{
    gf_bss = .; *(.bss .bss.* .sbss .sbss.* COMMON) . = ALIGN(4); gf_bss_end = .;
  }} > RAM
  .noinit (NOLOAD) : ALIGN(8) {{ *(.noinit .noinit.*) }} > RAM
  .stack (NOLOAD) : ALIGN(16) {{ . += {STACK_BYTES}; {STACK_TOP} = .; }} > RAM
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.eh_frame*) *(.debug*) }}
}}
"""
