"""Train what a study of HEQ needs, and draw its figure beside a table of it.

    python -m benchmarks.heq STUDY|all [--data digits|fashion-mnist] [--out runs/heq] [--figures DIR]

Runs are shared between studies and resumed: a finished one is read, an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.heq.runs import SETTINGS, run_all
from benchmarks.heq.studies import STUDIES, record, table
from benchmarks.study import command_line, exit_code, write_study
from toolchain.cli.common import extra
from toolchain.tables import to_markdown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line("heq", __doc__)
    made.add_argument("study", choices=[*STUDIES, "all"])
    made.add_argument("--data", choices=SETTINGS, default="digits")
    made.add_argument("--seeds", type=int, nargs="+", default=[], help="[default: those of the data set]")
    return made


def conduct(name: str, options: argparse.Namespace) -> None:
    """Carry out one study: its runs, then ``NAME-DATA.md``, ``.json`` and ``.svg``."""
    with extra("plot", "drawing"):
        from benchmarks.heq.figures import draw
    study = STUDIES[name]
    variants = study.variants(SETTINGS[options.data])
    outcomes = []
    for outcome in run_all(
        variants, options.data, options.out, options.data_dir, options.seeds, options.epochs
    ):
        outcomes.append(outcome)
        print(f"{name}: {outcome.variant.name}, seed {outcome.seed}: {outcome.accuracy:.2f} %", flush=True)
    file = f"{name}-{options.data}"
    markdown = to_markdown(table(study, outcomes))
    write_study(options.out / file, markdown, record(name, outcomes))
    picture = (options.figures or options.out) / f"{file}.svg"
    draw(name, outcomes, picture)
    print(f"{picture}: {study.question}\n\n{markdown}\n")


def conduct_all(options: argparse.Namespace) -> None:
    """Carry out the study that was asked for, or every one."""
    for name in STUDIES if options.study == "all" else (options.study,):
        conduct(name, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(conduct_all, parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
