"""Instructions estimated from the plan: the table, its fit, and what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.c99.build import generate
from runtime.serialize import load
from toolchain.mcu.calibrate_speed import Counted, fit
from toolchain.mcu.cores import CORES
from toolchain.mcu.speed import ANY, Effort, effort, works_of

TRAINED = Path(__file__).parents[2] / "sample_models" / "trained"
RUN = [core.name for core in CORES.values() if core.machine]


@pytest.fixture(scope="module")
def source():
    return generate(load(TRAINED / "digits-ternary" / "program.gfold"), "cortex-m4", vectors=0)


@pytest.mark.parametrize("core", RUN)
def test_every_core_that_is_run_has_rates(core):
    found = effort(generate(load(TRAINED / "digits-ternary" / "program.gfold"), core, vectors=0))
    assert found is not None
    assert 1e6 < found.instructions < 3e6
    assert found.instructions <= found.cycles or core == "cortex-m7"


def test_a_core_that_is_not_run_has_no_estimate():
    assert effort(generate(load(TRAINED / "digits-ternary" / "program.gfold"), "avr", vectors=0)) is None


def test_the_time_is_the_cycles_over_the_clock():
    assert Effort(1e6, 1.5e6).milliseconds(100_000_000) == 15


def test_the_fit_finds_the_rates_that_made_the_counts(source):
    works = works_of(source.plan)
    counts = [round(7 * work.amounts[1] + 100) for work in works]
    run = Counted("digits-ternary", source, works, counts, [1.5 * count for count in counts])
    table = fit([run])
    found = effort(source, {"cortex-m4": table})
    assert found is not None
    assert found.instructions == pytest.approx(sum(counts), rel=0.01)
    assert found.cycles == pytest.approx(1.5 * sum(counts), rel=0.01)
    assert all(rate >= 0 for row in table.values() for rate in row["rates"])


def test_a_kind_without_a_row_takes_the_rates_of_all(source):
    rates = [1.0, 2.0, 3.0, 0.5]
    found = effort(source, {"cortex-m4": {ANY: {"rates": rates, "cycles": 2.0}}})
    assert found is not None
    assert found.instructions == pytest.approx(
        sum(float(np.dot(rates, work.common)) for work in works_of(source.plan))
    )
    assert found.cycles == 2 * found.instructions
