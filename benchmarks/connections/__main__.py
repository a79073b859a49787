"""Compare residual connections at equal parameters: accuracy, and what each costs in hardware.

    python -m benchmarks.connections [DATA ...] [--out runs/connections] [--figures DIR]

Trains the runs that were chosen and are missing, and goes on with interrupted ones; then tabulates every
finished run in OUT, whichever command made it: NAME.md, NAME.json and NAME.svg.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.connections.runs import CONNECTIONS, PRECISIONS, RECIPES, SEEDS, Outcome, finished, run_all
from benchmarks.connections.tables import record, rows, table
from benchmarks.study import command_line, exit_code, write_study
from runtime.errors import InputError
from toolchain.cli.common import extra
from toolchain.tables import to_markdown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line("connections", __doc__)
    made.add_argument("data", nargs="*", choices=RECIPES, help="[default: fashion-mnist]")
    for name, known in (("connections", CONNECTIONS), ("precisions", PRECISIONS)):
        made.add_argument(f"--{name}", nargs="+", choices=known, default=list(known), help="[default: all]")
    made.add_argument(
        "--seeds", type=int, nargs="*", default=SEEDS, help="none: train nothing [default: 0 1 2]"
    )
    return made


def outcomes_of(data: str, options: argparse.Namespace) -> list[Outcome]:
    """Train what was chosen on one data set; every finished run. Raises InputError when there is none."""
    chosen = options.connections, options.precisions, options.seeds
    for outcome in run_all(data, options.out, options.data_dir, *chosen, options.epochs):
        print(f"{data}: {outcome.variant.name}: {outcome.accuracy:.2f} %", flush=True)
    found = finished(data, options.out, options.epochs)
    if not found:
        raise InputError(
            f"a table needs a finished run, and {options.out} has none on {data}; give --seeds"
        )
    return found


def conduct(options: argparse.Namespace) -> None:
    """Carry out the study: its runs, then their tables and their figure. Raises InputError."""
    with extra("plot", "drawing"):
        from benchmarks.connections.figure import draw
    chosen = options.data or ["fashion-mnist"]
    outcomes = {data: outcomes_of(data, options) for data in chosen}
    studies = {data: rows(found) for data, found in outcomes.items()}
    tables = [f"{data}:\n\n{to_markdown(table(data, found))}" for data, found in studies.items()]
    markdown = "\n\n".join(tables)
    name = "-".join(["connections", *studies])
    records = {data: record(outcomes[data], found) for data, found in studies.items()}
    write_study(options.out / name, markdown, records)
    picture = (options.figures or options.out) / f"{name}.svg"
    draw(studies, picture)
    print(f"{picture}\n\n{markdown}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(conduct, parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
