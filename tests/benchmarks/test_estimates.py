"""The table of estimates beside measurements."""

from __future__ import annotations

from benchmarks.estimates import Pair, Row, boards, text_of
from toolchain.devices import DEVICES
from toolchain.mcu.cores import CORES

ROWS = [
    Row(
        "a",
        (2, 3),
        (
            Pair("ge", "sum", 90, 100),
            Pair("flash", "rp2040", 1010, 1000),
            Pair("flash", "esp32-c3", 970, 1000),
            Pair("instructions", "rp2040", 1300, 1000),
        ),
        (1.25, 1.0),
    ),
    Row("b", (0, 4), (Pair("flash", "rp2040", 2000, 2000),), None),
]


def test_each_cell_is_the_largest_deviation_and_the_lines_below_name_it():
    table, _, below = text_of(ROWS).partition("\n\n")
    first, second = table.splitlines()[2:]
    assert "| 2 of 3 | 90 / 100 (-10.0 %) | - | - | 970 / 1,000 (-3.0 %, esp32-c3) | - |" in first
    assert first.endswith("| 1,300 / 1,000 (+30.0 %) | 1.2 / 1.0 |")
    assert second.endswith("| 2,000 / 2,000 (+0.0 %) | - | - | - |")
    lines = below.splitlines()
    assert lines[0] == "GE: largest deviation -10.00 %: a, 90 for 100 (1 comparisons, 1 within 10 %)"
    assert lines[1] == "LUT4: nothing was measured"
    assert "-3.00 %: a on esp32-c3, 970 for 1,000 (3 comparisons, 3 within 10 %)" in lines[3]
    assert "+30.00 %: a on rp2040, 1,300 for 1,000 (1 comparisons, 0 within 10 %)" in lines[5]


def test_every_core_is_measured_on_its_largest_device():
    found = [DEVICES[name] for name in boards()]
    assert {device.target for device in found} >= {core.name for core in CORES.values() if core.machine}
    assert "nano-33-ble" in boards()
