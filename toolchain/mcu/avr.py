"""AVR: images by avr-gcc, and the harness that lets simavr run them.

Nothing outside can write to simavr's memory, so an image holds one sample in flash, as zeros that are
replaced before a run, and writes what it found to its serial port. simavr emulates the part with most RAM
that it knows, whatever part the program is for: code and cycles are those of every AVR with 16-bit program
counters. Registers are of the Microchip ATmega1284P data sheet DS40002070.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporters.c99.build import Source
from exporters.c99.compilers import TIMEOUT, run_compiler
from exporters.c99.folder import KEEP_LOOPS, WARNINGS
from exporters.tools import Tool, require_tool
from toolchain.mcu.cores import Core
from toolchain.mcu.harness import ENTRY, INPUT, OUTPUT, RESULT, STACK_TOP

AVR_GCC = Tool("avr-gcc", ("avr-gcc",), "GATEFOLD_AVR_GCC", "install gcc-avr")
SIMAVR = Tool("simavr", ("simavr",), "GATEFOLD_SIMAVR", "install simavr")

PART, CLOCK_HZ = "atmega1284p", 16_000_000
"""What simavr emulates."""

RAM_END = 0x4100
"""End of that part's RAM, which begins at 0x100."""

DATA = 0x800000
"""Where linkers place addresses of RAM, beside those of flash."""

RETURN_BYTES = 2
"""What a call pushes."""

GIVEN = "gf_given"
"""Symbols of the sample in flash, numbered from 0."""

_PLAIN_FLAGS = ("-ffreestanding", "-ffunction-sections", "-fdata-sections", KEEP_LOOPS)

OWN_FLAGS = ("-std=gnu99", *WARNINGS.split(), *_PLAIN_FLAGS, "-fstack-usage")

HARNESS_FLAGS = ("-std=gnu99", "-Os", *_PLAIN_FLAGS)


def compile_avr(source: Source, core: Core, path: str, result: Path, flags: Sequence[str]) -> None:
    """An object of the C file ``path``, beside ``result``."""
    doing = f"compiling {path} for {core.name}"
    gcc = require_tool(AVR_GCC, doing)
    run_compiler((*gcc, *core.flags, *flags, "-c", path, "-o", result.name), result, doing, TIMEOUT)


def link_avr(source: Source, core: Core, objects: Sequence[str], result: Path) -> bytes:
    """The image of ``objects`` and the library routines that they call; ``image.ld`` lies beside them."""
    doing = f"linking {source.name} for {core.name}"
    gcc = require_tool(AVR_GCC, doing)
    kept = ("-nostartfiles", "-nodefaultlibs", "-Wl,--gc-sections,--emit-relocs,-T,image.ld")
    run_compiler((*gcc, *core.flags, *kept, *objects, "-lgcc", "-o", result.name), result, doing, TIMEOUT)
    return result.read_bytes()


def frames_avr(folder: Path) -> dict[str, int]:
    """Stack of every function of the program's own files by name, as GCC tells it, less the return address;
    the largest of several copies of one function."""
    found: dict[str, int] = {}
    for path in folder.glob("*.su"):
        for line in path.read_text().splitlines():
            place, used, _ = line.rsplit("\t", 2)
            name = place.rsplit(":", 1)[1].partition(".")[0]
            found[name] = max(found.get(name, 0), int(used) - RETURN_BYTES)
    return found


def linker_script_avr() -> str:
    """Sections of the network, of library routines and of the harness, each on its own. Constants come
    before code: ``lpm`` reaches 64 KB."""
    return f"""ENTRY({ENTRY})
MEMORY {{
  FLASH (rx) : ORIGIN = 0, LENGTH = 0x20000
  RAM (rw) : ORIGIN = {DATA + 0x100:#x}, LENGTH = 0xff00
}}
SECTIONS {{
  .harness : {{ KEEP(*(.vectors)) *harness.o(.progmem* .text .text.*) }} > FLASH
  .rodata : {{ *program.o(.progmem*) *weights.o(.progmem*) }} > FLASH
  .text : ALIGN(2) {{ *program.o(.text .text.*) *weights.o(.text .text.*) }} > FLASH
  .library : ALIGN(2) {{ *(.text .text.*) }} > FLASH
  .data : {{ *program.o(.data* .rodata*) *weights.o(.data* .rodata*) }} > RAM AT> FLASH
  .bss (NOLOAD) : {{ *program.o(.bss*) *weights.o(.bss*) }} > RAM
  .noinit (NOLOAD) : {{ *(.noinit*) gf_paint = .; }} > RAM
  {STACK_TOP} = {RAM_END - 1:#x};
  /DISCARD/ : {{ *(.init*) *(.fini*) *(.debug*) }}
}}
"""


