"""Exported folders: their testbench finds a fault of one gate, names may hold anything, options are
checked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import exporters
from exporters.verilog.executor import VerilogExecutor
from exporters.verilog.names import KEYWORDS, Names, identifier, program_name
from runtime.errors import InputError, TooLargeError
from runtime.ir import Builder, Program
from runtime.ops import Concat, Dense, Threshold
from runtime.types import Interval
from tests.exporters.verilog.networks import (
    expected,
    run_bench,
    skip_network,
    ternary,
    warnings,
)


def exported(tmp_path: Path, program: Program | None = None, **options: str) -> Path:
    return exporters.export(program or skip_network(), "verilog", tmp_path / "out", **options)


@pytest.mark.parametrize("pipeline", [{"pipeline": "combinational"}, {"pipeline": "depth", "depth": "4"}])
def test_the_testbench_passes_and_finds_a_fault_of_one_gate(pipeline: dict, tmp_path: Path) -> None:
    folder = exported(tmp_path, **pipeline)
    assert run_bench(folder, "skip").startswith("PASS: 256 samples\n")
    stages = folder / "skip_stages.v"
    text = stages.read_text()
    broken = re.sub(
        r"module skip_scores \((.*?)gf_full_adder u(\d+) ",
        r"module skip_scores (\1gf_fault u\2 ",
        text,
        count=1,
        flags=re.DOTALL,
    )
    assert broken != text
    cell = re.search(
        r"module gf_full_adder.*?endmodule", (folder / "gatefold_cells.v").read_text(), re.DOTALL
    )
    assert cell
    fault = cell[0].replace("gf_full_adder", "gf_fault").replace("s = p ^ ci", "s = ~(p ^ ci)")
    stages.write_text(f"{fault}\n{broken}")
    assert re.match(r"sample \d+: [0-9a-f]+, not ", said := run_bench(folder, "skip"))
    assert re.search(r"^FAIL: [1-9]\d* of 256 samples wrong, 0 missing$", said, re.MULTILINE)


@pytest.mark.parametrize("options", [{"tables": "4"}, {"tables": "6", "pipeline": "levels", "levels": "5"}])
def test_tables_pass_the_testbench_and_a_wrong_bit_of_one_does_not(options: dict, tmp_path: Path) -> None:
    folder, size = exported(tmp_path, **options), options["tables"]
    assert run_bench(folder, "skip").startswith("PASS: 256 samples\n")
    stages = folder / "skip_stages.v"
    text = stages.read_text()
    assert "gf_full_adder" not in text
    assert f"tables of {size} | registers |" in (folder / "README.md").read_text()
    head, last = text.rsplit(f"gf_lut{size} #(.TABLE(", 1)
    bits, table = last.split("'h", 1)
    stages.write_text(f"{head}gf_lut{size} #(.TABLE(~{bits}'h{table}")
    assert re.search(r"^FAIL: [1-9]\d* of 256 samples wrong", run_bench(folder, "skip"), re.MULTILINE)


def test_nothing_passes_where_the_vectors_are_not(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    (folder / "skip_outputs.hex").unlink()
    assert "FAIL: run it where the files skip_*.hex are" in run_bench(folder, "skip")


def test_scripts_that_would_take_tables_apart_are_left_out(tmp_path: Path) -> None:
    folder = exported(tmp_path, tables="6")
    assert sorted(path.name for path in folder.glob("*.ys")) == ["synth_generic.ys", "synth_xilinx.ys"]
    assert "(generic, xilinx)" in (folder / "README.md").read_text()


def test_tables_of_six_take_groups_of_six(tmp_path: Path) -> None:
    counts = {}
    for style in ("auto", "lut6"):
        folder = exporters.export(
            skip_network(), "verilog", tmp_path / style, part="scores", tables="6", style=style
        )
        counts[style] = (folder / "skip_scores_stages.v").read_bytes()
    assert counts["auto"] == counts["lut6"]


def test_a_pipeline_that_loses_samples_fails(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    top = folder / "skip.v"
    top.write_text(top.read_text().replace(".d(in_valid)", ".d(in_valid & image[0])"))
    assert re.search(r"^FAIL: .* \d+ missing$", run_bench(folder, "skip"), re.MULTILINE)


def test_a_reset_that_forgets_nothing_fails(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    top = folder / "skip.v"
    top.write_text(top.read_text().replace(".rst(rst)", ".rst(rst & !out_valid)"))
    assert re.search(r"^FAIL: [1-9]\d* of 256 samples wrong", run_bench(folder, "skip"), re.MULTILINE)


@pytest.mark.parametrize("part", ["hidden", "pool", "stem"])
def test_one_position_of_a_layer_is_a_design_of_its_own(part: str, tmp_path: Path) -> None:
    folder = exported(tmp_path, part=part, pipeline="levels", levels="5")
    assert run_bench(folder, f"skip_{part}").startswith("PASS: ")
    text = (folder / f"skip_{part}.v").read_text()
    assert text.count(f"skip_{part}_{part} ") == 1
    assert f"One position of {part}, layer" in (folder / "README.md").read_text()


def test_the_folder_is_complete_and_says_how_to_use_it(tmp_path: Path) -> None:
    folder = exported(tmp_path, name="mine")
    assert sorted(path.name for path in folder.iterdir()) == [
        *(".gatefold", "Makefile", "README.md", "gatefold_cells.v", "mine.sdc", "mine.v", "mine.xdc"),
        *("mine_inputs.hex", "mine_outputs.hex", "mine_stages.v", "mine_tb.v"),
        *("synth_ecp5.ys", "synth_generic.ys", "synth_ice40.ys", "synth_xilinx.ys"),
    ]
    readme = (folder / "README.md").read_text()
    for line in (
        "| latency | 7 clocks |",
        "| initiation interval | 1 clock |",
        "| `image` | in | 32 | image | 2x4x4 of 1 bits in [0, 1] |",
        "| `out_class` | out | 2 | class | 1 of 2 bits in [0, 3] |",
        "| `mine_stem` | stem | 16 | 1 | ",
    ):
        assert line in readme
    assert len((folder / "mine_inputs.hex").read_text().splitlines()) == 256


HOSTILE = [
    "module",
    "a b",
    "a_b",
    "A_B",
    "3",
    "é",
    "in_valid",
    "clk",
    "n12",
    "u7",
    "eval",
    "gf_delay",
    "x" * 99,
    "$x",
]


def test_any_name_becomes_an_identifier_of_its_own(tmp_path: Path) -> None:
    rng, b = np.random.default_rng(0), Builder('hostile"; $finish; //')
    inputs = [b.input(name, (2,), Interval(0, 1)) for name in HOSTILE]
    joined = b.add(Concat(), *inputs)
    y = b.add(Dense(ternary(rng, 3, 2 * len(HOSTILE))), joined, name="endmodule")
    z = b.add(Threshold(np.array([[0], [1], [2]]), np.array([1, 1, 1])), y, name="out_valid")
    program = b.build(outputs=(y, z, inputs[0]))
    wanted_inputs, wanted = expected(program, 40)
    executor = VerilogExecutor(program)
    found = executor.run(wanted_inputs)
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())
    folder = exported(tmp_path, program)
    texts = {path.name: path.read_text() for path in folder.glob("*.v") if "_tb" not in path.name}
    assert warnings(texts, executor.design.name, tmp_path / "lint") == ""


def test_identifiers() -> None:
    assert identifier("a--b  c", "v") == "a_b_c"
    assert identifier("7 up", "v") == "v_7_up"
    assert identifier("", "v") == "v"
    assert all(identifier(word, "v") == f"v_{word}" for word in KEYWORDS if "__" not in word)
    assert [identifier(text, "v") for text in ("n1", "n1i", "u3", "in0", "gf_x")] == [
        f"v_{text}" for text in ("n1", "n1i", "u3", "in0", "gf_x")
    ]
    assert program_name("net_tb") == "nettb"
    names = Names("clk")
    assert [names.new("x"), names.new("X"), names.new("x"), names.new("CLK")] == [
        "x",
        "X_2",
        "x_3",
        "CLK_2",
    ]


WRONG = {
    ("levels", "3"): "levels goes with pipeline levels, not with layers",
    ("pipeline", "depth"): "pipeline depth needs a number: give --depth N",
    ("part", "nothing"): (
        "part must be one circuit of 'skip': stem, hidden, branch, skip, pool, scores, class; not 'nothing'"
    ),
    ("pipeline", "fast"): ("pipeline must be one of layers, levels, depth, combinational, not 'fast'"),
}


@pytest.mark.parametrize("option", WRONG)
def test_options_that_are_wrong_are_one_line(option: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        exported(tmp_path, **dict([option]))
    assert str(error.value) == WRONG[option]


def test_numbers_that_are_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^levels must be a whole number .* levels, not '-1'$"):
        exported(tmp_path, pipeline="levels", levels="-1")
    with pytest.raises(InputError, match=r"^depth goes with pipeline depth, not with levels$"):
        exported(tmp_path, pipeline="levels", levels="3", depth="3")


def test_a_network_too_large_names_its_size_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.verilog.limits.EXPORTED", 50)
    with pytest.raises(
        TooLargeError, match=r"at most 50 bits, .* 'skip' have [\d,]+; export one layer with --part$"
    ):
        exported(tmp_path)
