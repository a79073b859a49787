"""Every estimate of the report beside a measurement, for every trained program, in one table.

Gates and look-up tables against Yosys, over the circuits of at most ``--limit`` bits; flash, RAM and
instructions against the image that the compiler links for every microcontroller's core and the emulator
runs, where it fits the largest device of that core. Milliseconds follow from instructions by one table of
cycles.

    python -m benchmarks.estimates [PROGRAM...] [--limit 1000] [--logic] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.ir import Program
from runtime.serialize import load
from toolchain.cost import report
from toolchain.cost.model import macs_by_layer
from toolchain.cost.nodes import node_costs
from toolchain.devices import DEVICES
from toolchain.mcu.cores import CORES
from toolchain.mcu.measure import Checks, Measurer
from toolchain.synthesis.assess import synthesize_program
from toolchain.synthesis.yosys import find_yosys
from toolchain.tables import Table, to_markdown
from toolchain.vectors import read_vectors

LOGIC = {"ge": "GE", "lut4": "LUT4", "lut6": "LUT6"}
QUANTITIES = LOGIC | {"flash": "flash, B", "ram": "RAM, B", "instructions": "instructions"}
"""What is compared, in words."""

SHOWN = "nano-33-ble"
"""The microcontroller whose time is shown."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An estimate and its measurement; ``of``: what they are of."""

    quantity: str
    of: str
    estimated: float
    measured: float

    @property
    def deviation(self) -> float:
        """By what share the estimate is off."""
        return self.estimated / self.measured - 1 if self.measured else float(self.estimated > 0)


@dataclass(frozen=True, slots=True)
class Row:
    """One program. ``circuits``: how many were synthesized, of how many. ``pairs``: all comparisons.

    ``milliseconds``: of one inference on ``SHOWN``, estimated and by counted instructions; None where it
    does not fit.
    """

    program: str
    circuits: tuple[int, int]
    pairs: tuple[Pair, ...]
    milliseconds: tuple[float, float] | None

    def of(self, quantity: str) -> list[Pair]:
        """The comparisons of one quantity."""
        return [pair for pair in self.pairs if pair.quantity == quantity]


def boards() -> list[str]:
    """The largest microcontroller of every core of 32 bits: what does not fit is not run. Of AVR, which
    hardly any of the programs fits, ``toolchain.mcu.calibrate`` prints deviations."""
    found = {}
    for device in sorted(DEVICES.values(), key=lambda d: d.flash_bytes):
        if device.target in CORES and CORES[device.target].machine:
            found[device.target] = device.name
    return [*{**found, DEVICES[SHOWN].target: SHOWN}.values()]


def logic_pairs(program: Program, limit: int) -> tuple[tuple[int, int], list[Pair]]:
    """Sums over the circuits that were synthesized: what the model says, and Yosys."""
    result = synthesize_program(program, node_costs(program), find_yosys("benchmarks.estimates"), limit)
    rows = [(row.model, row.measured) for row in result.rows if row.model and row.measured]
    sums = [
        Pair(kind, "sum", *(round(sum(getattr(side[i], kind) for side in rows), 2) for i in (0, 1)))
        for kind in LOGIC
        if rows
    ]
    return (len(rows), len(result.rows)), sums


def measured_row(path: Path, limit: int, logic: bool) -> Row:
    """All comparisons of the program at ``path``; ``logic``: only those of circuits."""
    program = load(path)
    circuits, pairs = logic_pairs(program, limit)
    if logic:
        return Row(path.parent.name, circuits, tuple(pairs), None)
    samples = read_vectors(path.with_name("vectors.npz"), program).inputs
    measurer = Measurer(Checks.of(program, samples), macs_by_layer(node_costs(program)))
    devices = report(program, boards(), measurer).devices
    for name, verdict in devices.items():
        guess, found = verdict.estimated, verdict.measured
        if guess and found:
            pairs += [Pair(kind, name, guess[kind], found[kind]) for kind in ("flash", "ram")]
        if guess and guess["instructions"] and found and found["run"]:
            pairs.append(Pair("instructions", name, guess["instructions"], found["run"]["instructions"]))
    shown = devices[SHOWN].to_json()
    run = (shown["measured"] or {}).get("run")
    times = run and (shown["estimated"]["milliseconds"], run["estimated_milliseconds"])
    return Row(path.parent.name, circuits, tuple(pairs), times)


def _cell(pairs: Sequence[Pair]) -> str:
    """One comparison in full; of several the largest deviation and where it is."""
    if not pairs:
        return "-"
    worst = max(pairs, key=lambda pair: abs(pair.deviation))
    share = f"{100 * worst.deviation:+.1f} %"
    if len(pairs) > 1:
        return f"{worst.estimated:,.0f} / {worst.measured:,.0f} ({share}, {worst.of})"
    return f"{worst.estimated:,.0f} / {worst.measured:,.0f} ({share})"


def text_of(rows: Sequence[Row]) -> str:
    """The table in Markdown, and the largest deviation of each quantity."""
    headers = ("program", "circuits", *QUANTITIES.values(), f"ms on {SHOWN}")
    cells = [
        [
            row.program,
            f"{row.circuits[0]} of {row.circuits[1]}",
            *(_cell(row.of(quantity)) for quantity in QUANTITIES),
            "{:,.1f} / {:,.1f}".format(*row.milliseconds) if row.milliseconds else "-",
        ]
        for row in rows
    ]
    lines = [to_markdown(Table("", headers, cells, range(2, len(headers)))), ""]
    lines += [f"{title}: {_largest(rows, quantity)}" for quantity, title in QUANTITIES.items()]
    return "\n".join(lines)


def _largest(rows: Iterable[Row], quantity: str) -> str:
    found = [(row.program, pair) for row in rows for pair in row.of(quantity)]
    if not found:
        return "nothing was measured"
    program, pair = max(found, key=lambda one: abs(one[1].deviation))
    where = "" if pair.of == "sum" else f" on {pair.of}"
    near = sum(abs(one.deviation) <= 0.1 for _, one in found)
    return (
        f"largest deviation {100 * pair.deviation:+.2f} %: {program}{where}, {pair.estimated:,.0f} for "
        f"{pair.measured:,.0f} ({len(found)} comparisons, {near} within 10 %)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("programs", nargs="*", type=Path, help="[default: every trained program]")
    parser.add_argument("--limit", type=int, default=1000, help="most bits of a circuit to synthesize")
    parser.add_argument("--logic", action="store_true", help="only circuits, no microcontroller")
    parser.add_argument("--json", type=Path, help="also write every comparison to this file")
    given = parser.parse_args()
    trained = Path(__file__).parents[1] / "sample_models/trained"
    rows = []
    for path in given.programs or sorted(trained.glob("*/program.gfold")):
        start = time.perf_counter()
        rows.append(measured_row(path, given.limit, given.logic))
        print(f"{path.parent.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(text_of(rows))


if __name__ == "__main__":
    main()
