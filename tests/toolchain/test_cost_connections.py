"""Connections of residual networks: every node of their modules, their kind, and what they carry."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from runtime.ir import Builder, Program
from runtime.ops import Add, Lookup, Mul, Or
from runtime.types import BIT, Interval
from sample_models.resnet import MODELS
from toolchain.cost import report
from toolchain.cost.skips import connections
from toolchain.lowering import lower
from toolchain.report import compare_costs, to_text

torch.set_num_threads(1)

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("add", {"connection": "linear"}),
    ("orthogonal", {"connection": "orthogonal"}),
    ("orthogonal", {"connection": "orthogonal-global"}),
    ("quotient", {"connection": "quotient"}),
    ("quotient", {"connection": "quotient", "domain": "linear"}),
    ("or", {"connection": "or"}),
    ("mux", {"connection": "mux"}),
    ("add", {"connection": "linear", "quadratic": "1"}),
]


def residual(**options: Any) -> Program:
    row = MODELS["resnet-8-digits"]
    torch.manual_seed(0)
    model = row.build(width=4, **options).eval()
    return lower(model, row.input_shape, row.input_interval, "residual")


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
def test_a_connection_is_its_whole_module(kind: str, options: dict[str, Any]) -> None:
    program = residual(**options)
    paths = [f"stage{number}.0.connection" for number in (1, 2, 3)]
    assert [(c.layer, c.kind) for c in connections(program)] == [(path, kind) for path in paths]
    for found in connections(program):
        assert found.nodes == tuple(n.result for n in program.nodes if n.layer == found.layer)
    data = compare_costs([("p", program)]).to_json()["comparison"]
    layers = [layer.circuits.parallel for layer in report(program).layers if layer.layer in paths]
    own = data["skips"]["networks"]["residual"]["own"]
    assert own["stored_ge"] == pytest.approx(sum(cells.ge for cells in layers), abs=0.1)
    assert own["ge"] == pytest.approx(sum(cells.logic_ge for cells in layers), abs=0.1)
    rows = report(program).skip_cost["connections"]
    assert own["ge"] == pytest.approx(sum(row["own"]["ge"] for row in rows), abs=0.2)
    assert own["network_ge"] == data["totals"]["residual"]["ge"]


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
def test_a_connection_carries_its_stream(kind: str, options: dict[str, Any]) -> None:
    program = residual(bits=2, stream_bits=4, **options)
    types = program.types
    for found in connections(program):
        sides = {name for n in program.nodes if n.result in found.nodes for name in n.operands}
        streams = [types[name] for name in sides - {*found.nodes} if "_branch_" not in name]
        assert found.carried in streams
        assert found.type.bits <= found.carried.bits


def test_a_table_of_the_same_value_is_no_gate() -> None:
    b = Builder("p")
    x = b.input("x", (2, 4, 4), Interval(0, 3))
    f = b.input("f", (2, 4, 4), Interval(0, 3))
    b.at_layer("self")
    own = b.add(Mul(), x, b.add(Lookup([[0, 1, 2, 3]]), x), name="own")
    b.at_layer("gate")
    gated = b.add(Mul(), b.add(Lookup([[0, 1, 2, 3]]), f, name="gate"), own, name="gated")
    (found,) = connections(b.build((gated,)))
    assert (found.name, found.kind, found.nodes) == ("gated", "quotient", ("gate", "gated"))


def test_a_module_that_joins_several_times_has_one_connection_each() -> None:
    b = Builder("p")
    x, y, z = (b.input(name, (2, 4, 4), BIT) for name in "xyz")
    b.at_layer("twice")
    either = b.add(Or(), x, y, name="either")
    total = b.add(Add(), either, z, name="total")
    found = connections(b.build((total,)))
    assert [(c.name, c.kind, c.nodes) for c in found] == [
        ("either", "or", ("either",)),
        ("total", "add", ("total",)),
    ]


def test_a_report_of_one_program_shows_what_its_connections_cost() -> None:
    program = residual(connection="orthogonal")
    text = to_text(report(program))
    row = report(program).skip_cost["connections"][0]
    (line,) = (x.split() for x in text.splitlines() if row["name"] in x and "orthogonal" in x)
    assert line[:4] == [row["name"], "orthogonal", "4x8x8", f"{round(row['own']['ge']):,}"]
    header = next(x.split() for x in text.splitlines() if x.startswith("connection"))
    assert header[:5] == ["connection", "has", "shape", "its", "GE"]
