"""Cells, pipelines and file formats of random circuits: all compute what the netlist computes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from exporters.netlist.circuit import Circuit
from exporters.netlist.formats import to_aiger, to_blif
from exporters.netlist.graph import LEVELS, REGISTER
from exporters.netlist.pipeline import pipelined
from tests.exporters.netlist.circuits import layer_circuit, random_circuit, random_layer
from tests.exporters.netlist.evaluation import (
    every_input,
    run_aiger,
    run_blif,
    run_cells,
    simulated,
)

CIRCUITS = [random_circuit(seed)[0] for seed in range(30)]
CIRCUITS += [layer_circuit(*random_layer(seed, 8, 6), style) for seed, style in ((1, "gates"), (2, "lut6"))]


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_cells_blif_and_aiger_compute_what_the_netlist_does(circuit: Circuit) -> None:
    lanes = every_input(8)
    wanted = simulated(circuit, lanes)
    assert np.array_equal(run_cells(circuit, circuit.cells, lanes), wanted)
    assert np.array_equal(run_blif(to_blif(circuit), lanes), wanted)
    assert np.array_equal(run_aiger(to_aiger(circuit), lanes), wanted)


@pytest.mark.parametrize("levels", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("circuit", CIRCUITS[::5])
def test_every_path_of_a_pipeline_has_as_many_registers(circuit: Circuit, levels: int | None) -> None:
    piped, latency = pipelined(circuit, levels)
    lanes = every_input(8)
    assert np.array_equal(simulated(piped, lanes), simulated(circuit, lanes))
    assert np.array_equal(run_cells(piped, piped.cells, lanes), simulated(circuit, lanes))
    net = piped.net
    passed: list[set[int]] = [set()] * len(net)  # registers between the inputs and each node
    arrival = [0] * len(net)
    for node in range(1, len(net)):
        operands = [literal >> 1 for literal in net.operands[node] if literal > 1]
        register = net.kinds[node] == REGISTER
        reached = set().union(*(passed[o] for o in operands)) if operands else {0}
        passed[node] = {count + register for count in reached}
        assert len(passed[node]) == 1
        longest = max((arrival[o] for o in operands), default=0)
        arrival[node] = 0 if register else longest + LEVELS[net.kinds[node]]
        assert levels is None or arrival[node] <= max(levels, LEVELS[net.kinds[node]])
    outside = [literal for literal in piped.results if literal > 1]
    assert all(passed[literal >> 1] == {latency} for literal in outside)


def test_a_pipeline_of_no_levels_has_registers_behind_its_outputs_alone() -> None:
    circuit = CIRCUITS[-1]
    piped, latency = pipelined(circuit, None)
    assert latency == 1
    distinct = {literal >> 1 for literal in circuit.results if literal > 1}
    assert piped.counts["register"] == len(distinct)
    assert piped.counts - Counter(register=len(distinct)) == circuit.counts


def test_dead_gates_are_not_counted() -> None:
    circuit, _ = random_circuit(3)
    before = circuit.counts
    circuit.net.gate("and", *circuit.inputs[0].literals[:2])
    same = Circuit(circuit.name, circuit.net, circuit.inputs, circuit.outputs)
    assert same.counts == before
