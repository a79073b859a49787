"""Whether a program fits a device, in one line that says what is short and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from toolchain.devices.device import Device
from toolchain.devices.energy import Energy, switching_energy
from toolchain.devices.units import number, size, square_mm


@dataclass(frozen=True, slots=True)
class Logic:
    """What a circuit takes: look-up tables by their number of inputs and flip-flops of an FPGA, gate
    equivalents of an ASIC."""

    luts: Mapping[int, int]
    registers: int
    ge: float = 0.0


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
    JSON of a microcontroller's figures, None where there are none. ``area_used``: mm2 of an ASIC.
    ``energy``: of one inference, None where there is nothing to estimate it from.
    """

    fits: bool
    verdict: str
    flash_used: int | None
    ram_used: int | None
    lut_used: int | None
    source: str = "estimated"
    estimated: Mapping[str, Any] | None = None
    measured: Mapping[str, Any] | None = None
    area_used: float | None = None
    energy: Energy | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Resource:
    """One line of a verdict: what is used of what limit, how to write it, and what would help."""

    name: str
    used: float
    limit: float
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
    also_fits = "fits too" if also else "does not fit"
    note = f"; {REUSED}; the fully parallel circuit {also_fits} ({number(whole)} LUTs)"
    return Verdict(all(r.fits for r in resources), _line(resources, note), None, needs.arena_bytes, luts)


REUSED = "one position at a time, its control not counted"
"""Which circuit a verdict on logic is about."""

UTILIZATION = 0.7
"""Share of an area that standard cells fill; the rest is for wires, clock tree and power."""

ARENA_BIT_GE = 5.67
"""Of an activation held in a flip-flop: no memory compiler is assumed."""


def _judge_asic(device: Device, needs: Needs) -> Verdict:
    def area(ge: float) -> float:
        return ge * device.nand2_um2 / UTILIZATION * 1e-6

    used, whole = (
        area(needs.one_position.ge + 8 * needs.arena_bytes * ARENA_BIT_GE),
        area(needs.parallel.ge),
    )
    room = Resource("area", used, device.area_mm2, square_mm, "prune weights or use fewer channels")
    also = "fits too" if whole <= device.area_mm2 else "does not fit"
    note = f"; {REUSED}; the fully parallel circuit {also} ({square_mm(whole)})"
    verdict = Verdict(room.fits, _line([room], note), None, needs.arena_bytes, None)
    return replace(verdict, area_used=used, energy=switching_energy(device, needs.parallel.ge))


JUDGES: dict[str, Callable[[Device, Needs], Verdict]] = {
    "mcu": _judge_mcu,
    "fpga": _judge_fpga,
    "asic": _judge_asic,
}
"""How each kind of device is judged."""


def judge(device: Device, needs: Needs) -> Verdict:
    """Whether ``needs`` fit ``device``: flash and RAM of a microcontroller; on an FPGA the LUTs and
    flip-flops of the circuit of one position, and block memory for the activations (the weights are in
    the logic); of an ASIC the area of that circuit with flip-flops for the activations."""
    return JUDGES[device.kind](device, needs)
