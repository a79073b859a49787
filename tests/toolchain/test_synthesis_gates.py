"""The gates that the model of synthesis counts compute what the netlist does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.covering import Subject
from exporters.netlist.graph import AND, INPUT, MUX, XOR, Netlist
from exporters.netlist.simulate import Simulator
from exporters.netlist.truth import column, ones
from runtime.types import BIT, TensorType
from tests.exporters.netlist.circuits import layer_circuit, random_circuit, random_layer
from tests.exporters.netlist.evaluation import every_input, simulated
from toolchain.cost.cells import CELLS
from toolchain.synthesis.functions import AND_GE, build_function, function_ge
from toolchain.synthesis.gates import gate_equivalents, rebuilt, without_adders

PRICES = {INPUT: 0.0, AND: AND_GE, XOR: CELLS["xor"].ge, MUX: CELLS["mux"].ge}

AT_LEAST_3_OF_6 = sum((bin(row).count("1") >= 3) << row for row in range(64))


@pytest.mark.parametrize(
    ("table", "inputs", "gates"),
    [
        (0b0000, 2, 0.0),
        (0b0011, 2, 0.0),
        (0b1000, 2, AND_GE),
        (0b0010, 2, AND_GE),
        (0b0111, 2, AND_GE),
        (0b0110, 2, CELLS["xor"].ge),
        (0b11001010, 3, CELLS["mux"].ge),
        (0b11101000, 3, 4 * AND_GE),
        (0x6996, 4, 3 * CELLS["xor"].ge),
    ],
)
def test_gates_of_small_functions(table: int, inputs: int, gates: float) -> None:
    assert function_ge(table, inputs) == pytest.approx(gates)


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, ones(n)))))
def test_a_function_is_built_of_as_many_gates_as_are_counted(case: tuple[int, int]) -> None:
    inputs, table = case
    net = Netlist()
    result = build_function(net, table, net.inputs(inputs))
    lanes = every_input(inputs)
    (row,) = Simulator(net, [2 * node for node in range(1, inputs + 1)], [result]).run(lanes)
    assert int(row[0]) & ones(inputs) == table
    assert sum(PRICES[kind] for kind in net.kinds[1:]) <= function_ge(table, inputs) + 1e-6


def test_a_function_and_its_inverse_take_the_same() -> None:
    assert function_ge(AT_LEAST_3_OF_6, 6) == function_ge(AT_LEAST_3_OF_6 ^ ones(6), 6)
    assert 14 < function_ge(AT_LEAST_3_OF_6, 6) < 24
    assert function_ge(column(5, 6), 6) == 0


def circuits() -> list[Circuit]:
    layers = [layer_circuit(*random_layer(seed, 8, 3, levels)) for seed, levels in ((1, 3), (2, 5))]
    return [*layers, *(random_circuit(seed)[0] for seed in range(3))]


@pytest.mark.parametrize("circuit", circuits(), ids=lambda circuit: circuit.name)
def test_what_is_built_anew_computes_the_same_with_fewer_gates(circuit: Circuit) -> None:
    lanes = every_input(8)
    net, outputs, sizes = circuit.net, list(circuit.results), [float("inf")]
    for _ in range(2):
        net, outputs = rebuilt(net, without_adders(Subject.of(net, outputs)), outputs)
        places = [2 * node for node in range(1, len(net)) if net.kinds[node] == INPUT]
        assert (Simulator(net, places, outputs).run(lanes) == simulated(circuit, lanes)).all()
        sizes.append(sum(PRICES[kind] for kind, _ in Subject.of(net, outputs).nodes.values()))
    assert all(later <= earlier for earlier, later in pairwise(sizes))


def test_an_adder_is_two_xors_and_a_multiplexer() -> None:
    net = Netlist()
    outputs = net.pair("full_adder", *net.inputs(3))
    nodes = without_adders(Subject.of(net, outputs)).nodes
    assert sorted(kind for kind, _ in nodes.values()) == sorted((XOR, XOR, MUX))
    assert [nodes[literal >> 1][0] for literal in outputs] == [XOR, MUX]


def test_polarities_are_chosen_where_they_are_cheap() -> None:
    """A NAND of two NANDs is an OR of ANDs; neither an AND nor an inverter is left."""
    net = Netlist()
    a, b, c, d = net.inputs(4)
    either = net.or_(net.and_(a, b), net.and_(c, d))
    output = Port("out", TensorType((1,), BIT), np.array([[either]]))
    assert gate_equivalents(Circuit("or", net, (), (output,))) == 3.0
