"""Designs with registers in every place, in a real simulator: bubbles, pauses, resets, borders and
skips."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.netlist.stages import stages
from exporters.verilog.executor import VerilogExecutor
from exporters.verilog.timing import Pipelining, fewest_levels
from exporters.verilog.wiring import whole_plan, wire
from runtime.errors import TooLargeError
from tests.exporters.verilog.networks import COMBINATIONAL, LAYERS, designed, expected, skip_network

PROGRAM = skip_network()

PIPELINES = {
    "combinational": COMBINATIONAL,
    "layers": LAYERS,
    "3 levels": Pipelining(clocked=True, levels=3),
    "8 levels": Pipelining(clocked=True, levels=8),
    "outputs alone": Pipelining(clocked=True),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_computes_the_program(name: str) -> None:
    inputs, wanted = expected(PROGRAM, 200)
    executor = VerilogExecutor(PROGRAM, pipelining=PIPELINES[name])
    found = executor.run(inputs)
    for value, array in wanted.items():
        assert np.array_equal(found[value], array), value
        assert len(np.unique(array)) > 1


@pytest.mark.parametrize(("name", "tables"), [("layers", 4), ("3 levels", 6)])
def test_look_up_tables_compute_the_program(name: str, tables: int) -> None:
    inputs, wanted = expected(PROGRAM, 200)
    executor = VerilogExecutor(PROGRAM, pipelining=PIPELINES[name], tables=tables)
    assert executor.design.counts[f"table of {tables}"]
    found = executor.run(inputs)
    assert all(np.array_equal(found[value], array) for value, array in wanted.items())


def test_a_deeper_pipeline_has_shorter_paths() -> None:
    wiring = wire(whole_plan(stages(PROGRAM)), "net", "gates")
    found = [(d, fewest_levels(wiring, d)) for d in (1, 2, 3, 5, 8)]
    timings = [designed(PROGRAM, pipelining).timing for _, pipelining in found]
    assert all(t.latency <= d for t, (d, _) in zip(timings, found, strict=True))
    assert all(t.levels <= p.levels for t, (_, p) in zip(timings, found, strict=True) if p.levels)
    levels = [t.levels for t in timings]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] < levels[0] / 4


def test_what_is_read_later_waits_in_registers() -> None:
    design = designed(PROGRAM, LAYERS)
    assert design.latency == 7  # stem, hidden, branch, skip, pool, scores, class
    delays = {
        design.wiring.vectors[taps[0].vector].value: [tap.clocks - taps[0].clocks for tap in taps[1:]]
        for taps in design.taps
    }
    assert delays == {"image": [], "stem": [2], "hidden": [], "branch": [], "skip": [], "pool": []} | {
        "scores": [1],
        "class": [],
    }


def test_combinational_designs_have_no_clock_and_no_register() -> None:
    design = designed(PROGRAM, COMBINATIONAL)
    assert design.latency == 0
    assert design.counts["register"] == 0


def test_an_empty_batch_has_empty_results() -> None:
    executor = VerilogExecutor(PROGRAM)
    found = executor.run({"image": np.zeros((0, 2, 4, 4), np.int64)})
    assert {name: array.shape for name, array in found.items()} == {"scores": (0, 4), "class": (0,)}


def test_a_network_too_large_to_simulate_is_said_at_once() -> None:
    with pytest.raises(TooLargeError) as error:
        VerilogExecutor(PROGRAM, limit=100)
    bits = sum(
        stage.positions * np.count_nonzero(stage.local.op.weights.codes)
        for stage in stages(PROGRAM).circuits
        if hasattr(stage.local.op, "weights")
    )
    assert str(error.value).startswith(
        "a simulated design may add up at most 100 bits, and all positions of 'skip' have "
    )
    assert bits > 100
    assert str(error.value).endswith(
        "; the executor netlist runs it, and a testbench of one layer comes with "
        "`gatefold export --to verilog --part`"
    )
