"""The report: exact numbers on a small program, the contract's keys, and every format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings

from exporters.c99.build import generate
from runtime.errors import InputError, ProgramError
from runtime.ir import Builder, Program
from runtime.ops import And, Conv2d, Dense, Lookup, Not, Op, Or, Requantize, Select, SumPool, Threshold
from runtime.types import IntArray, Interval, TensorType
from runtime.weights import Weights
from tests.programs import programs, random_codes
from toolchain.cost import report
from toolchain.cost.model import STACK_BYTES
from toolchain.cost.skips import FLOAT32_ADD_GE, skip_costs
from toolchain.devices import DEVICES
from toolchain.mcu.estimate import estimate
from toolchain.report import FORMATS, layer_table

TOTAL_KEYS = (
    "parameters macs bops gates lut6 weight_bytes threshold_bytes lookup_bytes arena_bytes flash_bytes "
    "ram_bytes float32_bytes"
)
GATE_KEYS = "ge and or xor not mux full_adder register"


def small(name: str = "small", layer: str = "features.0") -> Program:
    b = Builder(name)
    x = b.input("x", (2, 4, 4), Interval(0, 3))
    b.at_layer(layer)
    codes = np.tile([1, -1, 0], 12).reshape(2, 2, 3, 3)
    conv = b.add(Conv2d(Weights(codes, 3), np.array([300, -2]), padding=(1, 1)), x, name="conv")
    bits = b.add(Threshold(np.array([[300], [-1]]), np.array([1, -1])), conv, name="bits")
    skip = b.add(Or(), bits, b.add(Threshold(np.array([[2], [2]]), np.array([1, 1])), x), name="skip")
    return b.build((skip,), {"accuracy": 0.9})


def test_numbers_of_a_small_program():
    total = report(small()).to_json()["total"]
    assert total["parameters"] == 36 + 2
    assert total["nonzero"] == 24
    assert total["macs"] == 36 * 16
    assert total["bops"] == 36 * 16 * 2 * 2
    assert total["weight_bytes"] == 8  # 36 trits, five a byte
    assert total["bias_bytes"] == 2 * 2  # 300 needs int16
    assert total["threshold_bytes"] == (2 * 2 + 2) + (2 + 2)
    assert total["float32_bytes"] == 4 * 38
    assert total["arena_bytes"] == 2 * 4 + 4 + 4 + 4 - 4
    assert total["gates"]["or"] >= 32
    assert total["gates"]["register"] == 3 * 32
    assert total["gates_one_position"]["register"] == 3 * 2


def test_flash_and_ram_are_those_of_the_c_for_the_default_target():
    """The very figures of the verdict on a device with that core."""
    result = report(small(), ["nano-33-ble"])
    total, device = result.to_json()["total"], result.devices["nano-33-ble"].to_json()
    found = estimate(generate(small(), "cortex-m4", vectors=0))
    assert (total["flash_bytes"], total["ram_bytes"]) == (found.flash, found.ram)
    assert (total["flash_bytes"], total["ram_bytes"]) == (device["flash_used"], device["ram_used"])
    assert (total["code_bytes"], total["target"], total["refused"]) == (found.code, "cortex-m4", None)


def long_row() -> Program:
    """A product with more rows than the C has numbers for."""
    b = Builder("long")
    x = b.input("x", (70_000,), Interval(0, 1))
    return b.build((b.add(Dense(Weights(np.ones((2, 70_000), np.int8), 3)), x, name="sums"),))


def test_a_program_without_c_is_reported_by_its_weights_and_its_arena():
    result = report(long_row(), ["rp2040"])
    total = result.to_json()["total"]
    assert total["target"] is None
    assert total["refused"].startswith("sums: c99 takes at most ")
    assert total["flash_bytes"] == total["weight_bytes"] + total["code_bytes"]
    assert total["ram_bytes"] == total["arena_bytes"] + STACK_BYTES
    device = result.devices["rp2040"]
    assert not device.fits
    assert device.verdict == f"does not fit: {total['refused']}; estimated"
    assert (device.flash_used, device.ram_used) == (total["flash_bytes"], total["ram_bytes"])
    for name in ("table", "markdown", "html"):
        text = " ".join(FORMATS[name](result).split())
        assert "weights and arena, and a guess at the code" in text
        assert f"for cortex-m4: {total['refused']}".replace("'", "&#39;" if name == "html" else "'") in text


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_every_format_says_whose_flash_and_ram_it_shows(name):
    text = FORMATS[name](report(small()))
    assert "flash and RAM are of" in text
    assert "C for cortex-m4" in text


@pytest.mark.parametrize(
    ("levels", "weight_bits", "weight_bytes"), [(2, 1, 5), (3, 2, 8), (4, 2, 9), (8, 3, 15), (64, 6, 30)]
)
def test_operations_and_bytes_follow_the_value_set(levels, weight_bits, weight_bytes):
    b = Builder("value set")
    x = b.input("x", (4,), Interval(0, 3))
    weights = Weights(random_codes(np.random.default_rng(levels), (9, 4), levels), levels)
    total = report(b.build((b.add(Dense(weights), x),))).to_json()["total"]
    assert total["bops"] == 36 * weight_bits * 2
    assert total["weight_bytes"] == weight_bytes
    assert total["nonzero"] == 36 or levels % 2


@settings(max_examples=60, deadline=None)
@given(programs())
def test_every_program_has_a_report_in_every_format(program):
    result = report(program, DEVICES)
    data = json.loads(FORMATS["json"](result))
    assert set(TOTAL_KEYS.split()) <= set(data["total"])
    assert set(GATE_KEYS.split()) <= set(data["total"]["gates"])
    assert set(data) >= {"layers", "total", "devices", "skip_cost"}
    assert list(data["devices"]) == list(DEVICES)
    assert [layer["name"] for layer in data["layers"]] == [node.result for node in program.nodes]
    for key in ("parameters", "macs", "bops", "weight_bytes", "threshold_bytes", "lookup_bytes"):
        assert data["total"][key] == sum(layer[key] for layer in data["layers"])
    for cell in data["total"]["gates"].keys() - {"ge"}:
        assert data["total"]["gates"][cell] == sum(layer["gates"][cell] for layer in data["layers"])
    for write in FORMATS.values():
        assert "total" in write(result)
    assert len(list(csv.DictReader(io.StringIO(FORMATS["csv"](result))))) == len(program.nodes) + 1


def test_reused_circuit_is_never_larger_than_the_parallel_one():
    total = report(small()).total.circuits
    assert total.one_position.ge < total.parallel.ge


def test_text_table():
    lines = layer_table(report(small())).splitlines()
    headers = "name op output bits parameters MACs BOPs constants arena GE parallel GE reused"
    assert " ".join(lines[0].split()) == headers
    assert lines[2].split()[:9] == ["conv", "Conv2d", "2x4x4", "10", "38", "576", "2,304", "12", "B"]
    assert lines[-1].startswith("total")
    assert len(lines) == 1 + 1 + 4 + 1 + 1


class Tags(HTMLParser):
    """Collects tag names and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_names_are_escaped_everywhere():
    b = Builder("<script>alert(1)</script> | `x`")
    x = b.input("=1+1", (1,), Interval(0, 1))
    node = b.add(Not(), x, name="n")
    program = b.build((node,))
    hostile = Program(program.name, program.inputs, (), ("=1+1",))
    hostile_node = small("p", "=HYPERLINK(1)")
    parser = Tags()
    parser.feed(FORMATS["html"](report(program)))
    assert "script" not in parser.tags
    assert "<script>alert(1)</script> | `x`" in parser.text
    assert "# &lt;script&gt;alert(1)&lt;/script&gt; \\| \\`x\\`" in FORMATS["markdown"](report(program))
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](report(hostile_node)))))
    assert rows[0]["layer"] == "'=HYPERLINK(1)"
    assert report(hostile).total.macs == 0


