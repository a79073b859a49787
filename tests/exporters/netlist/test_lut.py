"""Look-up tables: those of a circuit compute what its gates do; polarities are free where they can be."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.netlist.circuit import Circuit
from exporters.netlist.lut import Builder, Lut, Luts
from exporters.netlist.mapping import cover_circuit, register_nodes
from exporters.netlist.pipeline import pipelined
from exporters.netlist.simulate import Lanes
from exporters.netlist.truth import column, ones
from tests.exporters.netlist.circuits import layer_circuit, random_circuit, random_layer
from tests.exporters.netlist.evaluation import literals_in, simulated


def random_lanes(circuit: Circuit, words: int, seed: int) -> Lanes:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, (len(literals_in(circuit)), words), np.uint64)


def value(table: int, columns: list[Lanes]) -> Lanes:
    """Lanes of a function of ``columns``, minterm by minterm."""
    found = np.zeros_like(columns[0])
    for row in range(1 << len(columns)):
        if table >> row & 1:
            term = ~np.zeros_like(found)
            for place, bits in enumerate(columns):
                term &= bits if row >> place & 1 else ~bits
            found |= term
    return found


def run_tables(circuit: Circuit, luts: Luts, lanes: Lanes) -> Lanes:
    """Results, table by table and a register as a wire; a net that nothing drives is a KeyError."""
    values = {0: np.zeros_like(lanes[0]), **dict(zip(nodes_in(circuit), lanes, strict=True))}
    assert all(literal == 1 or not literal & 1 for literal in luts.outputs)
    sources = luts.outputs[len(circuit.results) :]
    registers = dict(zip(register_nodes(circuit), sources, strict=True))
    pending = list(luts.luts)
    while pending or registers:
        ready = [lut for lut in pending if all(net in values for net in lut.inputs)]
        for lut in ready:
            assert lut.output not in values
            values[lut.output] = value(lut.table, [values[net] for net in lut.inputs])
        pending = [lut for lut in pending if lut.output not in values]
        wired = {node: one for node, one in registers.items() if one >> 1 in values}
        values |= {node: of_literal(values, one) for node, one in wired.items()}
        registers = {node: one for node, one in registers.items() if node not in wired}
        assert ready or wired
    results = luts.outputs[: len(circuit.results)]
    return np.array([of_literal(values, one) for one in results], np.uint64)


def nodes_in(circuit: Circuit) -> list[int]:
    return [literal >> 1 for literal in literals_in(circuit)]


def of_literal(values: dict[int, Lanes], literal: int) -> Lanes:
    return values[literal >> 1] ^ np.uint64(2**64 - 1 if literal & 1 else 0)


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize("seed", range(12))
def test_the_tables_of_random_gates_compute_the_same(seed: int, size: int) -> None:
    circuit, _ = random_circuit(seed, inputs=10, gates=90)
    luts = cover_circuit(circuit, size)
    lanes = random_lanes(circuit, 2, seed)
    assert max((len(lut.inputs) for lut in luts.luts), default=0) <= size
    assert np.array_equal(run_tables(circuit, luts, lanes), simulated(circuit, lanes))


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("style", ["gates", "lut6"])
@pytest.mark.parametrize("seed", range(3))
def test_the_tables_of_a_layer_compute_the_same(seed: int, style: str, size: int) -> None:
    circuit = layer_circuit(*random_layer(seed, 24, 6), style)
    luts = cover_circuit(circuit, size)
    lanes = random_lanes(circuit, 4, seed)
    assert np.array_equal(run_tables(circuit, luts, lanes), simulated(circuit, lanes))
    keys = [(lut.inputs, lut.table) for lut in luts.luts]
    assert len(set(keys)) == len(keys) == luts.count


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("seed", range(4))
def test_registers_keep_what_saves_an_inverter(seed: int, levels: int | None) -> None:
    combinational = layer_circuit(*random_layer(seed, 12, 5))
    circuit, latency = pipelined(combinational, levels)
    luts, lanes = cover_circuit(circuit, 4), random_lanes(circuit, 2, seed)
    assert np.array_equal(run_tables(circuit, luts, lanes), simulated(circuit, lanes))
    assert len(luts.outputs) - len(circuit.results) == circuit.counts["register"]
    if levels is None:
        assert latency == 1
        assert luts.count == cover_circuit(combinational, 4).count


def test_the_wanted_polarity_of_a_table_is_free_and_both_take_one_more() -> None:
    both = column(0, 2) & column(1, 2)
    builder = Builder(4, 10)
    first = builder.function(both, [2, 4])
    second = builder.function(both, [first, 6])
    found = builder.finish([first ^ 1, second])
    assert found.luts == (Lut(10, (1, 2), 0b0111), Lut(11, (3, 10), 0b0010))
    assert builder.finish([first, first ^ 1]).count == 2


def test_inverted_inputs_and_constants() -> None:
    builder = Builder(4, 10)
    assert builder.function(ones(2), [2, 4]) == 1
    assert builder.function(column(0, 2), [3, 3]) == 3
    assert builder.function(column(0, 2) ^ column(1, 2), [2, 3]) == 1
    found = builder.finish([3, 0, 1, 2])
    assert found == Luts(4, (Lut(10, (1,), 0b01),), (20, 0, 1, 2))
    assert found.depth == 1
