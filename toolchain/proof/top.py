"""The top module of an exported design proved: wires between positions, and registers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exporters.netlist.circuit import Circuit
from exporters.netlist.formats import to_aiger
from exporters.netlist.limits import check_stage, summed_bits
from exporters.netlist.stages import Stage, Stages
from exporters.verilog.build import pipelining
from exporters.verilog.design import Design, design
from exporters.verilog.limits import check_exported
from exporters.verilog.names import program_name
from exporters.verilog.sources import sources
from exporters.verilog.wiring import Wiring, whole_plan, wire
from runtime.errors import GatefoldError, TooLargeError
from toolchain.proof.equivalence import Comparison, compare, input_text
from toolchain.proof.hierarchy import Module, WiringError, read_modules
from toolchain.proof.layers import ADDER, check_adder, module_circuit, same_gates
from toolchain.proof.placement import misplaced
from toolchain.proof.prove import OPEN, PROVED, WRONG, Build, Outcome, Progress, Row, timed, unanswered
from toolchain.proof.whole import Calls, Part, Top, program_values, shown_difference
from toolchain.synthesis.map import TABLES
from toolchain.synthesis.yosys import TIMEOUT, Yosys


@dataclass(frozen=True, slots=True)
class Form:
    """How a design is exported: ``pipeline`` with ``levels`` or ``depth``, logic as look-up ``tables`` of
    so many inputs or, None, as gates."""

    pipeline: str
    levels: int = 0
    depth: int = 0
    tables: int | None = None

    def __str__(self) -> str:
        number = self.levels or self.depth
        tables = f", tables of {self.tables}" if self.tables else ""
        return f"{self.pipeline}{f' {number}' if number else ''}{tables}"


def prove_tops(
    parts: Stages,
    rows: Sequence[Row],
    forms: Iterable[Form],
    yosys: Yosys,
    build: Build = Stage.circuit,
    style: str = "gates",
    limit: int = 25_000,
    timeout: float = TIMEOUT,
    progress: Progress = lambda line: None,
) -> Iterator[Row]:
    """A row for the top module in each of ``forms``, as it is done. ``rows``: what is proved of every
    circuit that ``build`` makes of a stage.

    ``limit``: most bits that a stage may add up. ``timeout``: seconds that Yosys may take for a form.
    """
    progress("proving the positions of all circuits")
    whole = timed(lambda: placed(parts, rows))
    attempt = _attempt(parts, yosys, build, style, limit, timeout)
    for form in forms:
        progress(f"proving the top module, {form}")
        outcome = timed(partial(attempt, form))
        yield Row(parts.program.name, "", f"top module, {form}", 1, whole, outcome)


def _attempt(
    parts: Stages, yosys: Yosys, build: Build, style: str, limit: int, timeout: float
) -> Callable[[Form], Outcome]:
    """What tells of each form whether its top module is the program."""
    if why := _too_large(parts, limit):
        return lambda form: Outcome(OPEN, why)
    circuits = {stage.value: build(stage) for stage in parts.circuits}
    wiring = wire(whole_plan(parts), program_name(parts.program.name), style)
    return partial(_prove_form, parts, circuits, wiring, yosys, timeout)


def _prove_form(
    parts: Stages,
    circuits: Mapping[str, Circuit],
    wiring: Wiring,
    yosys: Yosys,
    timeout: float,
    form: Form,
) -> Outcome:
    where = pipelining(wiring, form.pipeline, form.levels, form.depth)
    built = design(wiring, where, form.tables)
    with tempfile.TemporaryDirectory() as folder:
        return prove_top(parts, circuits, built, yosys, Path(folder), timeout)


def _too_large(parts: Stages, limit: int) -> str:
    """Why the top module of a program is not synthesized; empty: it is."""
    try:
        check_exported(parts)
        for stage in parts.circuits:
            check_stage(stage)
    except TooLargeError as error:
        return str(error)
    largest = max(parts.circuits, key=summed_bits)
    if (bits := summed_bits(largest)) > limit:
        return f"the circuit of {largest.value!r} adds up {bits:,} bits, more than {limit:,}"
    return ""


def placed(parts: Stages, rows: Sequence[Row]) -> Outcome:
    """Whether the circuits of ``rows`` at all positions are the program."""
    if wrong := misplaced(parts):
        return Outcome(WRONG, wrong)
    for row in rows:
        if row.program.status != PROVED:
            return Outcome(OPEN, f"the circuit of {row.stage!r} is not proved")
    positions = sum(stage.positions for stage in parts.circuits)
    return Outcome(PROVED, f"{positions:,} positions of {len(rows):,} circuits")


def prove_top(
    parts: Stages,
    circuits: Mapping[str, Circuit],
    built: Design,
    yosys: Yosys,
    folder: Path,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Whether the Verilog of ``built`` is the ``circuits``, by the value that they make, at all positions
    of the program."""
    if yosys.abc is None:
        return Outcome(OPEN, yosys.without_abc)
    values = {module.block.module: module.block.stage.value for module in built.modules}
    try:
        for name, text in sources(built).items():
            (folder / name).write_text(text, encoding="utf-8")
        what = f"synthesizing {built.name}"
        yosys.run(_script(built), folder, what, timeout)
        modules = read_modules(yosys.made(folder / "modules.blif", what))
        check_adder(modules)
        known = {}
        for name, value in values.items():
            if name not in modules:
                raise WiringError(f"there is no instance of module {name}")
            circuit, latency = module_circuit(modules[name], modules, circuits[value])
            found = _compared(yosys, circuits[value], circuit, folder)
            if not found.equal:
                why = found.why or f"they differ for {input_text(circuit, found.difference)}"
                return Outcome(OPEN if found.equal is None else WRONG, f"module {name}: {why}")
            known[name] = Part(value, latency)
        return _wired(parts, circuits, built, modules, known)
    except WiringError as error:
        return Outcome(WRONG, str(error))
    except GatefoldError as error:
        return unanswered(error)