@dataclass(frozen=True, slots=True, eq=False)
class Nand(Op):
    """``y = not (a and b)`` on bits; has no cost rule of its own."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]

    def evaluate(self, *operands: IntArray) -> IntArray:
        return 1 - (operands[0] & operands[1])

    def decompose(self, builder: Builder, *operands: str) -> str | None:
        return builder.add(Not(), builder.add(And(), *operands))


@dataclass(frozen=True, slots=True, eq=False)
class Opaque(Op):
    """The identity, which nothing is known about."""

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0]


def test_an_op_without_a_rule_costs_what_it_decomposes_into():
    b = Builder("p")
    x, y = (b.input(name, (3, 2), Interval(0, 1)) for name in "xy")
    layer = report(b.build((b.add(Nand(), x, y),))).layers[0]
    assert dict(layer.circuits.parallel.counts) == {"and": 6, "not": 6, "register": 6}
    assert dict(layer.circuits.one_position.counts) == {"and": 3, "not": 3, "register": 3}


def test_an_op_that_cannot_be_costed_is_named():
    b = Builder("p")
    x = b.input("x", (1,), Interval(0, 1))
    message = "every op needs a cost: Opaque of 'odd' has no row in COSTS and no decompose; add one of them"
    with pytest.raises(ProgramError, match=message):
        report(b.build((b.add(Opaque(), x, name="odd"),)))


def test_unknown_device():
    with pytest.raises(InputError, match=r"device must be one of atmega328p, .*, not 'z80'"):
        report(small(), ["z80"])


def test_constants_take_the_smallest_dtype():
    b = Builder("p")
    x = b.input("x", (2,), Interval(0, 3))
    scale = Requantize(np.array([3, 300]), np.array([0, -1]), np.array([1, 2]), 0, 200)
    first = b.add(Lookup(np.array([[0, 1, 2, -1]])), x)
    layers = report(b.build((first, b.add(scale, x)))).layers
    assert layers[0].constants.lookup_bytes == 4
    assert layers[1].constants.bias_bytes == 2 * 2 + 2 + 2


def test_skip_costs_of_one_shape():
    costs = skip_costs(TensorType((8, 4, 4), Interval(0, 1)))
    assert costs["or"].ge == pytest.approx(1.33 * 128)
    # per channel a popcount of 16 (11 full, 4 half adders) and a comparison with 8 of 5 bits (1 OR)
    assert costs["mux"].ge == pytest.approx((1.33 + 2.33) * 128 + 8 * (11 * 6.0 + 4 * 3.33 + 1.33))
    assert costs["integer_add"].ge == pytest.approx(128 * (7 * 6.0 + 3.33))
    assert costs["float32_add"].ge == 128 * FLOAT32_ADD_GE
    assert [costs[k].bits for k in costs] == [128, 128, 1024, 4096]
    assert [costs[k].bytes for k in costs] == [16, 16, 128, 512]


def test_skip_table_names_the_skips_of_the_program_or_says_where_they_could_be():
    table = report(small()).skip_cost
    assert table["present"]
    assert [row["name"] for row in table["connections"]] == ["skip"]
    b = Builder("plain")
    x = b.input("x", (1, 2, 2), Interval(0, 1))
    conv = b.add(Conv2d(Weights(np.ones((3, 1, 1, 1), np.int8), 3)), x)
    bits = b.add(Threshold(np.ones((3, 1), np.int64), np.ones(3, np.int64)), conv, name="bits")
    table = report(b.build((bits,))).skip_cost
    assert not table["present"]
    assert [row["name"] for row in table["connections"]] == ["bits"]


def test_multiplexed_skip_counts_pool_threshold_and_select():
    b = Builder("mux")
    x = b.input("x", (8, 4, 4), Interval(0, 1))
    y = b.input("y", (8, 4, 4), Interval(0, 1))
    eights = 8 * np.ones((8, 1), np.int64)
    condition = b.add(Threshold(eights, eights[:, 0] // 8), b.add(SumPool((4, 4), (4, 4)), x))
    program = b.build((b.add(Select(), condition, y, b.add(Or(), y, x)),))
    cells = [layer.circuits.parallel for layer in report(program).layers]
    logic = sum(c.ge - 5.67 * c["register"] for c in cells)
    assert logic == pytest.approx(skip_costs(TensorType((8, 4, 4), Interval(0, 1)))["mux"].ge)


def test_dense_program_is_its_own_single_position():
    b = Builder("mlp")
    x = b.input("x", (6,), Interval(0, 1))
    program = b.build((b.add(Dense(Weights(np.array([[1, 0, -1, 1, 1, -1]]), 3)), x),))
    circuits = report(program).total.circuits
    assert circuits.parallel == circuits.one_position
