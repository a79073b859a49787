"""Every gate formula against a circuit built gate by gate, which itself equals the interpreter."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.netlist.digits import integers, signed_digits
from exporters.netlist.plain import FUNCTIONS, PlainNetlist
from exporters.netlist.rules import BUILDERS
from exporters.netlist.words import at_least, count_thermometer
from exporters.netlist.words import compress as build_compress
from runtime.ir import Builder
from runtime.ops import OPS, Add, Conv2d, Dense, Hadamard, Lookup, Sub, SumPool, Threshold
from runtime.types import Interval, TensorType
from runtime.weights import Weights
from tests.programs import LEVELS, random_codes, random_program
from toolchain.cost import products
from toolchain.cost.cells import CELLS, WIRES, Cells
from toolchain.cost.circuits import build
from toolchain.cost.columns import compress, inputs_read, luts_of, thermometer
from toolchain.cost.gates import COSTS
from toolchain.cost.linear import linear
from toolchain.cost.nodes import node_costs

QUICK = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
RANGES = [(0, 1), (0, 3), (0, 10), (1, 9), (-1, 0), (-1, 1), (-7, 12), (5, 5), (-9, -3), (-(2**40), 2**39)]


def samples(rng: np.random.Generator, type_: TensorType, count: int = 64) -> np.ndarray:
    interval = type_.interval
    array = rng.integers(interval.lo, interval.hi + 1, (count, *type_.shape))
    array[0], array[1] = interval.lo, interval.hi
    return array


def random_linear(rng: np.random.Generator) -> tuple[Conv2d | Dense | SumPool, TensorType]:
    interval = Interval(*RANGES[rng.integers(len(RANGES))])
    levels = int(rng.choice((3, 5, 7, 31, 127, 2, 4, 6, 16, 64)))
    outputs = int(rng.integers(1, 4))
    bias = rng.integers(-20, 20, outputs) if rng.random() < 0.5 else None
    kind = rng.integers(3)
    if kind == 0:
        inputs = int(rng.integers(1, 40))
        codes = random_codes(rng, (outputs, inputs), levels)
        return Dense(Weights(codes, levels), bias), TensorType((inputs,), interval)
    x = TensorType((2, int(rng.integers(3, 6)), int(rng.integers(3, 6))), interval)
    stride, padding = (int(rng.integers(1, 3)), int(rng.integers(1, 3))), (int(rng.integers(0, 3)), 1)
    if kind == 1:
        return SumPool((int(rng.integers(1, 4)), 2), stride, padding), x
    groups = int(rng.integers(1, 3))
    codes = random_codes(rng, (groups * outputs, 2 // groups, 2, 3), levels)
    bias = None if bias is None else np.tile(bias, groups)
    dilation = (int(rng.integers(1, 3)), 1)
    return Conv2d(Weights(codes, levels), bias, stride, padding, dilation, groups), x


def random_threshold(rng: np.random.Generator, x: TensorType) -> Threshold:
    count = int(rng.choice((1, 1, 2, 3, 7)))
    direction = rng.choice((-1, 1), x.channels)
    span = (x.interval.lo - 2, x.interval.hi + 3)
    values = np.sort(rng.integers(*span, (x.channels, count)) * direction[:, None]) * direction[:, None]
    return Threshold(values, direction)


def test_every_op_has_a_formula_and_a_builder_or_is_made_of_ops_that_have():
    assert set(COSTS) == set(BUILDERS) == set(OPS.values()) - {Hadamard}
    assert set(FUNCTIONS) | {"register"} == set(CELLS)


@pytest.mark.parametrize("name", sorted(op.__name__ for op in set(COSTS) - set(products.COSTS)))
@pytest.mark.parametrize("seed", range(16))
def test_formula_and_circuit_of_every_op_agree(name, seed):
    rng = np.random.default_rng(seed)
    node = next(n for n in reversed(random_program([name], seed).nodes) if n.op.name == name)
    program = random_program([name], seed)
    types = tuple(program.types[operand] for operand in node.operands)
    circuit = build(node.op, *types)
    assert Cells(circuit.net.cells()) == COSTS[type(node.op)](node.op, types, node.type).parallel
    arrays = [samples(rng, type_) for type_ in types]
    np.testing.assert_array_equal(circuit.run(*arrays), node.op.evaluate(*arrays))


def test_a_hadamard_transform_costs_its_butterfly():
    bits, counts, signed = (Interval(0, 1), Interval(0, 2), Interval(-1, 1))
    b = Builder("transform")
    x = b.input("x", (8, 3, 2), bits)
    (cost,) = node_costs(b.build((b.add(Hadamard(), x),)))
    rounds = [(Add(), bits, bits), (Sub(), bits, bits)] * 2
    rounds += [(Add(), counts, counts), (Add(), signed, signed)]
    rounds += [(Sub(), counts, counts), (Sub(), signed, signed)]
    block = (2, 3, 2)
    circuits = [build(op, *(TensorType(block, i) for i in intervals)) for op, *intervals in rounds]
    logic = sum((Cells(circuit.net.cells()) for circuit in circuits), Cells({}))
    registers = Cells({"register": cost.type.bits * cost.type.size})
    assert cost.circuits.parallel == logic + registers


@QUICK
@given(SEEDS)
def test_linear_formula_equals_its_circuit(seed):
    rng = np.random.default_rng(seed)
    op, x = random_linear(rng)
    circuit = build(op, x)
    assert Cells(circuit.net.cells()) == linear(op, x)[0].parallel
    array = samples(rng, x)
    np.testing.assert_array_equal(circuit.run(array), op.evaluate(array))


@pytest.mark.parametrize("interval", [(0, 1), (0, 10), (-7, 12)])
@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_formula_and_circuit_agree_for_every_value_set(levels, interval):
    rng = np.random.default_rng(levels)
    op = Dense(Weights(random_codes(rng, (3, 20), levels), levels))
    x = TensorType((20,), Interval(*interval))
    threshold = random_threshold(rng, op.infer(x))
    circuit = build(op, x, threshold=threshold)
    assert Cells(circuit.net.cells()) == sum(linear(op, x, threshold), WIRES).parallel
    array = samples(rng, x)
    np.testing.assert_array_equal(circuit.run(array), threshold.evaluate(op.evaluate(array)))


@given(st.integers(1, 300), SEEDS)
def test_a_binary_neuron_is_one_popcount(count, seed):
    codes = random_codes(np.random.default_rng(seed), (1, count), 2)
    codes[0, 0] = 1  # so that the threshold is in reach
    x = TensorType((count,), Interval(0, 1))
    trees, _ = linear(Dense(Weights(codes, 2)), x, Threshold(np.array([[1]]), np.array([1])))
    bits, negative = count.bit_length(), int((codes < 0).sum())
    adders = {"full_adder": count - bits, "half_adder": bits - count.bit_count()}
    assert trees.parallel == Cells(adders | {"not": negative})


@QUICK
@given(SEEDS)
def test_folded_threshold_formula_equals_its_circuit(seed):
    rng = np.random.default_rng(seed)
    op, x = random_linear(rng)
    threshold = random_threshold(rng, op.infer(x))
    circuit = build(op, x, threshold=threshold)
    trees, tests = linear(op, x, threshold)
    assert Cells(circuit.net.cells()) == (trees + tests).parallel
    array = samples(rng, x)
    np.testing.assert_array_equal(circuit.run(array), threshold.evaluate(op.evaluate(array)))


@QUICK
@given(SEEDS)
def test_one_position_is_the_circuit_of_a_single_window(seed):
    rng = np.random.default_rng(seed)
    levels = int(rng.choice((3, 5, 15, 2, 4, 16)))
    codes = random_codes(rng, (3, 2, 3, 3), levels)
    x = TensorType((2, 6, 5), Interval(0, int(rng.integers(1, 9))))
    conv = Conv2d(Weights(codes, levels), padding=(1, 1))
    threshold = random_threshold(rng, conv.infer(x))
    alone = build(Conv2d(conv.weights), TensorType((2, 3, 3), x.interval), threshold=threshold)
    trees, tests = linear(conv, x, threshold)
    assert (trees + tests).one_position == Cells(alone.net.cells())


@given(st.integers(1, 3000))
def test_popcount_has_the_published_number_of_adders(count):
    cells = compress(np.array([[count]]), integers([0]), count.bit_length())
    bits = count.bit_length()
    assert int(cells["full_adder"][0]) == count - bits
    assert int(cells["half_adder"][0]) == bits - count.bit_count()


@QUICK
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(-500, 500), st.integers(1, 9))
def test_compressor_formula_equals_its_circuit(heights, constant, bits):
    net = PlainNetlist()
    columns = [net.inputs(height) for height in heights]
    word = build_compress(net, columns, constant, bits)
    counted = compress(np.array([heights]), integers([constant]), bits)
    assert Cells(net.cells()) == Cells({cell: int(count[0]) for cell, count in counted.items()})
    rng = np.random.default_rng(sum(heights))
    lanes = {n: rng.integers(0, 256, 8).astype(np.uint8) for column in columns for n in column}
    values = net.evaluate(lanes, 64)
    expected = constant + sum(
        np.unpackbits(lanes[n]).astype(np.int64) << c for c, column in enumerate(columns) for n in column
    )
    got = sum(np.unpackbits(values[n]).astype(np.int64) << b for b, n in enumerate(word))
    np.testing.assert_array_equal(got, np.broadcast_to(expected % (1 << bits), got.shape))


@given(st.integers(1, 10), st.data())
def test_constant_comparator_costs_one_gate_per_bit_above_the_lowest_one(bits, data):
    least = data.draw(st.integers(1, 2**bits - 1))
    net = PlainNetlist()
    word = net.inputs(bits)
    verdict = at_least(net, word, least)
    lowest = (least & -least).bit_length() - 1
    cells = Cells(net.cells())
    assert cells["and"] + cells["or"] == bits - 1 - lowest
    assert cells["and"] == least.bit_count() - 1
    numbers = np.arange(2**bits)
    lanes = {n: np.packbits((numbers >> b & 1).astype(np.uint8)) for b, n in enumerate(word)}
    lane = net.evaluate(lanes, numbers.size)[verdict]
    np.testing.assert_array_equal(np.unpackbits(lane, count=numbers.size), numbers >= least)


@given(st.integers(0, 9), st.integers(0, 20))
def test_thermometer_formula_equals_its_circuit(ones, unknown):
    net = PlainNetlist()
    code = [1] * ones + net.inputs(unknown) + [0, 0]
    word = count_thermometer(net, code, 6)
    counted = thermometer(np.array([ones]), np.array([unknown]))
    assert Cells(net.cells()) == Cells({cell: int(count[0]) for cell, count in counted.items()})
    for reached in range(unknown + 1):
        lanes = {
            n: np.full(1, 255 * (i < reached), np.uint8) for i, n in enumerate(code[ones : ones + unknown])
        }
        values = net.evaluate(lanes, 8)
        assert sum(int(values[n][0] & 1) << b for b, n in enumerate(word)) == ones + reached


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_signed_digits_are_canonical(values):
    positive, negative = signed_digits(integers(values))
    assert [p - n for p, n in zip(positive, negative, strict=True)] == values
    for p, n in zip(positive, negative, strict=True):
        assert p & n == 0
        assert (p | n) & (p | n) << 1 == 0


def test_unreachable_thresholds_cost_nothing():
    op = Dense(Weights(np.array([[1, -1, 1], [1, 1, 1]]), 3))
    x = TensorType((3,), Interval(0, 1))
    trees, tests = linear(op, x, Threshold(np.array([[9], [0]]), np.array([1, 1])))
    assert tests.parallel == Cells({})
    assert trees.parallel == Cells({"not": 1})


# GE, LUT4 and 7-series LUTs that Yosys 0.70 mapped the built circuit to (docs/cost-model.md)
SYNTHESIZED = {
    "ternary 128 to 32, 80 % zeros": (4414, 1308, 968),
    "quinary 64 to 32, 20 % zeros": (8749, 2751, 2149),
    "ternary 64 to 16, 2-bit in and out": (7829, 2450, 1988),
    "ternary 64 to 10, logits": (2511, 740, 604),
}


def synthesized_layers() -> dict[str, Cells]:
    """The layers of SYNTHESIZED, drawn in one fixed order."""
    rng = np.random.default_rng(0)

    def weights(outputs: int, inputs: int, density: float, levels: int = 3) -> Weights:
        codes = rng.integers(1, levels // 2 + 1, (outputs, inputs)) * rng.choice((-1, 1), (outputs, inputs))
        return Weights(codes * (rng.random((outputs, inputs)) < density), levels)

    def cells(op: Dense, high: int, count: int = 0, spread: int = 4) -> Cells:
        x = TensorType((op.weights.shape[1],), Interval(0, high))
        if not count:
            return linear(op, x)[0].parallel
        outputs = op.weights.shape[0]
        values = np.sort(rng.integers(-spread, spread + 1, (outputs, count)), axis=1)
        trees, tests = linear(op, x, Threshold(values, np.ones(outputs, np.int64)))
        return (trees + tests).parallel

    cells(Dense(weights(32, 64, 0.66)), 1, 1)
    return {
        "ternary 128 to 32, 80 % zeros": cells(Dense(weights(32, 128, 0.2)), 1, 1),
        "quinary 64 to 32, 20 % zeros": cells(Dense(weights(32, 64, 0.8, 5)), 1, 1, 6),
        "ternary 64 to 16, 2-bit in and out": cells(Dense(weights(16, 64, 0.66)), 3, 3, 12),
        "ternary 64 to 10, logits": cells(Dense(weights(10, 64, 0.66)), 1),
    }


@pytest.mark.parametrize("name", SYNTHESIZED)
def test_area_is_near_what_synthesis_measured(name):
    cells, (ge, lut4, lut6) = synthesized_layers()[name], SYNTHESIZED[name]
    assert cells.ge == pytest.approx(ge, rel=0.05)
    assert cells.lut4 == pytest.approx(lut4, rel=0.02)
    assert cells.lut6 == pytest.approx(lut6, rel=0.08)


def test_a_large_layer_is_counted_in_about_a_second():
    codes = np.random.default_rng(1).integers(-1, 2, (512, 512, 3, 3))
    conv = Conv2d(Weights(codes, 3), padding=(1, 1))
    x = TensorType((512, 8, 8), Interval(0, 1))
    start = perf_counter()
    trees, _ = linear(conv, x, Threshold(np.zeros((512, 1), np.int64), np.ones(512, np.int64)))
    assert perf_counter() - start < 5
    assert trees.parallel["full_adder"] > 30 * trees.one_position["full_adder"]


@pytest.mark.parametrize(
    ("inputs", "wide", "count"),
    [(0, 4, 0), (1, 4, 0), (4, 4, 1), (5, 4, 3), (6, 4, 6), (8, 4, 26), (6, 6, 1), (7, 6, 3), (8, 6, 5)],
)
def test_any_function_of_so_many_inputs_takes_so_many_look_up_tables(inputs, wide, count):
    assert luts_of(inputs, wide) == count


def test_inputs_that_a_table_depends_on_are_counted():
    codes = np.arange(16)
    planes = np.array([codes & 1, codes >> 3, (codes >> 1 ^ codes >> 2) & 1, 0 * codes, codes == 9])
    assert inputs_read(planes.astype(np.int64)).tolist() == [1, 1, 2, 0, 4]


def test_a_table_of_few_inputs_is_a_look_up_table_itself():
    """Of six random inputs one LUT6 a neuron, whatever its multiplexers are, and six LUT4."""
    rng = np.random.default_rng(0)
    neurons = 50
    op = Lookup(rng.integers(0, 2, (neurons, 64)))
    x = TensorType((neurons,), Interval(0, 63))
    cells = COSTS[Lookup](op, (x,), op.infer(x)).parallel
    assert (cells.lut6, cells.lut4) == (neurons, 6 * neurons)
    assert (cells * 3).lut6 == 3 * neurons
    assert cells["mux"] > 8 * neurons