_C = """#include <stddef.h>
#include <stdint.h>
{include}
#define REGISTER(address) (*(volatile uint8_t *)(address))
#define SPL REGISTER(0x5d)
#define SPH REGISTER(0x5e)
#define TIFR1 REGISTER(0x36)
#define TIMSK1 REGISTER(0x6f)
#define TCCR1B REGISTER(0x81)
#define TCNT1 (*(volatile uint16_t *)0x84)
#define UCSR0A REGISTER(0xc0)
#define UCSR0B REGISTER(0xc1)
#define UDR0 REGISTER(0xc6)
#define PAINT 0xa5

extern uint8_t gf_paint[];
void gf_entry(void);
void gf_start(void);
void gf_mark(unsigned step);
void gf_overflow(void) __asm__("__vector_15");

{arrays}
static volatile int {result} __attribute__((section(".noinit")));
static volatile uint16_t gf_high __attribute__((section(".noinit")));
static uint32_t gf_times[{steps} + 1] __attribute__((section(".noinit")));

__attribute__((naked, used, section(".vectors"))) void gf_vectors(void)
{{
    __asm__ volatile("jmp gf_entry\\n .fill 14, 4, 0\\n jmp __vector_15");
}}

__attribute__((naked, used)) void gf_entry(void)
{{
    __asm__ volatile("clr r1\\n ldi r28, lo8(gf_stack_top)\\n ldi r29, hi8(gf_stack_top)\\n"
                     " out 0x3e, r29\\n out 0x3d, r28\\n jmp gf_start");
}}

__attribute__((signal, used)) void gf_overflow(void)
{{
    gf_high++;
}}

/* Cycles until now, once the timer runs. */
__attribute__((noinline, used)) void gf_mark(unsigned step)
{{
    __asm__ volatile("cli");
    uint16_t low = TCNT1, high = gf_high;
    if ((TIFR1 & 1u) && low < 0x8000u)
        high++;
    gf_times[step] = (uint32_t)high << 16 | low;
    __asm__ volatile("sei");
}}

static void put(char letter)
{{
    while (!(UCSR0A & 0x20u))
        ;
    UDR0 = (uint8_t)letter;
}}

static void put_bytes(const void *from, unsigned bytes)
{{
    for (unsigned i = 0; i < bytes; i++) {{
        const uint8_t byte = ((const uint8_t *)from)[i];
        put((char)('a' + (byte >> 4)));
        put((char)('a' + (byte & 15u)));
        if (i % 32 == 31)
            put('\\n');
    }}
    put('z');
    put('\\n');
}}

static void fetch(void *to, const void *from, unsigned bytes)
{{
    for (unsigned i = 0; i < bytes; i++) {{
        uint8_t byte;
        __asm__ volatile("lpm %0, Z" : "=r"(byte) : "z"((const uint8_t *)from + i));
        ((uint8_t *)to)[i] = byte;
    }}
}}

__attribute__((noinline, used)) void gf_start(void)
{{
    const uint16_t top = (uint16_t)(SPH << 8 | SPL);
    uint16_t used = 0;
    gf_high = 0;
    for (uint8_t *at = gf_paint; at <= (uint8_t *)top; at++)
        *(volatile uint8_t *)at = PAINT;
{fetches}
    TCNT1 = 0;
    TIMSK1 = {timed};
    TCCR1B = 1;
    {result} = {call};
    TIMSK1 = 0;
    for (uint8_t *at = gf_paint; *(volatile uint8_t *)at == PAINT && at <= (uint8_t *)top; at++)
        used = (uint16_t)(at - gf_paint + 1);
    used = (uint16_t)(top + 1 - (uint16_t)gf_paint - used);
    UCSR0B = 8;
    put_bytes((const void *)&{result}, sizeof {result});
    put_bytes(&used, sizeof used);
    put_bytes(gf_times, sizeof gf_times);
{puts}
    __asm__ volatile("cli");
    REGISTER(0x53) = 1;
    __asm__ volatile("sleep");
}}
"""


def harness_avr(source: Source, profile: bool) -> str:
    """C of the harness: one call of the program on the sample in flash. ``profile``: with the timer's
    interrupt, which takes stack."""
    ports = [(p, f"{INPUT}{i}") for i, p in enumerate(source.inputs)]
    ports += [(p, f"{OUTPUT}{i}") for i, p in enumerate(source.outputs)]
    arrays = [
        f'static {p.c_type} {n}[{p.type.size}] __attribute__((section(".noinit")));' for p, n in ports
    ]
    arrays.append(f'static uint8_t gf_arena[{source.arena_bytes}] __attribute__((section(".noinit")));')
    given = [(f"{GIVEN}{i}", f"{INPUT}{i}") for i in range(len(source.inputs))]
    arrays += [
        f"const {p.c_type} {GIVEN}{i}[{p.type.size}] __attribute__((progmem, used)) = {{0}};"
        for i, p in enumerate(source.inputs)
    ]
    outputs = [f"{OUTPUT}{i}" for i in range(len(source.outputs))]
    return _C.format(
        include=f'#include "{source.name}.h"',
        arrays="\n".join(arrays),
        result=RESULT,
        steps=len(source.steps),
        timed=int(profile),
        fetches="\n".join(f"    fetch({to}, {at}, sizeof {to});" for at, to in given),
        call=f"{source.name}_run({', '.join(n for _, n in ports)}, gf_arena, sizeof gf_arena)",
        puts="\n".join(f"    put_bytes({name}, sizeof {name});" for name in outputs),
    )
