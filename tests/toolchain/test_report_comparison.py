"""Several programs side by side: connections, networks by kind of skip, layers, and every format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.ir import Builder, Program
from runtime.ops import Add, And, Conv2d, Or, Select, SumPool, Threshold
from runtime.types import BIT
from runtime.weights import Weights
from tests.programs import programs
from toolchain.cost import report
from toolchain.cost.skips import FLOAT32_ADD_GE, connections
from toolchain.devices import DEVICES
from toolchain.report import FORMATS, compare_costs, to_text
from toolchain.report.comparison import aligned

REGISTER = 5.67


def threshold(value: int, channels: int = 8) -> Threshold:
    return Threshold(np.full((channels, 1), value), np.ones(channels, np.int64))


def conv() -> Conv2d:
    return Conv2d(Weights(np.tile([1, -1, 0], 192).reshape(8, 8, 3, 3), 3), padding=(1, 1))


def join(b: Builder, skip: str, branch: str, x: str) -> str:
    """``skip`` around a branch."""
    if skip == "none":
        return branch
    if skip == "add":
        return b.add(Add(), branch, x, name="joined")
    if skip == "or":
        return b.add(Or(), branch, x, name="joined")
    dense = b.add(threshold(8), b.add(SumPool((4, 4), (4, 4)), x, name="pool"), name="dense")
    return b.add(Select(), dense, branch, b.add(Or(), branch, x, name="either"), name="joined")


def network(skip: str, name: str = "", **metadata: object) -> Program:
    """A convolution with a skip around it, on 8 channels of 4x4 bits; another one on the result."""
    b = Builder(name or skip)
    x = b.input("x", (8, 4, 4), BIT)
    b.at_layer("stage.branch")
    branch = b.add(threshold(1), b.add(conv(), x), name="branch")
    b.at_layer("stage.skip")
    joined = join(b, skip, branch, x)
    b.at_layer("head")
    return b.build((b.add(threshold(2), b.add(conv(), joined), name="out"),), metadata)


def compared(*programs: Program) -> dict[str, object]:
    pairs = [(f"{p.name}.gfold", p) for p in programs]
    return compare_costs(pairs, DEVICES).to_json()["comparison"]


def test_a_multiplexed_skip_is_one_connection() -> None:
    (found,) = connections(network("mux"))
    assert (found.name, found.kind, found.layer) == ("joined", "mux", "stage.skip")
    assert found.nodes == ("pool", "dense", "either", "joined")


def test_nodes_that_others_read_belong_to_no_condition() -> None:
    b = Builder("shared")
    x, y = (b.input(name, (8, 4, 4), BIT) for name in "xy")
    pool = b.add(SumPool((4, 4), (4, 4)), x, name="pool")
    first = b.add(Select(), b.add(threshold(8), pool, name="t"), x, y, name="first")
    shared = b.add(Or(), first, x, name="shared")
    second = b.add(Select(), b.add(threshold(9), pool, name="u"), y, shared, name="second")
    found = connections(b.build((second, shared)))
    assert [(c.name, c.nodes) for c in found] == [
        ("first", ("t", "first")),
        ("shared", ("shared",)),
        ("second", ("u", "second")),
    ]


def test_a_condition_on_the_branch_leaves_the_branch_alone() -> None:
    b = Builder("p")
    x = b.input("x", (8, 4, 4), BIT)
    branch = b.add(threshold(1), b.add(conv(), x), name="branch")
    pool = b.add(SumPool((4, 4), (4, 4)), branch, name="pool")
    both = b.add(
        And(), b.add(threshold(8), pool, name="t"), b.add(threshold(9), pool, name="u"), name="both"
    )
    joined = b.add(Select(), both, b.add(Or(), branch, x, name="either"), branch, name="joined")
    (found,) = connections(b.build((joined,)))
    assert found.nodes == ("pool", "t", "u", "both", "either", "joined")


def test_an_addition_is_compared_at_the_width_of_the_activations() -> None:
    (found,) = connections(network("add"))
    assert (found.type.bits, found.type.shape) == (1, (8, 4, 4))
    (row,) = report(network("add")).skip_cost["connections"]
    assert row["activation_bits"] == 1
    assert row["or"]["bits"] == 128


@pytest.mark.parametrize("skip", ["none", "or", "mux", "add"])
def test_a_network_as_it_is_is_its_total(skip: str) -> None:
    program = network(skip)
    data = compared(program)
    networks = data["skips"]["networks"][skip]
    assert networks["own"]["network_ge"] == data["totals"][skip]["ge"]
    layers = {layer.name: layer.circuits.parallel.ge for layer in report(program).layers}
    own = sum(layers[name] for c in connections(program) for name in c.nodes)
    assert data["totals"][skip]["skip_ge"] == pytest.approx(own, abs=0.1)
    assert data["totals"][skip]["skip_share"] == pytest.approx(own / sum(layers.values()), abs=1e-6)
    assert networks["none"]["network_ge"] == pytest.approx(sum(layers.values()) - own, abs=0.1)


def test_a_network_with_another_skip_is_the_program_with_that_skip() -> None:
    data = compared(network("none"), network("or"), network("mux"))
    networks = data["skips"]["networks"]
    assert networks["or"]["mux"]["network_ge"] == pytest.approx(data["totals"]["mux"]["ge"], abs=0.2)
    assert networks["mux"]["or"]["network_ge"] == pytest.approx(data["totals"]["or"]["ge"], abs=0.2)
    assert networks["or"]["none"]["network_ge"] == pytest.approx(data["totals"]["none"]["ge"], abs=0.2)
    assert set(networks["none"]) == {"own", "none"}


def test_the_float_variant_adds_an_adder_and_a_register_per_element() -> None:
    data = compared(network("or"))
    kinds = data["skips"]["networks"]["or"]
    added = kinds["float32_add"]["network_ge"] - kinds["none"]["network_ge"]
    assert added == pytest.approx(128 * (FLOAT32_ADD_GE + 32 * REGISTER), abs=0.2)
    assert data["totals"]["or"]["float32_skips_ge"] == kinds["float32_add"]["network_ge"]
    assert [kinds[k]["bits"] for k in ("own", "or", "mux", "integer_add", "float32_add")] == [
        128,
        128,
        128,
        1024,
        4096,
    ]
    assert kinds["float32_add"]["share"] == pytest.approx(
        added / kinds["float32_add"]["network_ge"], abs=1e-6
    )


def test_totals_ratios_and_accuracy() -> None:
    data = compared(
        network("none", accuracy=0.5), network("mux", accuracy="good"), network("or", accuracy=7)
    )
    totals, ratios = data["totals"], data["ratios"]
    assert [totals[name]["accuracy"] for name in ("none", "mux", "or")] == [0.5, None, None]
    assert set(ratios["none"].values()) <= {1.0, None}
    assert ratios["mux"]["ge"] == pytest.approx(totals["mux"]["ge"] / totals["none"]["ge"], abs=1e-4)
    assert ratios["mux"]["skip_ge"] is None
    assert totals["mux"]["devices"] == len(DEVICES)
    assert totals["mux"]["devices_fit"] == sum(
        verdict.fits for verdict in report(network("mux"), DEVICES).devices.values()
    )


def test_layers_are_aligned_by_their_path() -> None:
    data = compared(network("none"), network("mux"))
    rows = {row["layer"]: row["programs"] for row in data["layers"]}
    assert list(rows) == ["stage.branch", "stage.skip", "head"]
    assert rows["stage.skip"]["none"] is None
    assert rows["stage.skip"]["mux"]["ge"] == data["totals"]["mux"]["skip_ge"]
    for name in ("none", "mux"):
        parts = [cells[name]["ge"] for cells in rows.values() if cells[name]]
        assert sum(parts) == pytest.approx(data["totals"][name]["ge"], abs=0.5)


@given(st.lists(st.lists(st.sampled_from("abcdefg"), unique=True), min_size=1, max_size=4))
def test_every_path_is_aligned_once_in_the_order_of_the_first(columns: list[list[str]]) -> None:
    merged = aligned(columns)
    assert sorted(merged) == sorted({path for column in columns for path in column})
    assert [path for path in merged if path in columns[0]] == columns[0]


def test_paths_of_later_programs_follow_their_predecessor() -> None:
    assert aligned([["a", "d"], ["a", "b", "d", "e"], ["x", "b", "c"]]) == ["x", "a", "b", "c", "d", "e"]


def test_equal_names_are_told_apart_by_their_files() -> None:
    pairs = [("a.gfold", network("or")), ("b.gfold", network("mux", "or")), ("c.gfold", network("add"))]
    data = compare_costs(pairs).to_json()
    assert data["comparison"]["programs"] == ["or (a.gfold)", "or (b.gfold)", "add"]
    assert [row["path"] for row in data["programs"]] == ["a.gfold", "b.gfold", "c.gfold"]
    assert data["programs"][0] == report(network("or")).to_json() | {"path": "a.gfold"}


def test_a_comparison_of_nothing() -> None:
    with pytest.raises(InputError, match="a comparison needs at least one program, and there is none"):
        compare_costs([])


def test_text_shows_what_only_some_programs_have() -> None:
    text = to_text(compare_costs([("a", network("none")), ("b", network("or")), ("c", network("mux"))]))
    assert text.startswith("3 programs: none, or, mux\n\nPrograms (in brackets: ratio to none)\n")
    lines = [line.split() for line in text.splitlines()]
    assert ["stage.skip", "-", "896", "2,611"] in lines
    assert ["stage.skip", "mux", "8x4x4", "mux", "1,114", "170", "1,114", "5,802", "670,720"] in lines
    title = "Skip connections (GE without registers)"
    assert title in text
    assert title not in to_text(compare_costs([("a", network("none"))]))
    assert "accuracy" not in text


def test_csv_has_one_row_per_number() -> None:
    comparison = compare_costs([("a", network("none")), ("b", network("mux"))])
    data = comparison.to_json()["comparison"]
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](comparison))))
    assert list(rows[0]) == ["table", "item", "program", "quantity", "value"]
    values = {tuple(row.values())[:4]: row["value"] for row in rows}
    assert len(values) == len(rows)
    assert values["totals", "total", "mux", "ge"] == str(data["totals"]["mux"]["ge"])
    assert values["totals", "total", "none", "float32_skips_ge"] == ""
    assert values["connections", "stage.skip: or", "mux", "bits"] == "128"
    assert values["networks", "float32_add", "mux", "network_ge"] == str(
        data["skips"]["networks"]["mux"]["float32_add"]["network_ge"]
    )
    assert ("layers", "stage.skip", "none", "ge") not in values


@pytest.mark.parametrize("format_", ["table", "markdown", "html", "csv", "json"])
def test_names_are_escaped_in_every_format(format_: str) -> None:
    hostile = replace(network("or"), name="=<b>|x")
    text = FORMATS[format_](compare_costs([("a", hostile), ("b", network("mux"))]))
    shown = {
        "table": "=<b>|x",
        "markdown": "=&lt;b&gt;\\|x",
        "html": "=&lt;b&gt;|x",
        "csv": "'=<b>|x",
        "json": "=<b>|x",
    }
    assert shown[format_] in text
    assert ("<b>" in text) == (format_ not in ("markdown", "html"))


@given(programs(), programs())
def test_any_two_programs_can_be_compared_in_every_format(first: Program, second: Program) -> None:
    comparison = compare_costs([("a", first), ("b", second)], ["rp2040"])
    for write in FORMATS.values():
        assert "total" in write(comparison)
    data = json.loads(FORMATS["json"](comparison))["comparison"]
    for label in data["programs"]:
        kinds = data["skips"]["networks"][label]
        assert kinds["own"]["network_ge"] == data["totals"][label]["ge"]
        assert 0 <= kinds["none"]["network_ge"] <= data["totals"][label]["ge"]
