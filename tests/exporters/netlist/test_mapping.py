"""Covers by look-up tables: of known circuits the number of tables, and of all no table too wide."""

from __future__ import annotations

import pytest

from exporters.netlist.covering import Subject
from exporters.netlist.graph import Netlist
from exporters.netlist.mapping import map_tables
from exporters.netlist.simulate import Simulator
from exporters.netlist.truth import cofactors, column, ones, reduced, truth
from exporters.netlist.words import at_least, compress
from tests.exporters.netlist.circuits import layer_circuit, random_circuit, random_layer
from tests.exporters.netlist.evaluation import every_input, literals_in


def popcount_threshold(bits: int, least: int) -> tuple[Netlist, int]:
    net = Netlist()
    word = compress(net, [net.inputs(bits)], 0, bits.bit_length())
    return net, at_least(net, word, least)


@pytest.mark.parametrize("least", [1, 2, 3, 4, 5, 6])
def test_a_threshold_of_six_bits_is_one_table(least: int) -> None:
    net, verdict = popcount_threshold(6, least)
    found = map_tables(net, [verdict], 6)
    assert (found.count, found.depth) == (1, 1)


def test_a_full_adder_is_two_tables() -> None:
    net = Netlist()
    found = map_tables(net, net.pair("full_adder", *net.inputs(3)), 4)
    assert (found.count, found.depth) == (2, 1)


def test_a_sum_of_six_bits_is_three_tables() -> None:
    net = Netlist()
    word = compress(net, [net.inputs(6)], 0, 3)
    assert map_tables(net, word, 6).count == 3


def test_the_same_function_of_the_same_nets_is_one_table() -> None:
    net = Netlist()
    a, b, c, d = net.inputs(4)
    left = net.gate("and", net.gate("and", a, b), net.gate("and", c, d))
    right = net.gate("and", a, net.gate("and", b, net.gate("and", c, d)))
    assert left != right
    assert map_tables(net, [left, right ^ 1], 4).count == 2  # the second inverts the first
    assert map_tables(net, [left, right], 4).count == 1


def test_an_inverted_input_takes_a_table_and_a_plain_one_none() -> None:
    net = Netlist()
    a, b = net.inputs(2)
    found = map_tables(net, [a, b ^ 1, 0, 1], 6)
    assert (found.count, found.depth) == (1, 1)


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_no_table_has_too_many_inputs(seed: int, size: int) -> None:
    op, threshold, x = random_layer(seed, 20, 4)
    circuit = layer_circuit(op, threshold, x)
    found = map_tables(circuit.net, circuit.results, size)
    assert max(len(lut.inputs) for lut in found.luts) <= size
    gates = sum(circuit.counts.values())
    assert 0 < found.depth <= found.count <= gates


@pytest.mark.parametrize("seed", range(5))
def test_truth_tables_are_what_the_simulator_gives(seed: int) -> None:
    circuit, _ = random_circuit(seed, inputs=6)
    lanes = Simulator(circuit.net, literals_in(circuit), circuit.results).run(every_input(6))
    subject = Subject.of(circuit.net, circuit.results)
    leaves = {literal >> 1: column(i, 6) for i, literal in enumerate(literals_in(circuit))}
    for literal, row in zip(circuit.results, lanes, strict=True):
        table = truth(subject, literal >> 1, leaves, 6) ^ ones(6) * (literal & 1)
        assert table == int(row[0])


def test_cofactors_and_support() -> None:
    a, c = column(0, 3), column(2, 3)
    assert reduced(a & c, 3) == (0b1000, (0, 2))
    assert cofactors(a & c, 2, 3) == (0, a)
    assert reduced(ones(3), 3) == (1, ())
