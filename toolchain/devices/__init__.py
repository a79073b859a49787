"""Devices a program may go to, with the source of every limit, and whether it fits.

To add one, add a row to ``MCUS``, ``FPGAS`` or ``ASICS``: docs/devices.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from runtime.errors import InputError, meant
from toolchain.devices.asics import ASICS
from toolchain.devices.device import Device
from toolchain.devices.energy import Energy, running_energy
from toolchain.devices.fpgas import FPGAS
from toolchain.devices.mcus import MCUS
from toolchain.devices.units import joules, number, size, square_mm
from toolchain.devices.verdicts import Logic, Needs, Verdict, judge

__all__ = [
    "DEVICES",
    "Device",
    "Energy",
    "Logic",
    "Needs",
    "Verdict",
    "find",
    "fitting",
    "joules",
    "judge",
    "number",
    "running_energy",
    "size",
    "square_mm",
]

DEVICES: dict[str, Device] = {device.name: device for device in (*MCUS, *FPGAS, *ASICS)}
"""Every known device by name."""


def find(name: str) -> Device:
    """The device of that name or alias, in any case and with spaces for hyphens.

    Raises InputError listing the known ones.
    """
    wanted = name.lower().replace(" ", "-")
    for device in DEVICES.values():
        if wanted == device.name or wanted in device.aliases:
            return device
    hint = meant(wanted, DEVICES)
    raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name!r:.80}{hint}")


PLURALS = {"mcu": "microcontrollers", "fpga": "FPGAs", "asic": "chip areas"}


def fitting(devices: Mapping[str, bool]) -> str:
    """How many of each kind fit: ``13 of 22 microcontrollers and 0 of 17 FPGAs``. ``devices``: by name."""
    judged = Counter(DEVICES[name].kind for name in devices)
    fit = Counter(DEVICES[name].kind for name, fits in devices.items() if fits)
    parts = [f"{fit[kind]} of {judged[kind]} {words}" for kind, words in PLURALS.items() if judged[kind]]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)
