"""Two circuits compared by ABC, and what Yosys makes of Verilog compared with the circuit it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.formats import bit_names, to_aiger
from exporters.netlist.stages import Stage
from exporters.tools import Command, run_command
from exporters.verilog.module import module_text
from runtime.errors import GatefoldError, TimeLimitError
from toolchain.proof.cones import number
from toolchain.proof.reference import masked_module, reference_module
from toolchain.synthesis.blif import ports, without_cells
from toolchain.synthesis.library import COVERS, liberty
from toolchain.synthesis.map import CELLS_V, script
from toolchain.synthesis.yosys import Yosys

SEARCH_SECONDS = 60
"""Most seconds of processor time that ABC searches for a difference; of the clock three times as many."""

FORMS = {None: ("ge", "lut6"), 4: ("lut4_tables",), 6: ("lut6_tables",)}
"""What Yosys maps Verilog to before it is compared, rows of ``TARGETS``, by the inputs of the tables that
it is exported as; None: gates."""


NO_ANSWER = ("UNDECIDED", "Timed out")
"""What ABC says where its time is over. It ends with 0 even where it cannot read a file."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``equal``: None where it is not known, ``why`` then says why. ``difference``: bits of an input for
    which they differ, in order."""

    equal: bool | None
    why: str = ""
    difference: tuple[int, ...] = ()


def compare(abc: Command, ours: Path, theirs: Path, folder: Path) -> Comparison:
    """Two files, AIGER or BLIF, with the same inputs and outputs in the same order.

    Raises GatefoldError where ABC fails.
    """
    commands = []
    for path, name in ((ours, "left.aig"), (theirs, "right.aig")):
        reader = "read_aiger" if path.suffix == ".aig" else "read_blif"
        commands.append(f"{reader} {path.name}; strash; write_aiger {name}")
    commands.append(f"&r left.aig; &cec -T {SEARCH_SECONDS} right.aig")
    what = f"comparing {ours.stem} with {theirs.stem}"
    try:
        outcome = run_command(
            (*abc, "-q", "; ".join(commands)), folder, what, 3 * SEARCH_SECONDS, log="abc.log"
        )
    except TimeLimitError as error:
        return Comparison(None, str(error))
    if "Networks are equivalent" in outcome.output:
        return Comparison(True)
    if "NOT EQUIVALENT" in outcome.output:
        return Comparison(False, difference=_bits(outcome.output))
    if any(words in outcome.output for words in NO_ANSWER):
        return Comparison(None, f"ABC found no answer in {SEARCH_SECONDS} seconds")
    told = outcome.output.strip().split("\n")[-1] or f"it ended with {outcome.code} and said nothing"
    raise GatefoldError(f"{what} failed: ABC: {told}")


def _bits(output: str) -> tuple[int, ...]:
    """The input that ABC names: hexadecimal words, the first bit the lowest of the first."""
    found = re.search(r"INPUT: (.*?)OUTPUT:", output)
    words = re.findall(r"(\d+)'h([0-9A-Fa-f]+)", found[1]) if found else []
    return tuple(int(digits, 16) >> i & 1 for size, digits in words for i in range(int(size)))


def input_text(circuit: Circuit, bits: tuple[int, ...]) -> str:
    """The values of the inputs of ``circuit`` that ``bits`` are."""
    texts, start = [], 0
    for port in circuit.inputs:
        size = len(port.literals)
        rows = np.array(bits[start : start + size], np.int64).reshape(-1, port.type.bits)
        values = number([column.astype(bool) for column in rows.T], port.type.interval.signed)
        texts.append(f"{port.name} = {values.tolist()}")
        start += size
    return "; ".join(texts)


def verilog_equals(
    yosys: Yosys,
    circuit: Circuit,
    text: str,
    forms: tuple[str, ...],
    folder: Path,
    what: str,
    timeout: float,
) -> Comparison:
    """Whether the Verilog ``text``, module ``top`` and its cells, is ``circuit`` after synthesis to
    ``forms``.

    Raises GatefoldError where Yosys fails.
    """
    assert yosys.abc is not None
    (folder / "top.v").write_text(text, encoding="utf-8")
    (folder / "gates.lib").write_text(liberty(), encoding="utf-8")
    (folder / "circuit.aig").write_bytes(to_aiger(circuit))
    yosys.run(script(forms), folder, what, timeout)
    for form in forms:
        mapped = without_cells(yosys.made(folder / f"{form}.blif", what), COVERS)
        _check_ports(circuit, mapped)
        (folder / f"{form}.blif").write_text(mapped, encoding="utf-8")
        found = compare(yosys.abc, folder / "circuit.aig", folder / f"{form}.blif", folder)
        if not found.equal:
            return found
    return Comparison(True)


def _check_ports(circuit: Circuit, mapped: str) -> None:
    """Raise GatefoldError where the order of bits is not that of ``circuit``: ABC goes by it alone."""
    groups = (circuit.inputs, circuit.outputs)
    wanted = tuple([name for port in group for name in _names(port)] for group in groups)
    if ports(mapped) != wanted:
        raise GatefoldError(
            "a synthesized module must have the ports of its circuit; report it with the program"
        )


def _names(port: Port) -> list[str]:
    names = bit_names(port)
    return [port.name] if len(names) == 1 else names  # as Yosys writes a vector of one bit


def reference_equals(
    yosys: Yosys, stage: Stage, circuit: Circuit, folder: Path, timeout: float
) -> Comparison:
    """Whether ``circuit`` is the op of ``stage`` as behavioural Verilog has it, for all valid inputs."""
    assert yosys.abc is not None
    text = CELLS_V.read_text(encoding="utf-8") + module_text(circuit, "circuit")
    text += masked_module(stage, "circuit", "left") + reference_module(stage, "right")
    (folder / "both.v").write_text(text, encoding="utf-8")
    lines = []
    for top in ("left", "right"):
        lines += [
            "design -reset",
            "read_verilog both.v",
            f"synth -flatten -noabc -top {top}",
            "aigmap",
            "clean",
        ]
        lines += [f"write_aiger -symbols {top}_in.aig"]
    yosys.run("\n".join([*lines, ""]), folder, f"synthesizing the reference of {stage.value}", timeout)
    return compare(yosys.abc, folder / "left_in.aig", folder / "right_in.aig", folder)
