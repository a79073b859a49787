"""``gatefold report``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from runtime.errors import GatefoldError, InputError, MismatchError, MissingToolError
from runtime.ir import Program
from runtime.serialize import load
from toolchain.cli.common import (
    data_dir_option,
    data_option,
    json_option,
    late_status,
    print_or_write,
    tell,
)
from toolchain.cli.evidence import NOTHING, Wanted, gather, vectors_beside
from toolchain.cli.verify import failure
from toolchain.cost import Report, report
from toolchain.cost.model import macs_by_layer
from toolchain.cost.nodes import node_costs
from toolchain.devices import DEVICES, find
from toolchain.mcu.assess import Measure
from toolchain.mcu.measure import Checks, Measurer
from toolchain.mcu.toolsets import TOOLSETS
from toolchain.report import FORMATS, CostComparison, compare_costs, format_of, html_writer, to_text
from toolchain.synthesis.assess import LIMIT, synthesize_program
from toolchain.synthesis.pnr import TARGETS, placer
from toolchain.synthesis.yosys import find_yosys
from toolchain.tables import terminal_width


def once_each(paths: Iterable[Path]) -> None:
    """Raise InputError where two paths lead to the same file."""
    seen: dict[str, Path] = {}
    for path in paths:
        first = seen.setdefault(os.path.realpath(path), path)
        if first is not path:
            raise InputError(
                f"every program must be given once, but {first} and {path} are one file; leave one out"
            )


MEASURED_MACS = 50_000_000
"""Largest program that is measured without being asked to: running it under emulation takes long."""


@dataclass(frozen=True, slots=True)
class Synthesizing:
    """``limit``: most bits that a circuit may add up. ``device``: to place on, or None."""

    limit: int
    device: str | None


def subject(
    programs: tuple[Path, ...],
    devices: Iterable[str],
    measured: bool | None = False,
    synthesizing: Synthesizing | None = None,
    wanted: Wanted = NOTHING,
) -> Report | CostComparison:
    """The report of one program, or several side by side. ``measured``: None decides by the program."""
    once_each(programs)
    if len(programs) == 1:
        path, program = programs[0], load(programs[0])
        found = report(program, devices, measurer(program, path, measured))
        with late_status() as status:
            evidence = gather(path, program, wanted, found.total.macs, status)
        found = replace(found, evidence=evidence)
        return synthesized(found, program, synthesizing) if synthesizing else found
    if synthesizing:
        raise InputError(
            f"one program at a time can be synthesized, not {len(programs)}; leave out --synthesize or "
            "give one"
        )
    if measured:
        raise InputError(
            f"one program at a time can be measured, not {len(programs)}; leave out --measure or give one"
        )
    for option, given in (("--verify", wanted.verify), ("--bench", wanted.speed), ("--data", wanted.data)):
        if given:
            raise InputError(
                f"one program at a time can be run, not {len(programs)}; leave out {option} or give one"
            )
    return compare_costs(((str(path), load(path)) for path in programs), devices)


def synthesized(found: Report, program: Program, wanted: Synthesizing) -> Report:
    """``found`` with what Yosys, and nextpnr where a device is named, make of every circuit.

    Raises MissingToolError where they are not there.
    """
    yosys = find_yosys("--synthesize")
    place = placer(wanted.device, yosys, "--place-and-route") if wanted.device else None
    result = synthesize_program(program, found.layers, yosys, wanted.limit, progress=tell, place=place)
    return replace(found, synthesis=result)


def measurer(program: Program, path: Path, measured: bool | None) -> Measure | None:
    """What measures ``program``, or None where it is not to be.

    Raises MissingToolError where it must be and the packages are not there.
    """
    macs = macs_by_layer(node_costs(program))
    why = TOOLSETS["zig"].missing()
    lacking = None if measured else partial(click.echo, err=True)
    if measured is None:
        measured = sum(macs.values()) <= MEASURED_MACS
        if measured and why:
            click.echo(f"flash and RAM of microcontrollers are estimated; measuring {why}", err=True)
            measured = False
    elif measured and why:
        raise MissingToolError(f"--measure {why}, or give --no-measure")
    if not measured:
        return None
    vectors = vectors_beside(path, program)
    return Measurer(Checks.of(program, vectors and vectors.inputs), macs, tell, lacking)


def check_agreement(found: Report | CostComparison) -> None:
    """Raise MismatchError where an executor differs from the interpreter."""
    verification = found.evidence.verification if isinstance(found, Report) else None
    if verification and not verification.comparison.ok:
        raise MismatchError(failure(verification.comparison))


def check_synthesis(found: Report | CostComparison) -> None:
    """Raise GatefoldError where whatever was to be synthesized failed."""
    synthesis = found.synthesis if isinstance(found, Report) else None
    tried = [row for row in synthesis.rows if row.model] if synthesis else []
    if tried and not any(row.measured for row in tried):
        raise GatefoldError(f"nothing could be synthesized: {tried[0].why}")


@click.command("report")
@click.argument("programs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PROGRAM...")
@click.option(
    "--device",
    "devices",
    metavar="NAME",
    multiple=True,
    help="Judge this device; repeatable [default: every device of `gatefold devices`].",
)
@click.option(
    "--measure/--no-measure",
    default=None,
    help="Cross-compile and emulate on the microcontrollers [default: where a device is named, the extra "
    "`mcu` is installed and the program is not large].",
)
@click.option(
    "--synthesize",
    is_flag=True,
    help="Also run Yosys on every circuit that is not too large (extra `synth`).",
)
@click.option(
    "--synthesize-limit",
    "limit",
    type=click.IntRange(0),
    help="Most bits that one position of a circuit may add up to be synthesized: nonzero weights times "
    f"bits [default: {LIMIT}].",
)
@click.option(
    "--place-and-route",
    "place",
    type=click.Choice(list(TARGETS)),
    help="Also place and route what is synthesized with nextpnr, one circuit at a time.",
)
@click.option("--verify", is_flag=True, help="Also run the executors against the interpreter, for seconds.")
@click.option(
    "--bench", "speed", is_flag=True, help="Also measure the speed of the executors, for seconds."
)
@data_option(
    "Take the inputs of what is run from this data set [default: vectors.npz beside the program, else "
    "uniform random ones]."
)
@data_dir_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    help="[default: that of the suffix of --output: .html, .md, .csv, .json; else table]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead.")
@json_option
def command(
    programs: tuple[Path, ...],
    devices: tuple[str, ...],
    measure: bool | None,
    synthesize: bool,
    limit: int | None,
    place: str | None,
    verify: bool,
    speed: bool,
    data: str | None,
    data_dir: Path | None,
    format_: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say what PROGRAM costs in gates, bytes and operations, and which devices it fits.

    Several programs are compared: totals, layer by layer, and their skip connections against OR, MUX,
    integer and float additions. Ratios are to the first.

    `-o report.html` writes the page to circulate: the network drawn, plots, memory over time, verdicts.
    Exits with code 4 where --verify finds one differing bit, after the report is written.
    """
    formats = FORMATS | {"table": partial(to_text, width=None if output else terminal_width())}
    chosen = format_of(output, format_, as_json)
    if chosen == "html":
        html_writer()  # a missing package is said before anything is measured, not after
    if data_dir is not None and not data:
        raise InputError("--data-dir says where a data set is; give --data NAME too")
    if not any(find(name).kind == "mcu" for name in devices):
        if measure and devices:
            raise InputError(
                "--measure is of microcontrollers, and no --device is one; name one or leave it out"
            )
        measure = measure or False
    if limit is not None and not (synthesize or place):
        raise InputError("--synthesize-limit is of what is synthesized; give --synthesize too")
    synthesizing = Synthesizing(LIMIT if limit is None else limit, place) if synthesize or place else None
    wanted = Wanted(chosen != "table" or data is not None, verify, speed, data, data_dir)
    found = subject(programs, devices or DEVICES, measure, synthesizing, wanted)
    print_or_write(formats[chosen](found), output)
    check_agreement(found)
    check_synthesis(found)