def _script(built: Design) -> str:
    """Yosys commands that make gates and registers of a design, a module for every layer.

    They are not mapped to anything: that is proved of every circuit by itself.
    """
    kept = " ".join([ADDER, *(module.block.module for module in built.modules)])
    return f"""read_verilog{TABLES if built.tables else ""} {" ".join(sources(built))}
setattr -mod -set keep_hierarchy 1 {kept}
hierarchy -check -top {built.name}
proc
flatten
opt_dff
simplemap
clean
write_blif -icells -gates modules.blif
"""


def _compared(yosys: Yosys, ours: Circuit, theirs: Circuit, folder: Path) -> Comparison:
    """Gate by gate, which is enough where one was written from the other; else by ABC."""
    if same_gates(ours, theirs):
        return Comparison(True)
    assert yosys.abc is not None
    (folder / "circuit.aig").write_bytes(to_aiger(ours))
    (folder / "module.aig").write_bytes(to_aiger(theirs))
    return compare(yosys.abc, folder / "circuit.aig", folder / "module.aig", folder)


def _wired(
    parts: Stages,
    circuits: Mapping[str, Circuit],
    built: Design,
    modules: Mapping[str, Module],
    known: Mapping[str, Part],
) -> Outcome:
    """Whether the top module gives the bits of the program."""
    calls, program = Calls(circuits), parts.program
    values = program_values(parts, calls)
    found = Top(modules, built.name, known, calls).outputs(program, values, built.latency)
    pairs = [
        (name, ours, theirs)
        for name in program.outputs
        for ours, theirs in zip(values[name].reshape(-1).tolist(), found[name], strict=True)
    ]
    other = [pair for pair in pairs if pair[1] != pair[2]]
    if not other:
        count = "1 register" if built.latency == 1 else f"{built.latency} registers"
        clocks = f", {count} on every path" if built.latency else ""
        return Outcome(PROVED, f"modules, wires{clocks}")
    inputs = shown_difference(program, values, calls, [pair[1:] for pair in other])
    if inputs is None:
        unshown = "wired otherwise than the program, though no input was found that shows it"
        return Outcome(WRONG, f"output {other[0][0]!r} is {unshown}")
    told = "; ".join(f"{name} = {elements}" for name, elements in inputs.items())
    return Outcome(WRONG, f"they differ for {told}")
