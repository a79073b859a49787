"""``gatefold verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import exporters
from runtime.errors import InputError, MismatchError
from runtime.ir import Program
from runtime.serialize import load
from runtime.session import ExecutorRow
from toolchain.cli.common import (
    data_dir_option,
    data_option,
    emit,
    extra,
    json_option,
    program_argument,
    progress_bar,
    seed_option,
    table,
)
from toolchain.compare import REFERENCE, Comparison, Samples, compare, random_samples


def chosen(names: str | None) -> dict[str, ExecutorRow]:
    """The executors asked for: a comma-separated list, ``all``, or None for all."""
    rows = exporters.executors()
    if names in (None, "all"):
        return rows
    picked = [name.strip() for name in str(names).split(",") if name.strip()]
    if not picked:
        raise InputError(f"--executors must name at least one of {', '.join(rows)}, or be left out")
    for name in picked:
        if name not in rows:
            raise InputError(f"executor must be one of {', '.join(rows)}, not {name!r}")
    return {name: rows[name] for name in picked}


def agreement_table(comparison: Comparison) -> str:
    """One row per executor."""
    rows = [
        [
            name,
            row.samples,
            row.mismatches,
            f"skipped: {row.skipped}" if row.skipped else verdict(name, row),
        ]
        for name, row in comparison.executors.items()
    ]
    return table(["executor", "samples", "mismatches", "verdict"], rows)


def verdict(name: str, row: Any) -> str:
    """What a row means, in words."""
    if row.mismatches:
        return "DIFFERS"
    return "the definition" if name == REFERENCE else "equal bit for bit"


def model_rows(program: Program, run: Path, images: Any) -> dict[str, Any]:
    """The float64 model of ``run`` against ``program`` on ``images``."""
    with extra("train", "--model"):
        from toolchain.pipeline import check_model
        from toolchain.training import load_run
    with progress_bar("float64 model", len(images)) as advance:
        return check_model(program, load_run(run).model, images, advance).to_json()


def model_line(found: dict[str, int]) -> str:
    """The float64 link in words."""
    return (
        f"float64 torch model: {found['mismatches']} mismatches in {found['samples']} samples; "
        f"float32 evaluation differs on {found['float32_differing']} (ties and rounding)"
    )


@click.command("verify")
@program_argument
@click.option(
    "--executors",
    metavar="NAMES",
    help="`all`, or names with commas; one that cannot run here is then a failure "
    "[default: every installed one].",
)
@click.option("--samples", type=click.IntRange(0), default=1000, show_default=True, help="Random inputs.")
@seed_option
@data_option("Also the whole test part of this data set.")
@data_dir_option
@click.option(
    "--model",
    "run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Also the float64 model of this run directory, on the test images (needs --data).",
)
@json_option
def command(
    program: Path,
    executors: str | None,
    samples: int,
    seed: int,
    data: str | None,
    data_dir: Path | None,
    run: Path | None,
    as_json: bool,
) -> None:
    """Check that executors give the same bits as the interpreter, on random and real inputs.

    Exits with code 4 on one differing bit.
    """
    loaded = load(program)
    rows = chosen(executors)
    sets: list[Samples] = [random_samples(loaded, samples, seed)] if samples else []
    if data:
        from toolchain.data import load as load_data

        sets.append({loaded.inputs[0].name: load_data(data, data_dir).test_images})
    if not sets or (run and not data):
        raise InputError("nothing to verify: give --samples above 0 or --data (and --data with --model)")
    count = sum(len(next(iter(s.values()))) for s in sets)
    running = [name for name, row in rows.items() if not row.missing()]
    with progress_bar("verifying", count * len(running)) as advance:
        comparison = compare(loaded, sets, rows, strict=executors is not None, progress=advance)
    result = comparison.to_json()
    text = agreement_table(comparison)
    if run:
        result["model"] = model_rows(loaded, run, sets[-1][loaded.inputs[0].name])
        result["ok"] = result["ok"] and not result["model"]["mismatches"]
        text += "\n" + model_line(result["model"])
    emit(result, as_json, text)
    if not result["ok"]:
        raise MismatchError(failure(comparison))


def failure(comparison: Comparison) -> str:
    """What failed, in one line."""
    wrong = [
        f"{n} differs on {r.mismatches} samples" for n, r in comparison.executors.items() if r.mismatches
    ]
    missing = [
        f"{n} {r.skipped}" for n, r in comparison.executors.items() if r.skipped and comparison.strict
    ]
    return "; ".join([*wrong, *missing]) or "the float64 model differs from the program"
