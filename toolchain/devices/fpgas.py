"""FPGAs."""

from __future__ import annotations

from toolchain.devices.device import fpga

FPGAS = (
    fpga("ice40lp1k", 1280, 4, 1280, 64, 0, "Lattice iCE40 LP/HX data sheet FPGA-DS-02029", "ice40hx1k"),
    fpga(
        "ice40up5k",
        5280,
        4,
        5280,
        120 + 1024,
        8,
        "Lattice iCE40 UltraPlus data sheet FPGA-DS-02008 (120 kbit EBR, 1 Mbit SPRAM)",
    ),
    fpga("ice40hx8k", 7680, 4, 7680, 128, 0, "Lattice iCE40 LP/HX data sheet FPGA-DS-02029"),
    fpga("machxo2-7000", 6864, 4, 6864, 240, 0, "Lattice MachXO2 data sheet FPGA-DS-02056"),
    fpga("10m08", 8064, 4, 8064, 378, 24, "Intel MAX 10 device overview M10-OVERVIEW (10M08)", "max10-08"),
    fpga("gw1nr-9", 8640, 4, 6480, 468, 20, "Gowin GW1NR data sheet DS117 (GW1NR-9)", "tang-nano-9k"),
    fpga("gw2ar-18", 20736, 4, 15552, 828, 48, "Gowin GW2AR data sheet DS226 (GW2AR-18)", "tang-nano-20k"),
    fpga("ep4ce22", 22320, 4, 22320, 594, 66, "Intel Cyclone IV handbook CYIV-51001 (EP4CE22)", "de0-nano"),
    fpga("ecp5-25f", 24288, 4, 24288, 1008, 28, "Lattice ECP5 data sheet FPGA-DS-02012 (LFE5U-25F)"),
    fpga("ecp5-45f", 43848, 4, 43848, 1944, 72, "Lattice ECP5 data sheet FPGA-DS-02012 (LFE5U-45F)"),
    fpga(
        "ecp5-85f",
        83640,
        4,
        83640,
        3744,
        156,
        "Lattice ECP5 data sheet FPGA-DS-02012 (LFE5U-85F)",
        "ulx3s-85f",
    ),
    fpga("spartan7-15", 8000, 6, 16000, 360, 20, "AMD 7 Series overview DS180 (XC7S15)", "xc7s15"),
    fpga("spartan7-50", 32600, 6, 65200, 2700, 120, "AMD 7 Series overview DS180 (XC7S50)", "xc7s50"),
    fpga(
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
    fpga(
        "artix7-100t", 63400, 6, 126800, 4860, 240, "AMD 7 Series overview DS180 (XC7A100T)", "arty-a7-100t"
    ),
    fpga("zynq-7020", 53200, 6, 106400, 5040, 220, "AMD Zynq-7000 overview DS190 (XC7Z020)", "pynq-z2"),
    fpga(
        "zu3eg", 70560, 6, 141120, 7776, 360, "AMD Zynq UltraScale+ overview DS891 (XCZU3EG)", "ultra96-v2"
    ),
)
"""In order of their look-up tables: of 4 inputs, then of 6."""
