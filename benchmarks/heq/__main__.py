"""Train what a study of HEQ needs, and draw its figure beside a table of it.

    python -m benchmarks.heq STUDY|all [--data digits|fashion-mnist] [--out runs/heq] [--figures DIR]

Runs are shared between studies and resumed: a finished one is read, an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.heq.runs import SETTINGS, run_all
from benchmarks.heq.studies import STUDIES, record, table
from runtime.errors import GatefoldError
from runtime.files import atomic_write
from toolchain.cli.common import extra
from toolchain.cli.main import report_failure
from toolchain.tables import to_markdown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m benchmarks.heq", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("study", choices=[*STUDIES, "all"])
    made.add_argument("--data", choices=SETTINGS, default="digits")
    made.add_argument("--data-dir", type=Path, help="where the files are [default: $GATEFOLD_DATA]")
    made.add_argument("--out", type=Path, default=Path("runs/heq"), help="for run directories and tables")
    made.add_argument("--figures", type=Path, help="for the figures [default: OUT]")
    made.add_argument("--seeds", type=int, nargs="+", default=[], help="[default: those of the data set]")
    made.add_argument("--epochs", type=int, help="of a run in all [default: those of the data set]")
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
    for suffix, text in (("md", markdown), ("json", json.dumps(record(name, outcomes), indent=1))):
        with atomic_write(options.out / f"{file}.{suffix}") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    picture = (options.figures or options.out) / f"{file}.svg"
    draw(name, outcomes, picture)
    print(f"{picture}: {study.question}\n\n{markdown}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        for name in STUDIES if options.study == "all" else (options.study,):
            conduct(name, options)
    except GatefoldError as error:
        return report_failure(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
