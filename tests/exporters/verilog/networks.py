"""Small networks for designs, and tools that run generated Verilog."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from exporters.netlist.stages import stages
from exporters.tools import Outcome, run_command
from exporters.verilog.design import Design, design
from exporters.verilog.simulators import Verilator, find_simulator
from exporters.verilog.sources import sources
from exporters.verilog.timing import Pipelining
from exporters.verilog.wiring import whole_plan, wire
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import ArgMax, Conv2d, Dense, MaxPool, Or, Reshape, Threshold
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import random_inputs

SEED = 188
"""Of a network whose bits all change."""

COMBINATIONAL = Pipelining(clocked=False)
LAYERS = Pipelining(clocked=True, layers=True)


def ternary(rng: np.random.Generator, *shape: int) -> Weights:
    return Weights(rng.integers(-1, 2, shape, np.int8), 3)


def skip_network() -> Program:
    """Convolutions with a border, a skip around two of them, a pool and a classifier."""
    rng, b = np.random.default_rng(SEED), Builder("skip")
    x = b.input("image", (2, 4, 4), Interval(0, 1))
    b.at_layer("stem")
    y = b.add(Conv2d(ternary(rng, 3, 2, 3, 3), padding=(1, 1)), x)
    first = b.add(Threshold(np.array([[0], [1], [1]]), np.array([1, -1, 1])), y, name="stem")
    b.at_layer("branch")
    y = b.add(Conv2d(ternary(rng, 3, 3, 3, 3), padding=(1, 1)), first)
    y = b.add(Threshold(np.array([[0], [1], [-1]]), np.array([1, -1, 1])), y, name="hidden")
    y = b.add(Conv2d(ternary(rng, 3, 3, 1, 1)), y)
    y = b.add(Threshold(np.array([[0], [1], [0]]), np.array([1, 1, -1])), y, name="branch")
    b.at_layer("skip")
    y = b.add(Or(), y, first, name="skip")
    y = b.add(MaxPool((2, 2), (2, 2)), y, name="pool")
    b.at_layer("classifier")
    y = b.add(Reshape((12,)), y)
    scores = b.add(Dense(ternary(rng, 4, 12)), y, name="scores")
    return b.build(outputs=(scores, b.add(ArgMax(), scores, name="class")))


def designed(
    program: Program,
    pipelining: Pipelining,
    name: str = "net",
    style: str = "gates",
    tables: int | None = None,
) -> Design:
    return design(wire(whole_plan(stages(program)), name, style), pipelining, tables)


def verilator() -> Verilator:
    found = find_simulator()
    assert isinstance(found, Verilator)
    return found


def write(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Names of the Verilog files among ``texts``, all of which are written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [name for name in texts if name.endswith(".v")]


def verilate(words: Sequence[str], folder: Path) -> Outcome:
    tool = verilator()
    return run_command((*tool.command, *words), folder, "verilating", 600, tool.settings)


def warnings(texts: Mapping[str, str], top: str, folder: Path) -> str:
    """What the strictest linting says."""
    names = write(texts, folder)
    words = ("--lint-only", "-Wall", "--no-timing", "--quiet-stats", "--top-module", top, *names)
    return verilate(words, folder).output


@cache
def runtime() -> tuple[str, ...]:
    """Objects of Verilator's own for programs with a testbench, compiled once."""
    folder = Path(tempfile.mkdtemp(prefix="gatefold-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = []
    for part in ("", "_threads", "_timing"):
        source = verilator().root / "include" / f"verilated{part}.cpp"
        made.append(str(folder / f"{source.stem}.o"))
        compile_cpp(("-c", "-o", made[-1], str(source)), folder)
    return tuple(made)


def compile_cpp(words: Sequence[str], folder: Path) -> None:
    flags = ("-std=c++20", "-fcoroutines", "-O0", "-w", "-pthread", f"-I{verilator().root / 'include'}")
    built = run_command((*verilator().compiler.command, *flags, *words), folder, "compiling", 600)
    assert built.code == 0, built.output


def run_bench(folder: Path, name: str) -> str:
    """What the testbench of an exported folder prints in Verilator."""
    files = [f"{name}.v", f"{name}_stages.v", "gatefold_cells.v", f"{name}_tb.v"]
    top = ("--top-module", f"{name}_tb", "--Mdir", "made", "--prefix", "Vgf")
    quick = ("-fno-gate", "-fno-dfg", "--inline-mult", "50")
    made = verilate(("--cc", "--main", "--timing", "-Wno-fatal", *quick, *top, *files), folder)
    assert made.code == 0, made.output
    texts = [f'#include "{path.name}"\n' for path in sorted((folder / "made").glob("*.cpp"))]
    (folder / "made" / "all.cc").write_text("".join(texts))
    compile_cpp(("-Imade", "-o", "bench", "made/all.cc", *runtime()), folder)
    return run_command((str(folder / "bench"),), folder, "simulating", 600).output


def expected(program: Program, count: int, seed: int = 0) -> tuple[dict, dict]:
    inputs = random_inputs(program, count, seed)
    return inputs, Interpreter(program).run(inputs)


def all_sources(
    program: Program, pipelining: Pipelining, style: str = "gates", tables: int | None = None
) -> dict[str, str]:
    return sources(designed(program, pipelining, style=style, tables=tables))
