"""Energy of one inference: estimates, each with its range and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.devices.device import Device

FEMTOJOULE_PER_GE = 0.6
REFERENCE_NM, REFERENCE_VOLTS = 45, 0.9
"""Energy of one gate equivalent for one result, at this node and voltage: additions of 8 and of 32 bits
take 0.03 and 0.1 pJ (Horowitz, ISSCC 2014, Figure 1.1.9) and are 45 and 189 GE of adders here, so 0.66 and
0.53 fJ a GE."""

AT_REFERENCE, SCALED, DATA_SHEET = 2.0, 4.0, 2.0
"""Factors by which an estimate may be off, either way: of gates at the reference node; of gates scaled to
another node; of a data sheet's typical current times estimated cycles."""


@dataclass(frozen=True, slots=True)
class Energy:
    """An estimate in nJ, between ``low`` and ``high``. ``basis``: how it is reached, with the source."""

    nanojoules: float
    low: float
    high: float
    basis: str


def _within(nanojoules: float, factor: float, basis: str) -> Energy:
    low, value, high = (float(f"{nanojoules * f:.3g}") for f in (1 / factor, 1.0, factor))
    return Energy(value, low, high, f"{basis}; may be off by a factor of {factor:g}")


def switching_energy(device: Device, ge: float) -> Energy:
    """Of ``ge`` gate equivalents that each compute one result on an ASIC: capacitance grows with the
    feature size, energy with the square of the voltage."""
    scale = device.node_nm / REFERENCE_NM * (device.volts / REFERENCE_VOLTS) ** 2
    exact = (device.node_nm, device.volts) == (REFERENCE_NM, REFERENCE_VOLTS)
    each = FEMTOJOULE_PER_GE * scale
    basis = (
        f"{ge:,.0f} GE x {each:.2g} fJ (adders of Horowitz, ISSCC 2014, {REFERENCE_NM} nm at "
        f"{REFERENCE_VOLTS} V{'' if exact else f', scaled to {device.node_nm} nm at {device.volts} V'}); "
        "cells alone, without clock tree, long wires and leakage"
    )
    return _within(ge * each * 1e-6, AT_REFERENCE if exact else SCALED, basis)


def running_energy(device: Device, cycles: float) -> Energy | None:
    """Of ``cycles`` clock cycles of a microcontroller's core; None where no current is on record."""
    if not device.microamp_per_mhz:
        return None
    basis = (
        f"{cycles:,.0f} estimated cycles x {device.microamp_per_mhz:g} uA/MHz at {device.volts:g} V "
        f"({device.source}); the core alone, without peripherals and sleep"
    )
    return _within(cycles * device.microamp_per_mhz * device.volts * 1e-3, DATA_SHEET, basis)
