"""The hashed netlist: the functions asked for, never a node twice, one adder for opposite signs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from exporters.netlist.graph import Netlist
from exporters.netlist.simulate import Simulator, from_lanes, to_lanes
from tests.exporters.netlist.evaluation import FUNCTIONS, every_input

CELLS = {"and": 2, "or": 2, "xor": 2, "not": 1, "mux": 3, "half_adder": 2, "full_adder": 3}


def values_of(net: Netlist, inputs: list[int], literals: list[int]) -> np.ndarray:
    return Simulator(net, inputs, literals).run(every_input(len(inputs)))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_on_every_kind_of_operand_is_its_function(cell: str) -> None:
    net = Netlist()
    a, b = net.inputs(2)
    ab = net.gate("and", a, b ^ 1)
    operands = [0, 1, a, a ^ 1, b, b ^ 1, ab, ab ^ 1]
    lanes = dict(zip(operands, values_of(net, [a, b], operands), strict=True))
    for chosen in product(operands, repeat=CELLS[cell]):
        found = net.pair(cell, *chosen) if "adder" in cell else (net.gate(cell, *chosen),)
        wanted = FUNCTIONS[cell](*(lanes[literal] for literal in chosen))
        assert np.array_equal(values_of(net, [a, b], list(found)), np.array(wanted)), chosen


@pytest.mark.parametrize("signs", list(product((0, 1), repeat=3)))
def test_an_adder_and_its_inverse_are_one(signs: tuple[int, ...]) -> None:
    net = Netlist()
    nets = [literal ^ sign for literal, sign in zip(net.inputs(3), signs, strict=True)]
    first = net.pair("full_adder", *nets)
    size = len(net)
    inverse = net.pair("full_adder", *(literal ^ 1 for literal in reversed(nets)))
    assert inverse == (first[0] ^ 1, first[1] ^ 1)
    assert len(net) == size


def test_a_gate_asked_for_twice_is_built_once() -> None:
    net = Netlist()
    a, b, c = net.inputs(3)
    first = [net.gate("and", a, b), net.gate("or", a, b), net.gate("xor", a, b), net.gate("mux", a, b, c)]
    size = len(net)
    again = [net.gate("and", b, a), net.gate("or", b, a), net.gate("xor", b ^ 1, a ^ 1)]
    assert [*again, net.gate("mux", a ^ 1, c, b)] == first
    assert len(net) == size


def test_absorbed_operands_cost_nothing() -> None:
    net = Netlist()
    a, b = net.inputs(2)
    ab = net.gate("and", a, b)
    size = len(net)
    assert net.gate("and", a, ab) == ab
    assert net.gate("or", a, ab) == a
    assert net.gate("and", a ^ 1, ab) == 0
    assert len(net) == size


def test_lanes_keep_every_value_and_sample() -> None:
    rng = np.random.default_rng(0)
    for samples in (1, 63, 64, 65, 200):
        values = rng.integers(-16, 16, (samples, 7))
        assert np.array_equal(from_lanes(to_lanes(values, 5), 5, True, samples), values)
        assert np.array_equal(from_lanes(to_lanes(values + 16, 5), 5, False, samples), values + 16)
