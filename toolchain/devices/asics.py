"""Areas on chips: a process, a cell library, and room for cells and wires."""

from __future__ import annotations

from toolchain.devices.device import asic

ASICS = (
    asic(
        "sky130-caravel",
        130,
        1.8,
        3.7536,
        10.27,
        "SkyWater SKY130 open PDK, library sky130_fd_sc_hd (nand2_1); user area of the Caravel harness, "
        "2.92 mm x 3.52 mm",
    ),
    asic(
        "nangate45-1mm2",
        45,
        0.9,
        0.798,
        1.0,
        "Nangate 45 nm Open Cell Library (NAND2_X1); a square of 1 mm2, at the voltage of its energy",
    ),
)
"""Large nodes first."""
