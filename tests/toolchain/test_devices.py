"""The device table and its verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.errors import InputError
from toolchain.devices import DEVICES, Logic, Needs, find, judge

KB = 1024
SMALL = Needs(4 * KB, KB, 768, Logic({4: 3000, 6: 2000}, 100), Logic({4: 9000, 6: 6000}, 900), "conv1")


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
    if device.kind == "mcu":
        assert min(device.flash_bytes, device.ram_bytes, device.clock_hz) > 0
    else:
        assert device.kind == "fpga"
        assert device.lut_inputs in (4, 6)
        assert min(device.lut, device.ff, device.bram_bits) > 0


def test_names_and_aliases_are_unique():
    names = [name for device in DEVICES.values() for name in (device.name, *device.aliases)]
    assert len(names) == len(set(names))


def test_find_by_alias_case_and_spaces():
    assert find("nRF52840") is find("Arduino Nano 33 BLE") is DEVICES["nano-33-ble"]


def test_unknown_device_lists_the_known_ones():
    with pytest.raises(InputError, match=r"device must be one of atmega328p, ch32v003, .*, not 'pdp-11'"):
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
        "block memory 768 B of 143.0 KB (1 %); the fully parallel circuit does not fit (9,000 LUTs)"
    )
    artix = judge(DEVICES["artix7-35t"], SMALL)
    assert artix.lut_used == 2000
    assert artix.verdict.endswith("the fully parallel circuit fits too (6,000 LUTs)")


def test_fpga_that_is_too_small():
    verdict = judge(DEVICES["ice40up5k"], replace(SMALL, one_position=Logic({4: 10560, 6: 8000}, 100)))
    assert verdict.verdict == (
        "does not fit: LUT4 short by 5,280 (LUT4 10,560 of 5,280): prune weights or use fewer channels "
        "(by a factor of 2); the fully parallel circuit does not fit (9,000 LUTs)"
    )
