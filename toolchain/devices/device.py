"""What is known of a device."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.devices.units import KIB

KBIT = 1024


@dataclass(frozen=True, slots=True)
class Device:
    """Limits of one device; a resource it does not have, and a figure that is not known, is 0.

    ``kind``: ``mcu``, ``fpga`` or ``asic``. ``flash_bytes``, ``ram_bytes``: bytes. ``lut``: look-up tables
    of ``lut_inputs`` inputs. ``ff``: flip-flops. ``bram_bits``: bits of block memory of every kind.
    ``dsp``: multipliers. ``clock_hz``: highest specified core clock, 0 where it depends on the design.
    ``source``: the document the limits are from. ``target``: the row of ``exporters.c99.targets.TARGETS``
    that a microcontroller's C is made for. ``flash_base``, ``ram_base``: addresses of its memories.
    ``microamp_per_mhz`` at ``volts``: typical current of the running core. ``area_mm2``: room for cells and
    wires. ``node_nm``: of the process, run at ``volts``. ``nand2_um2``: area of the library's smallest
    two-input NAND, one gate equivalent.
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
    microamp_per_mhz: float = 0.0
    volts: float = 0.0
    area_mm2: float = 0.0
    node_nm: int = 0
    nand2_um2: float = 0.0


def mcu(
    name: str,
    target: str,
    flash: tuple[int, int],
    ram: tuple[float, int],
    mhz: int,
    source: str,
    *aliases: str,
    run: tuple[float, float] = (0.0, 0.0),
) -> Device:
    """A microcontroller; ``flash``, ``ram``: KiB and base address; ``run``: microampere per MHz, volts."""
    return Device(
        name,
        "mcu",
        source,
        flash[0] * KIB,
        int(ram[0] * KIB),
        clock_hz=mhz * 1_000_000,
        aliases=aliases,
        target=target,
        flash_base=flash[1],
        ram_base=ram[1],
        microamp_per_mhz=run[0],
        volts=run[1],
    )


def fpga(
    name: str, lut: int, inputs: int, ff: int, bram_kbit: int, dsp: int, source: str, *aliases: str
) -> Device:
    """An FPGA; ``bram_kbit``: block memory in units of 1,024 bits."""
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


def asic(
    name: str, node_nm: int, volts: float, nand2_um2: float, area_mm2: float, source: str, *aliases: str
) -> Device:
    """An area on a chip of one process and cell library."""
    return Device(
        name,
        "asic",
        source,
        aliases=aliases,
        volts=volts,
        area_mm2=area_mm2,
        node_nm=node_nm,
        nand2_um2=nand2_um2,
    )
