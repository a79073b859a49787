"""Run an image of AVR in simavr: outputs, cycles by step, stack."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from exporters.c99.build import Port
from exporters.c99.compilers import first_error, workplace
from exporters.tools import require_tool, run_command
from runtime.errors import GatefoldError
from toolchain.mcu.avr import CLOCK_HZ, DATA, GIVEN, PART, RAM_END, SIMAVR
from toolchain.mcu.build import Image
from toolchain.mcu.emulate import Arrays, Run, Spent
from toolchain.mcu.image import linked_symbols, read_elf

TIMEOUT = 600.0
"""Seconds that one sample may take."""

_LINE = re.compile(r"^(?:\x1b\[\d+m)*([a-pz.]+)$", re.MULTILINE)
"""What the harness writes, amid colours of the terminal; simavr shows the ends of lines as dots."""

SLACK = 64
"""Bytes of stack that the harness itself takes, at most."""


class Simulator:
    """An image in simavr; every run starts it anew.

    Raises MissingToolError without simavr, and GatefoldError where the image does not fit it or does not
    run to its end.
    """

    def __init__(self, image: Image) -> None:
        self._where = f"{image.source.name} on {image.core.name}"
        self._simavr = require_tool(SIMAVR, f"running {self._where}")
        self._image = image
        elf = read_elf(image.elf)
        symbols = linked_symbols(image, elf).addresses
        free = RAM_END - (symbols["gf_paint"] - DATA)
        if free < SLACK:
            raise GatefoldError(f"{self._where} does not fit the RAM of {PART}, which simavr emulates")
        self._flash = bytearray(max(s["p_paddr"] + s["p_filesz"] for s in elf.iter_segments()))
        for segment in elf.iter_segments():
            self._flash[segment["p_paddr"] : segment["p_paddr"] + segment["p_filesz"]] = segment.data()
        self._given = [symbols[f"{GIVEN}{number}"] for number in range(len(image.source.inputs))]

    def run(self, inputs: Arrays, count: bool = False) -> Run:
        """Run one sample. ``count``: the cycles of each step, which needs a profiled image."""
        flash = bytearray(self._flash)
        for port, at in zip(self._image.source.inputs, self._given, strict=True):
            content = np.ascontiguousarray(inputs[port.name], port.dtype.newbyteorder("<")).tobytes()
            flash[at : at + len(content)] = content
        result, used, times, *found = self._written(bytes(flash))
        code = int.from_bytes(result, "little", signed=True)
        if code:
            raise GatefoldError(f"{self._where} returned {code} in place of 0; report it with the program")
        ticks = np.frombuffer(times, "<u4").astype(np.int64)
        return Run(
            {p.name: _array(c, p) for p, c in zip(self._image.source.outputs, found, strict=True)},
            tuple(_steps(ticks)) if count else (Spent(),),
            int.from_bytes(used, "little"),
            0,
        )

    def _written(self, flash: bytes) -> list[bytes]:
        """What an image writes: the result, bytes of stack, times, every output."""
        doing = f"running {self._where} in simavr"
        with workplace(doing) as work:
            (work / "image.hex").write_text(intel_hex(flash))
            command = (*self._simavr, "-m", PART, "-f", str(CLOCK_HZ), "image.hex")
            outcome = run_command(command, work, doing, TIMEOUT)
            if outcome.code:
                raise GatefoldError(f"{doing} failed: {first_error(outcome)}")
            written = "".join(_LINE.findall(outcome.output)).replace(".", "")
            parts = written.split("z")[:-1]
            wanted = 3 + len(self._image.source.outputs)
            if len(parts) != wanted:
                raise GatefoldError(f"{self._where} stopped in simavr; report it with the program")
            return [bytes(_byte(pair) for pair in zip(p[::2], p[1::2], strict=True)) for p in parts]


def _byte(letters: tuple[str, str]) -> int:
    high, low = (ord(letter) - ord("a") for letter in letters)
    return high << 4 | low


def _array(content: bytes, port: Port) -> np.ndarray:
    array = np.frombuffer(content, port.dtype.newbyteorder("<"))
    return array.astype(np.int64).reshape(port.type.shape)


def _steps(ticks: np.ndarray) -> Iterator[Spent]:
    """What each step took, by when it began; what came before the first is added to it."""
    ends = ticks[1:]
    yield from (Spent(clocks=int(took)) for took in np.diff(ends, prepend=0))


def intel_hex(content: bytes) -> str:
    """``content`` from address 0 on as Intel HEX."""
    lines = []
    for at in range(0, len(content), 16):
        if at % 0x10000 == 0 and at:
            lines.append(_record(0, 4, (at >> 16).to_bytes(2, "big")))
        lines.append(_record(at & 0xFFFF, 0, content[at : at + 16]))
    return "\n".join([*lines, _record(0, 1, b"")]) + "\n"


def _record(address: int, kind: int, content: bytes) -> str:
    body = bytes([len(content)]) + address.to_bytes(2, "big") + bytes([kind]) + content
    return f":{(body + bytes([-sum(body) & 0xFF])).hex().upper()}"
