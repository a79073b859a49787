"""The forms of weights: bytes of every encoding, gates of both products, and what a report says of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, Op, Threshold
from runtime.types import Interval, TensorType
from runtime.weights import ENCODINGS, Weights
from tests.programs import random_codes
from toolchain.cost import report
from toolchain.cost.nodes import node_costs
from toolchain.passes import FastHamilton
from toolchain.report import FORMATS, to_text

PAGE = Path(__file__).parents[2] / "docs" / "cost-model.md"

BITS = (1, 2, 4, 8)

MEASURED = {
    3: [(8543, 18017), (17455, 24431), (35151, 36539), (70650, 60097)],
    5: [(10749, 22621), (21905, 30180), (44123, 45426), (88553, 75045)],
    9: [(15109, 27732), (30628, 37444), (61615, 56757), (123708, 94689)],
    15: [(19497, 32146), (39305, 43871), (79202, 66786), (158903, 112402)],
    31: [(24884, 38248), (50243, 52530), (100907, 80413), (202327, 135991)],
}
"""GE of the direct and the fast form by levels, for operands of ``BITS``: as in docs/cost-model.md."""


def single(op: Op, x: TensorType, *rest: Op) -> Program:
    b = Builder("layer")
    value = b.add(op, b.input("x", x.shape, x.interval), name="y")
    for follower in rest:
        value = b.add(follower, value)
    return b.build((value,))


def quaternion_conv(levels: int, keep: float = 1.0, channels: int = 16) -> Conv2d:
    rng = np.random.default_rng(levels)
    codes = random_codes(rng, (4, channels // 4, channels // 4, 3, 3), levels)
    return Conv2d(Weights.hamilton(codes * (rng.random(codes.shape) < keep), levels), padding=(1, 1))


def image(bits: int, channels: int = 16) -> TensorType:
    return TensorType((channels, 8, 8), Interval(0, 2**bits - 1))


@pytest.mark.parametrize("levels", MEASURED)
def test_measured_gates_are_those_of_the_documentation(levels: int) -> None:
    op, rows = quaternion_conv(levels), []
    for bits in BITS:
        program = single(op, image(bits))
        forms = report(program).forms["y"]
        assert forms.gates_fast_ge is not None
        rows.append((round(forms.gates_direct_ge), round(forms.gates_fast_ge)))
        chosen = FastHamilton("cost")(program) is not program
        assert chosen == (forms.gates_fast_ge < forms.gates_direct_ge)
    assert rows == MEASURED[levels]
    cells = " | ".join(f"{direct:,} / {fast:,}" for direct, fast in rows)
    assert f"| {levels} | {cells} |" in PAGE.read_text()


@pytest.mark.parametrize(("levels", "bits"), [(3, 8), (15, 4), (15, 8)])
def test_half_of_the_weights_pruned_is_enough_for_the_direct_form(levels: int, bits: int) -> None:
    forms = report(single(quaternion_conv(levels, keep=0.5), image(bits))).forms["y"]
    assert forms.gates_fast_ge is not None
    assert forms.gates_direct_ge < forms.gates_fast_ge


@pytest.mark.parametrize("count", [0, 3])
def test_gates_are_the_logic_of_the_layer_with_its_threshold_in_either_form(count: int) -> None:
    rising = np.arange(-20, 20, 40 // count)[:count] if count else np.array([], int)
    followers = [Threshold(np.tile(rising, (16, 1)), np.ones(16, int))] if count else []
    program = single(quaternion_conv(15), image(4), *followers)
    forms = report(program).forms["y"]
    for form, choice in ((forms.gates_direct_ge, "direct"), (forms.gates_fast_ge, "fast")):
        costs = node_costs(FastHamilton(choice)(program))
        assert form == pytest.approx(sum(cost.circuits.one_position.logic_ge for cost in costs))


def test_a_quaternion_layer_has_a_quarter_of_the_parameters_and_all_operations() -> None:
    op = quaternion_conv(3, keep=0.2)
    total = report(single(op, image(2))).to_json()["total"]
    stored = 16 * 16 * 9 // 4
    assert total["parameters"] == stored
    assert total["float32_bytes"] == 4 * stored
    assert total["nonzero"] == np.count_nonzero(op.weights.components)
    assert total["macs"] == 16 * 16 * 9 * 64
    assert total["bops"] == total["macs"] * 2 * 2
    assert total["weight_bytes"] == op.weights.stored_bytes


def test_bytes_of_every_form() -> None:
    weights = quaternion_conv(3, keep=0.2).weights
    forms = report(single(Conv2d(weights, padding=(1, 1)), image(1))).forms["y"].to_json()
    assert (forms["stored"], forms["stored_bytes"]) == ("hamilton-sparse", weights.stored_bytes)
    assert forms["dense_bytes"] == 461  # 2,304 trits, five a byte
    assert forms["hamilton_bytes"] == 116  # 576 trits
    assert forms["sparse_bytes"] == ENCODINGS["sparse"].size(weights.codes, 3)
    assert forms["hamilton_sparse_bytes"] == weights.stored_bytes
    assert forms["zero_share"] == round(1 - np.count_nonzero(weights.codes) / weights.codes.size, 4)


def test_forms_that_a_layer_does_not_have_are_null() -> None:
    rng = np.random.default_rng(0)
    x = TensorType((8,), Interval(0, 3))
    plain = Dense(Weights(random_codes(rng, (8, 8), 4), 4))
    program = single(plain, x, Threshold(np.zeros((8, 1), int), np.ones(8, int)))
    layer, threshold = report(program).to_json()["layers"]
    assert threshold["forms"] is None
    names = [key for key, value in layer["forms"].items() if value is None]
    assert names == ["sparse_bytes", "hamilton_bytes", "hamilton_sparse_bytes", "gates_fast_ge"]
    wide = Dense(Weights.hamilton(random_codes(rng, (4, 2, 2), 127), 127))
    forms = report(single(wide, x)).forms["y"]
    assert forms.hamilton_bytes is not None
    assert forms.gates_fast_ge is None


def test_the_table_appears_with_hamilton_or_mostly_zero_weights() -> None:
    x = TensorType((20,), Interval(0, 1))
    codes = np.zeros((4, 20), int)
    codes[:, :10] = 1
    assert "Weight forms" not in to_text(report(single(Dense(Weights(codes, 3)), x)))
    codes[0, 0] = 0
    assert "Weight forms" in to_text(report(single(Dense(Weights(codes, 3)), x)))
    text = to_text(report(single(quaternion_conv(15), image(4))))
    lines = text.partition("Weight forms")[2].splitlines()
    assert lines[0] == " (GE of one position with its Threshold, without registers)"
    headers = "layer stored as zeros dense sparse Hamilton Hamilton sparse GE direct GE fast"
    assert " ".join(lines[2].split()) == headers
    row = "y hamilton-base15 6.4 % 1.1 KB 1.3 KB 288 B 347 B 79,202 66,786"
    assert " ".join(lines[4].split()) == row


def test_the_table_and_the_records_are_in_every_format() -> None:
    costs = report(
        single(quaternion_conv(15), image(4), Threshold(np.zeros((16, 1), int), np.ones(16, int)))
    )
    for name in ("table", "markdown", "html"):
        assert "hamilton-base15" in FORMATS[name](costs)
    assert json.loads(FORMATS["json"](costs))["layers"][0]["forms"]["stored"] == "hamilton-base15"
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](costs))))
    assert [row["forms.hamilton_bytes"] for row in rows] == ["288", "", ""]


@pytest.mark.parametrize("levels", [3, 31])
def test_the_forms_of_a_large_layer_are_counted_in_seconds(levels: int) -> None:
    program = single(quaternion_conv(levels, channels=512), image(4, channels=512))
    start = perf_counter()
    report(program)
    assert perf_counter() - start < 8
