"""Estimates without a compiler against the compiled images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.errors import InputError
from tests.exporters.c99.avrs import require_tools
from tests.toolchain.mcu_builds import image, program, source
from toolchain.mcu.calibrate import deviations, fit, sample, untrained
from toolchain.mcu.cores import CORES
from toolchain.mcu.estimate import _tables, estimate, features
from toolchain.mcu.image import measure_sizes, ports_bytes

LIMIT = 0.03
"""How far an estimate of flash or RAM may be off."""


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    require_tools()


@pytest.mark.parametrize("core", CORES)
def test_an_estimate_is_within_three_percent(core: str) -> None:
    guess, sizes = estimate(source(core)), measure_sizes(image(core))
    flash, ram = deviations(guess, sizes)
    assert abs(flash) < LIMIT, (guess, sizes)
    assert abs(ram) < LIMIT, (guess, sizes)
    assert (guess.arena, guess.ports) == (sizes.arena, sizes.ports)


@pytest.mark.parametrize("name", ["fashion-or", "fashion-resnet-quotient", "fashion-quaternion"])
def test_other_networks_are_within_three_percent(name: str) -> None:
    guess, sizes = estimate(source("cortex-m4", name)), measure_sizes(image("cortex-m4", name=name))
    assert max(map(abs, deviations(guess, sizes))) < LIMIT, (guess, sizes)


@pytest.mark.parametrize("core", ["cortex-m4", "rv32ec"])
def test_an_untrained_network_is_within_three_percent(core: str) -> None:
    """Most of its statements multiply, shift and clip, which the RV32EC does in many instructions."""
    found = sample(untrained("resnet-8-digits"), CORES[core])
    assert found is not None
    assert max(map(abs, deviations(estimate(found.source), found.sizes))) < LIMIT


def test_the_table_is_of_these_kernels_and_this_compiler() -> None:
    kernels = _tables()["cortex-m4"]["kernels"]
    found = sample(program("fashion-or"), CORES["cortex-m4"])
    assert found is not None
    measured = fit([found])["kernels"]
    several = {name: row["many"] for name, row in measured.items() if "many" in row}
    assert "gf_columns_run" in several
    for name, row in several.items():
        assert row["bytes"] == pytest.approx(kernels[name]["many"]["bytes"], rel=0.05), name
        assert row["frame"] == pytest.approx(kernels[name]["many"]["frame"], abs=16), name


def test_a_table_fits_what_it_was_made_from() -> None:
    found = sample(program(), CORES["avr"])
    assert found is not None
    guess = estimate(found.source, {"avr": fit([found])})
    assert max(map(abs, deviations(guess, found.sizes))) < 0.001


def test_features_are_of_statements_not_of_tables() -> None:
    found = features(source("cortex-m4"))
    assert found.tables["gf_columns_layer"] >= 1
    assert found.tables["gf_columns_layer"] == found.calls["gf_columns_run"]
    assert found.tables["gf_window"] >= found.calls["gf_words_pool"] >= 1
    assert 500 < found.tokens < 2000
    assert not found.divides
    assert features(source("cortex-m4", "fashion-vit")).divides


def test_features_count_what_is_inlined_at_every_call() -> None:
    plain, shifting = source("cortex-m4", "fashion-or"), source("cortex-m4", "fashion-resnet-linear")
    assert features(plain).inlined == 0
    assert features(shifting).calls["gf_shift_right"] == 3
    assert features(shifting).inlined == 3 * 19, "tokens of gf_shift_right"


def test_a_kernel_without_an_entry_counts_as_a_usual_one() -> None:
    row = dict(_tables()["cortex-m4"])
    row["kernels"] = {name: entry for name, entry in row["kernels"].items() if name != "gf_lanes_of_words"}
    known = estimate(source("cortex-m4")).code
    assert estimate(source("cortex-m4"), {"cortex-m4": row}).code == pytest.approx(known, rel=0.3)


def test_a_target_without_a_table_is_refused() -> None:
    other = replace(source("cortex-m4"), target=replace(source("cortex-m4").target, name="z80"))
    with pytest.raises(InputError, match=r"^sizes are known for avr, .*, not for target 'z80'$"):
        estimate(other)


def test_ports_are_one_sample_of_every_array() -> None:
    assert ports_bytes(source("cortex-m4")) == 64 + 10 + 1
