"""The gates that the model of synthesis counts compute what the netlist does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.covering import Subject
from exporters.netlist.functions import EITHER_GE
from exporters.netlist.graph import AND, INPUT, MUX, XOR, Netlist
from exporters.netlist.simulate import Simulator
from runtime.types import BIT, TensorType
from tests.exporters.netlist.circuits import layer_circuit, random_circuit, random_layer
from tests.exporters.netlist.evaluation import every_input, simulated
from toolchain.cost.cells import CELLS
from toolchain.synthesis.gates import gate_equivalents, rebuilt, without_adders

PRICES = {INPUT: 0.0, AND: EITHER_GE, XOR: CELLS["xor"].ge, MUX: CELLS["mux"].ge}


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
