"""Functions of a few inputs as gates, and gates found anew among those that are there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.netlist.covering import Subject
from exporters.netlist.divisors import Divisors, Gate
from exporters.netlist.functions import (
    AND_GE,
    EITHER_GE,
    INVERTER_GE,
    MUX_GE,
    PRICES,
    XOR_GE,
    build_function,
    function_ge,
    of_few_inputs,
)
from exporters.netlist.graph import AND, MUX, STYLES, XOR, Netlist
from exporters.netlist.resubstitution import resubstituted
from exporters.netlist.simulate import Simulator
from exporters.netlist.tables import tabulated
from exporters.netlist.truth import column, ones
from exporters.netlist.words import decision_diagram
from tests.exporters.netlist.evaluation import every_input
from toolchain.cost.cells import CELLS

AT_LEAST_3_OF_6 = sum((bin(row).count("1") >= 3) << row for row in range(64))


@pytest.mark.parametrize(
    ("table", "inputs", "gates"),
    [
        (0b0000, 2, 0.0),
        (0b0011, 2, 0.0),
        (0b1000, 2, EITHER_GE),
        (0b0010, 2, EITHER_GE),
        (0b0111, 2, EITHER_GE),
        (0b0110, 2, CELLS["xor"].ge),
        (0b11001010, 3, CELLS["mux"].ge),
        (0b11101000, 3, 4 * EITHER_GE),
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
    assert sum(PRICES.get(kind, 0.0) for kind in net.kinds[1:]) <= function_ge(table, inputs) + 1e-6


def test_a_function_and_its_inverse_take_the_same() -> None:
    assert function_ge(AT_LEAST_3_OF_6, 6) == function_ge(AT_LEAST_3_OF_6 ^ ones(6), 6)
    assert 14 < function_ge(AT_LEAST_3_OF_6, 6) < 24
    assert function_ge(column(5, 6), 6) == 0


def test_prices_are_those_of_the_cost_model() -> None:
    kinds = ("and", "xor", "mux", "not")
    assert [CELLS[kind].ge for kind in kinds] == [AND_GE, XOR_GE, MUX_GE, INVERTER_GE]


def test_literals_of_one_polarity_are_taken_together() -> None:
    """``a | b | ~c | ~d`` is a NAND of a NOR and an AND, whose inputs need no inverter."""
    a, b, c, d = (column(i, 4) for i in range(4))
    net = Netlist()
    build_function(net, a | b | (c & d) ^ ones(4), net.inputs(4))
    pairs = {tuple(sorted(operands[:2])) for operands in net.operands[5:7]}
    assert {tuple(literal >> 1 for literal in pair) for pair in pairs} == {(1, 2), (3, 4)}
    assert all(len({literal & 1 for literal in pair}) == 1 for pair in pairs)


def values(net: Netlist, literals: list[int], inputs: int) -> np.ndarray:
    """Results for every input, bit by bit."""
    rows = Simulator(net, [2 * node for node in range(1, inputs + 1)], literals).run(every_input(inputs))
    return np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little", count=1 << inputs)


def price(net: Netlist, literals: list[int]) -> float:
    return sum(PRICES[kind] for kind, _ in Subject.of(net, literals).nodes.values())


@pytest.mark.parametrize("seed", range(6))
def test_tables_take_fewer_gates_and_compute_the_same(seed: int) -> None:
    rng, inputs = np.random.default_rng(seed), int(6 + seed % 3)
    planes = rng.integers(0, 2, (3, 1 << inputs)) if seed % 2 else thermometer(rng, inputs)
    net = Netlist()
    word = decision_diagram(net, net.inputs(inputs), planes)
    found, literals = resubstituted(net, word)
    assert (values(found, literals, inputs) == planes).all()
    assert price(found, literals) < price(net, word)


def thermometer(rng: np.random.Generator, inputs: int) -> np.ndarray:
    """Bits of the number of thresholds that a word reaches."""
    count = (np.arange(1 << inputs)[:, None] >= rng.integers(1, 1 << inputs, 15)).sum(axis=1)
    return count[None, :] >> np.arange(4)[:, None] & 1


def test_netlists_with_adders_are_left_alone() -> None:
    net = Netlist()
    outputs = list(net.pair("full_adder", *net.inputs(3)))
    assert resubstituted(net, outputs) == (net, outputs)


@pytest.mark.parametrize(
    ("table", "form"),
    [
        (column(0, 6) ^ ones(6), 3),
        (column(0, 6) & column(1, 6), Gate(AND, (2, 4))),
        (column(0, 6) ^ column(2, 6), Gate(XOR, (2, 6))),
        (column(0, 6) & (column(1, 6) | column(2, 6)), Gate(AND, (2, Gate(AND, (5, 7), 1)))),
        (column(2, 6) ^ column(0, 6) & column(1, 6), Gate(XOR, (6, Gate(AND, (2, 4))))),
        (ones(6), 1),
        (sum(column(i, 6) << i for i in range(6)) & ones(6) ^ 0x5A5A, None),
    ],
)
def test_forms_that_divisors_make(table: int, form: int | Gate | None) -> None:
    divisors = Divisors({i + 1: column(i, 6) for i in range(6)}, ones(6))
    found = divisors.find(table, 5.0)
    assert normal(found) == normal(form)


def normal(form: int | Gate | None) -> object:
    """A form whose operands are in any order."""
    if not isinstance(form, Gate):
        return form
    return form.kind, frozenset(map(normal, form.operands)), form.inverted


def test_a_form_is_not_taken_at_its_price() -> None:
    divisors = Divisors({i + 1: column(i, 6) for i in range(6)}, ones(6))
    table = column(0, 6) & column(1, 6)
    assert divisors.find(table, PRICES[AND]) is None
    assert divisors.find(table, PRICES[AND] + 0.01) is not None


def test_multiplexers_are_found() -> None:
    a, b, c = (column(i, 6) for i in range(3))
    divisors = Divisors({i + 1: column(i, 6) for i in range(6)}, ones(6))
    assert divisors.find(a & c | b & ~a & ones(6), 5.0) == Gate(MUX, (2, 4, 6))


def test_a_table_is_searched_once_and_placed_on_any_nets() -> None:
    planes = thermometer(np.random.default_rng(3), 8)
    net = Netlist()
    select = net.inputs(8)
    flipped = [select[0] ^ 1, *select[1:]]
    words = tabulated(net, select, planes), tabulated(net, flipped, planes)
    assert (values(net, words[0], 8) == planes).all()
    swapped = planes.reshape(4, -1, 2)[:, :, ::-1].reshape(4, -1)
    assert (values(net, words[1], 8) == swapped).all()


def test_tables_stay_multiplexers_where_look_up_tables_count() -> None:
    planes = thermometer(np.random.default_rng(3), 8)
    one, other = Netlist(STYLES["lut6"]), Netlist(STYLES["lut6"])
    tabulated(one, one.inputs(8), planes)
    decision_diagram(other, other.inputs(8), planes)
    assert one.operands == other.operands


def test_functions_of_few_inputs_are_built_anew() -> None:
    net = Netlist()
    a, b, c, d, e = net.inputs(5)
    one, carry = net.pair("full_adder", a, b, c)
    verdict = net.and_(net.xor(one, a), carry)  # b ^ c, where two of three are set: a & (b ^ c)
    found = of_few_inputs(net, verdict)
    assert (values(net, [found], 5) == values(net, [net.and_(a, net.xor(b, c))], 5)).all()
    assert price_of(net, found) < price_of(net, verdict)
    wide = net.and_(verdict, net.and_(d, e))
    assert of_few_inputs(net, wide) == wide  # five inputs
    assert of_few_inputs(net, a ^ 1) == a ^ 1


def price_of(net: Netlist, literal: int) -> int:
    return len(Subject.of(net, [literal]).nodes)
