"""Devices a program may go to, with the source of every limit, and whether it fits.

To add one, add a row to ``DEVICES``: docs/devices.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import InputError

KIB = 1024
KBIT = 1024


@dataclass(frozen=True, slots=True)
class Device:
    """Limits of one device; a resource it does not have is 0.

    ``kind``: ``mcu`` or ``fpga``. ``flash_bytes``, ``ram_bytes``: bytes. ``lut``: look-up tables of
    ``lut_inputs`` inputs. ``ff``: flip-flops. ``bram_bits``: bits of block memory of every kind.
    ``dsp``: multipliers. ``clock_hz``: highest specified core clock, 0 where it depends on the design.
    ``source``: the document the limits are from. ``target``: the row of ``exporters.c99.targets.TARGETS``
    that a microcontroller's C is made for. ``flash_base``, ``ram_base``: addresses of its memories.
    """

    name: str
    kind: str
    source: str
    flash_bytes: int = 0
    ram_bytes: int = 0
    lut: int = 0
    lut_inputs: int = 0
    ff: int = 0
    bram_bits: int = 0
    dsp: int = 0
    clock_hz: int = 0
    aliases: tuple[str, ...] = ()
    target: str = ""
    flash_base: int = 0
    ram_base: int = 0


@dataclass(frozen=True, slots=True)
class Logic:
    """What a circuit takes of an FPGA: look-up tables by their number of inputs, and flip-flops."""

    luts: Mapping[int, int]
    registers: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a program takes: bytes, the logic of both circuits, and at which value most memory is live.

    ``basis``: how flash and RAM of a microcontroller are known, for its verdict.
    """

    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    one_position: Logic
    parallel: Logic
    peak: str
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program fits, in one line, and what it takes; None where a device has no such resource.

    ``source``: ``estimated`` or ``measured``, what the verdict rests on. ``estimated``, ``measured``: plain
    JSON of a microcontroller's figures, None where there are none.
    """

    fits: bool
    verdict: str
    flash_used: int | None
    ram_used: int | None
    lut_used: int | None
    source: str = "estimated"
    estimated: Mapping[str, Any] | None = None
    measured: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def _mcu(
    name: str,
    target: str,
    flash: tuple[int, int],
    ram: tuple[int, int],
    mhz: int,
    source: str,
    *aliases: str,
) -> Device:
    """A microcontroller; ``flash``, ``ram``: KiB and base address."""
    return Device(
        name,
        "mcu",
        source,
        flash[0] * KIB,
        ram[0] * KIB,
        clock_hz=mhz * 1_000_000,
        aliases=aliases,
        target=target,
        flash_base=flash[1],
        ram_base=ram[1],
    )


def _fpga(
    name: str, lut: int, inputs: int, ff: int, bram_kbit: int, dsp: int, source: str, *aliases: str
) -> Device:
    return Device(
        name,
        "fpga",
        source,
        lut=lut,
        lut_inputs=inputs,
        ff=ff,
        bram_bits=bram_kbit * KBIT,
        dsp=dsp,
        aliases=aliases,
    )


_ROWS = (
    _mcu(
        "atmega328p",
        "avr",
        (32, 0),
        (2, 0x100),
        20,
        "Microchip ATmega328P data sheet DS40002061",
        "arduino-uno",
    ),
    _mcu("ch32v003", "rv32ec", (16, 0x08000000), (2, 0x20000000), 48, "WCH CH32V003 data sheet"),
    _mcu(
        "stm32f103c8",
        "cortex-m3",
        (64, 0x08000000),
        (20, 0x20000000),
        72,
        "ST STM32F103x8/xB data sheet DS5319",
        "stm32f103",
        "blue-pill",
    ),
    _mcu(
        "rp2040",
        "cortex-m0plus",
        (2048, 0x10000000),
        (264, 0x20000000),
        133,
        "Raspberry Pi RP2040 and Pico data sheets (2 MB flash on the Pico)",
        "pico",
    ),
    _mcu(
        "nano-33-ble",
        "cortex-m4",
        (1024, 0),
        (256, 0x20000000),
        64,
        "Nordic nRF52840 product specification",
        "nrf52840",
        "arduino-nano-33-ble",
    ),
    _mcu(
        "esp32-c3",
        "rv32imc",
        (4096, 0x42000000),
        (384, 0x3FC80000),
        160,
        "Espressif ESP32-C3 data sheet (FH4: 4 MB flash; 400 KB SRAM less 16 KB of cache)",
    ),
    _mcu(
        "stm32h743",
        "cortex-m7",
        (2048, 0x08000000),
        (1024, 0x24000000),
        480,
        "ST STM32H743 data sheet DS12110",
    ),
    _fpga(
        "ice40up5k",
        5280,
        4,
        5280,
        120 + 1024,
        8,
        "Lattice iCE40 UltraPlus data sheet FPGA-DS-02008 (120 kbit EBR, 1 Mbit SPRAM)",
    ),
    _fpga("ice40hx8k", 7680, 4, 7680, 128, 0, "Lattice iCE40 LP/HX data sheet FPGA-DS-02029"),
    _fpga("ecp5-25f", 24288, 4, 24288, 1008, 28, "Lattice ECP5 data sheet FPGA-DS-02012 (LFE5U-25F)"),
    _fpga(
        "artix7-35t",
        20800,
        6,
        41600,
        1800,
        90,
        "AMD 7 Series overview DS180 (XC7A35T)",
        "artix-7-35t",
        "arty-a7-35t",
    ),
    _fpga("zynq-7020", 53200, 6, 106400, 5040, 220, "AMD Zynq-7000 overview DS190 (XC7Z020)", "pynq-z2"),
)

DEVICES: dict[str, Device] = {device.name: device for device in _ROWS}
"""Every known device by name."""


def find(name: str) -> Device:
    """The device of that name or alias, in any case and with spaces for hyphens.

    Raises InputError listing the known ones.
    """
    wanted = name.lower().replace(" ", "-")
    for device in DEVICES.values():
        if wanted == device.name or wanted in device.aliases:
            return device
    raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")


def size(count: float) -> str:
    """Bytes for people: ``512 B``, ``12.3 KB``, ``1.0 MB`` (of 1024)."""
    if abs(count) < KIB:
        return f"{count:.0f} B"
    return f"{count / KIB:.1f} KB" if abs(count) < KIB * KIB else f"{count / KIB / KIB:.1f} MB"


def number(count: float) -> str:
    """A count with thousands separated."""
    return f"{count:,.0f}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One line of a verdict: what is used of what limit, how to write it, and what would help."""

    name: str
    used: int
    limit: int
    text: Callable[[float], str]
    remedy: str

    @property
    def fits(self) -> bool:
        """Whether the limit holds."""
        return self.used <= self.limit

    def __str__(self) -> str:
        share = f"{self.name} {self.text(self.used)} of {self.text(self.limit)}"
        if self.fits:
            return f"{share} ({100 * self.used / self.limit:.0f} %)"
        factor = math.ceil(10 * self.used / self.limit) / 10
        short = self.text(self.used - self.limit)
        return f"{self.name} short by {short} ({share}): {self.remedy} (by a factor of {factor:,g})"


