"""Generated C on an AVR: compiled by avr-gcc, run by simavr, which emulates the processor."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporters.c99.build import Source
from exporters.c99.folder import KEEP_LOOPS, WARNINGS
from tests import debian
from tests.exporters.c99.natives import call, write

PART = "atmega1284p"
"""A part with 128 KB of flash and 16 KB of RAM, the most that simavr knows."""

PACKAGES = {"avr-gcc": "gcc-avr", "avr-size": "binutils-avr", "simavr": "simavr", "cmake": "cmake"}
LIBRARY = Path("/usr/lib/avr/include/avr/io.h")
MISSING = "these tests need avr-gcc, avr-libc, simavr, cmake: apt-get install gcc-avr avr-libc simavr cmake"

FLAGS = ("-Os", f"-mmcu={PART}", "-std=gnu99", *WARNINGS.split(), KEEP_LOOPS)

MAIN = """#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
{include}

static void put(char letter)
{{
    while (!(UCSR0A & (1 << UDRE0)))
        ;
    UDR0 = letter;
}}

int main(void)
{{
    UCSR0B = 1 << TXEN0;
    int code = {name}_selftest();
    put('=');
    put((char)('0' + code / 10));
    put((char)('0' + code % 10));
    put('\\n');
    cli();
    sleep_mode();
    return 0;
}}
"""


def require_tools() -> None:
    """Fails, and does not skip, where a tool is missing and cannot be installed."""
    for _ in range(2):
        if all(shutil.which(command) for command in PACKAGES) and LIBRARY.is_file():
            return
        debian.install(*PACKAGES.values(), "avr-libc")
    pytest.fail(MISSING, pytrace=False)


def run_selftest(source: Source, folder: Path, language: str = "c", level: str = "-Os") -> int:
    """What the self-test of ``source`` returns. ``language``: ``c`` or ``c++``, of the file with it."""
    require_tools()
    write(source, folder)
    name = source.name
    include = f'#define {name}_NO_MAIN\n#include "{name}_selftest.c"'
    (folder / "main.inc").write_text(MAIN.format(include=include, name=name))
    for file in (f"{name}.c", f"{name}_weights.c"):
        call(["avr-gcc", *FLAGS, level, "-c", file], folder)
    standard = {"c": "-std=gnu99", "c++": "-std=gnu++11"}[language]
    call(
        ["avr-gcc", "-Os", f"-mmcu={PART}", standard, "-x", language, "-c", "main.inc", "-o", "main.o"],
        folder,
    )
    call(
        ["avr-gcc", f"-mmcu={PART}", "main.o", f"{name}.o", f"{name}_weights.o", "-o", "image.elf"], folder
    )
    simulated = subprocess.run(
        ["simavr", "-m", PART, "-f", "16000000", "image.elf"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    found = re.search(r"=(\d\d)", simulated.stdout + simulated.stderr)
    assert found, f"{simulated.stdout[-2000:]}{simulated.stderr[-2000:]}"
    return int(found[1])


def ram_bytes(folder: Path, *objects: str) -> int:
    """Bytes of RAM that object files take: data and bss."""
    rows = [line.split() for line in call(["avr-size", *objects], folder).splitlines()[1:]]
    return sum(int(row[1]) + int(row[2]) for row in rows)
