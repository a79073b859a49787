"""Quantities of devices as text for people."""

from __future__ import annotations

KIB = 1024


def size(count: float) -> str:
    """Bytes: ``512 B``, ``12.3 KB``, ``1.0 MB`` (of 1024)."""
    if abs(count) < KIB:
        return f"{count:.0f} B"
    return f"{count / KIB:.1f} KB" if abs(count) < KIB * KIB else f"{count / KIB / KIB:.1f} MB"


def number(count: float) -> str:
    """A count with thousands separated."""
    return f"{count:,.0f}"


def square_mm(area: float) -> str:
    """An area given in mm2, to three significant digits."""
    return f"{float(f'{area:.3g}'):,g} mm2"


def joules(nanojoules: float) -> str:
    """An energy given in nJ, to two significant digits: ``3.1 nJ``, ``42 uJ``, ``1.5 mJ``."""
    for factor, unit in ((1e6, "mJ"), (1e3, "uJ"), (1.0, "nJ")):
        if nanojoules >= factor:
            return f"{float(f'{nanojoules / factor:.2g}'):,g} {unit}"
    return f"{float(f'{nanojoules * 1e3:.2g}'):,g} pJ"