def _line(resources: list[Resource], note: str = "") -> str:
    missing = [r for r in resources if not r.fits]
    verdict = "does not fit" if missing else "fits"
    return f"{verdict}: " + "; ".join(map(str, missing or resources)) + note


def _around(needs: Needs) -> str:
    return f"store fewer channels or bits around {needs.peak!r}, where most is live"


def _judge_mcu(device: Device, needs: Needs) -> Verdict:
    prune = "prune channels or use fewer weight levels"
    resources = [
        Resource("flash", needs.flash_bytes, device.flash_bytes, size, prune),
        Resource("RAM", needs.ram_bytes, device.ram_bytes, size, _around(needs)),
    ]
    fits = all(r.fits for r in resources)
    note = f"; {needs.basis}" if needs.basis else ""
    return Verdict(fits, _line(resources, note), needs.flash_bytes, needs.ram_bytes, None)


def _judge_fpga(device: Device, needs: Needs) -> Verdict:
    luts, whole = needs.one_position.luts[device.lut_inputs], needs.parallel.luts[device.lut_inputs]
    resources = [
        Resource(
            f"LUT{device.lut_inputs}", luts, device.lut, number, "prune weights or use fewer channels"
        ),
        Resource("flip-flops", needs.one_position.registers, device.ff, number, "use fewer channels"),
        Resource("block memory", needs.arena_bytes, device.bram_bits // 8, size, _around(needs)),
    ]
    also = whole <= device.lut and needs.parallel.registers <= device.ff
    note = f"; the fully parallel circuit {'fits too' if also else 'does not fit'} ({number(whole)} LUTs)"
    return Verdict(all(r.fits for r in resources), _line(resources, note), None, needs.arena_bytes, luts)


JUDGES: dict[str, Callable[[Device, Needs], Verdict]] = {"mcu": _judge_mcu, "fpga": _judge_fpga}
"""How each kind of device is judged."""


def judge(device: Device, needs: Needs) -> Verdict:
    """Whether ``needs`` fit ``device``: flash and RAM of a microcontroller; on an FPGA the LUTs and
    flip-flops of the circuit of one position, and block memory for the activations (the weights are in
    the logic)."""
    return JUDGES[device.kind](device, needs)
