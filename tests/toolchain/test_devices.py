"""The device table and its verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import InputError
from toolchain.devices import DEVICES, Logic, Needs, find, fitting, joules, judge, running_energy

KB = 1024
SMALL = Needs(
    4 * KB, KB, 768, Logic({4: 3000, 6: 2000}, 100, 1e4), Logic({4: 9000, 6: 6000}, 900, 3e6), "conv1"
)


def test_table_has_the_common_targets_with_their_limits():
    limits = {
        "nano-33-ble": (1024 * KB, 256 * KB),
        "stm32f103c8": (64 * KB, 20 * KB),
        "atmega328p": (32 * KB, 2 * KB),
    }
    for name, (flash, ram) in limits.items():
        assert (DEVICES[name].flash_bytes, DEVICES[name].ram_bytes) == (flash, ram)
    assert (DEVICES["ice40up5k"].lut, DEVICES["ice40up5k"].lut_inputs) == (5280, 4)
    assert DEVICES["ice40up5k"].bram_bits == (120 + 1024) * 1024
    assert (DEVICES["artix7-35t"].lut, DEVICES["artix7-35t"].lut_inputs) == (20800, 6)


@pytest.mark.parametrize("name", DEVICES)
def test_every_row_is_complete(name):
    device = DEVICES[name]
    assert name == device.name == name.lower()
    assert len(device.source) > 10
    needed = {
        "mcu": (device.flash_bytes, device.ram_bytes, device.clock_hz),
        "fpga": (device.lut, device.ff, device.bram_bits, device.lut_inputs in (4, 6)),
        "asic": (device.area_mm2, device.node_nm, device.nand2_um2, device.volts),
    }
    assert min(needed[device.kind]) > 0
    assert (device.microamp_per_mhz > 0) <= (device.volts > 0)


def test_there_are_enough_of_each_kind():
    kinds = Counter(device.kind for device in DEVICES.values())
    assert kinds["mcu"] + kinds["fpga"] >= 25
    assert kinds["asic"] >= 2


def test_the_page_of_devices_is_that_of_the_table():
    page = (Path(__file__).parents[2] / "docs/devices.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in page.splitlines() if len(cells := line.split("|")) == 7}
    for name, device in DEVICES.items():
        _, _, kind, limits, source, aliases, _ = rows[name]
        assert (kind.strip(), source.strip()) == (device.kind, device.source)
        assert aliases.strip() == ", ".join(f"`{alias}`" for alias in device.aliases)
        for count in (device.lut, device.ff, device.bram_bits // 1024, device.clock_hz // 10**6):
            assert not count or f"{count:,}" in limits, (name, count)


def test_names_and_aliases_are_unique():
    names = [name for device in DEVICES.values() for name in (device.name, *device.aliases)]
    assert len(names) == len(set(names))


def test_find_by_alias_case_and_spaces():
    assert find("nRF52840") is find("Arduino Nano 33 BLE") is DEVICES["nano-33-ble"]


def test_unknown_device_lists_the_known_ones():
    with pytest.raises(InputError, match=r"device must be one of atmega328p, atmega32u4, .*, not 'pdp-11'"):
        find("pdp-11")


def test_microcontroller_that_fits():
    verdict = judge(DEVICES["atmega328p"], SMALL)
    assert verdict.fits
    assert verdict.verdict == "fits: flash 4.0 KB of 32.0 KB (12 %); RAM 1.0 KB of 2.0 KB (50 %)"
    assert (verdict.flash_used, verdict.ram_used, verdict.lut_used) == (4 * KB, KB, None)


def test_microcontroller_without_enough_ram_says_how_much_and_where():
    verdict = judge(DEVICES["atmega328p"], replace(SMALL, ram_bytes=5 * KB))
    assert not verdict.fits
    assert verdict.verdict == (
        "does not fit: RAM short by 3.0 KB (RAM 5.0 KB of 2.0 KB): store fewer channels or bits around "
        "'conv1', where most is live (by a factor of 2.5)"
    )


def test_everything_that_is_short_is_named():
    verdict = judge(DEVICES["ch32v003"], replace(SMALL, flash_bytes=20 * KB, ram_bytes=3 * KB))
    assert "flash short by 4.0 KB" in verdict.verdict
    assert "RAM short by 1.0 KB" in verdict.verdict


def test_exactly_full_fits_and_one_byte_more_does_not():
    full = replace(SMALL, flash_bytes=32 * KB, ram_bytes=2 * KB)
    assert judge(DEVICES["atmega328p"], full).fits
    verdict = judge(DEVICES["atmega328p"], replace(full, ram_bytes=2 * KB + 1))
    assert not verdict.fits
    assert "RAM short by 1 B" in verdict.verdict
    assert "by a factor of 1.1" in verdict.verdict


def test_fpga_counts_its_own_luts_and_mentions_the_parallel_circuit():
    verdict = judge(DEVICES["ice40up5k"], SMALL)
    assert verdict.fits
    assert verdict.lut_used == 3000
    assert verdict.ram_used == 768
    assert verdict.flash_used is None
    assert verdict.verdict == (
        "fits: LUT4 3,000 of 5,280 (57 %); flip-flops 100 of 5,280 (2 %); "
        "block memory 768 B of 143.0 KB (1 %); one position at a time, its "
        "control not counted; the fully parallel circuit does not fit (9,000 LUTs)"
    )
    artix = judge(DEVICES["artix7-35t"], SMALL)
    assert artix.lut_used == 2000
    assert artix.verdict.endswith("the fully parallel circuit fits too (6,000 LUTs)")


def test_fpga_that_is_too_small():
    verdict = judge(DEVICES["ice40up5k"], replace(SMALL, one_position=Logic({4: 10560, 6: 8000}, 100)))
    assert verdict.verdict == (
        "does not fit: LUT4 short by 5,280 (LUT4 10,560 of 5,280): prune weights or use fewer channels "
        "(by a factor of 2); one position at a time, its "
        "control not counted; the fully parallel circuit does not fit (9,000 LUTs)"
    )


def test_area_of_a_chip_holds_the_circuit_and_flip_flops_for_the_activations():
    verdict = judge(DEVICES["nangate45-1mm2"], SMALL)
    assert verdict.fits
    assert verdict.area_used == pytest.approx((1e4 + 8 * 768 * 5.67) * 0.798 / 0.7 * 1e-6)
    assert verdict.verdict == (
        "fits: area 0.0511 mm2 of 1 mm2 (5 %); one position at a time, its "
        "control not counted; the fully parallel circuit does not fit (3.42 mm2)"
    )
    full = judge(DEVICES["nangate45-1mm2"], replace(SMALL, arena_bytes=30000))
    assert full.verdict.startswith("does not fit: area short by 0.563 mm2 (area 1.56 mm2 of 1 mm2): prune")


def test_energy_of_gates_grows_with_the_node_and_the_square_of_the_voltage():
    small, large = (judge(DEVICES[name], SMALL).energy for name in ("nangate45-1mm2", "sky130-caravel"))
    assert (small.nanojoules, small.low, small.high) == (1.8, 0.9, 3.6)
    assert large.nanojoules == pytest.approx(1.8 * 130 / 45 * 4, rel=0.01)
    assert large.high / large.nanojoules == pytest.approx(4, rel=0.01)
    assert "Horowitz, ISSCC 2014" in small.basis
    assert "scaled to 130 nm at 1.8 V" in large.basis


def test_energy_of_a_core_is_its_current_times_its_cycles():
    energy = running_energy(DEVICES["nano-33-ble"], 1e6)
    assert energy.nanojoules == pytest.approx(1e6 * 52e-6 / 1e6 * 3.0 * 1e9)
    assert "52 uA/MHz at 3 V (Nordic nRF52840 product specification)" in energy.basis
    assert "factor of 2" in energy.basis
    assert running_energy(DEVICES["rp2040"], 1e6) is None


@pytest.mark.parametrize(
    ("nanojoules", "text"), [(0.0212, "21 pJ"), (3.14, "3.1 nJ"), (42000, "42 uJ"), (1.5e6, "1.5 mJ")]
)
def test_energies_have_two_digits_and_a_unit(nanojoules, text):
    assert joules(nanojoules) == text


def test_what_fits_is_counted_by_kind():
    found = fitting({"atmega328p": False, "rp2040": True, "ice40up5k": False, "sky130-caravel": True})
    assert found == "1 of 2 microcontrollers, 0 of 1 FPGAs and 1 of 1 chip areas"
    assert fitting({"zynq-7020": True}) == "1 of 1 FPGAs"
