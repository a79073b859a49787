"""``gatefold verify``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exporters.netlist.graph import STYLES
from exporters.verilog.build import TABLES
from runtime.errors import InputError, MismatchError, MissingToolError
from runtime.ir import Program
from runtime.ops import Conv2d, Dense
from runtime.serialize import load
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
    tell_download,
)
from toolchain.cli.proof import (
    check_proofs,
    chosen_forms,
    proof_json,
    proof_table,
    proofs,
    shown_if_stopped,
)
from toolchain.compare import Comparison, Samples, compare, random_samples, verdict
from toolchain.cost.nodes import macs_of
from toolchain.executors import chosen
from toolchain.synthesis.assess import LIMIT
from toolchain.vectors import read_vectors

RANDOM_SAMPLES = 1000
MAC_BUDGET = 8 * 10**9
"""Multiply-accumulates that the default number of random samples may take: seconds on fast executors,
minutes on slow ones."""


def default_samples(program: Program) -> int:
    """``RANDOM_SAMPLES``, fewer for large programs, at least 4."""
    linear = [node for node in program.nodes if isinstance(node.op, (Conv2d, Dense))]
    macs = sum(macs_of(node.op, node.type) for node in linear)
    return max(4, min(RANDOM_SAMPLES, MAC_BUDGET // max(macs, 1)))


def agreement_table(comparison: Comparison) -> str:
    """One row per executor."""
    rows = [
        [
            name,
            row.samples,
            row.mismatches,
            verdict(name, row),
        ]
        for name, row in comparison.executors.items()
    ]
    return table(["executor", "samples", "mismatches", "verdict"], rows)


def network_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Model and options in the metadata of a program, by key."""
    options = metadata.get("options")
    named = options.items() if isinstance(options, dict) else ()
    return {"model": metadata.get("model"), **{f"options.{key}": value for key, value in named}}


def model_rows(program: Program, run: Path, images: Any) -> dict[str, Any]:
    """The float64 model of ``run`` against ``program`` on ``images``; warns of another network."""
    with extra("train", "--model"):
        from toolchain.config import first_difference
        from toolchain.pipeline import check_model
        from toolchain.training import load_run
    loaded = load_run(run)
    result = loaded.result
    difference = first_difference(
        network_of(program.metadata), network_of({"model": result.model, "options": result.options})
    )
    if "model" in program.metadata and difference:
        key, found, wanted = difference
        click.echo(
            f"warning: {run} is of another network: its {key} is {found}, the program's {wanted}", err=True
        )
    with progress_bar("float64 model", len(images)) as advance:
        return check_model(program, loaded.model, images, advance).to_json()


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
@click.option(
    "--samples",
    type=click.IntRange(0),
    help=f"Random inputs [default: {RANDOM_SAMPLES}, fewer for large programs; 0 with --vectors].",
)
@seed_option
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The test vectors of a published program, and the outputs they hold.",
)
@data_option("Also the test part of this data set.")
@data_dir_option
@click.option("--images", type=click.IntRange(1), help="Only its first images [default: all].")
@click.option(
    "--model",
    "run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Also the float64 model of this run directory, on the test images (needs --data).",
)
@click.option(
    "--prove",
    "proving",
    is_flag=True,
    help="Also prove that the gates of every circuit are the program, that its synthesized Verilog is "
    "those gates, and that the top module joins them as the program does (extra `synth`).",
)
@click.option(
    "--part", metavar="NAME", help="Prove this circuit alone: a value, or a layer with one circuit."
)
@click.option(
    "--style",
    type=click.Choice(["auto", *STYLES]),
    help="Of the circuits to prove [default: auto, as for `export`: lut6 with --tables 6, else gates].",
)
@click.option(
    "--synthesize-limit",
    "limit",
    type=click.IntRange(0),
    help="Most bits that a circuit may add up for its Verilog to be synthesized and proved "
    f"[default: {LIMIT}].",
)
@click.option(
    "--pipeline",
    type=click.Choice(["combinational", "layers", "levels", "depth"]),
    help="Prove the top module as `export --to verilog` writes it with this [default: combinational, and "
    "layers].",
)
@click.option("--levels", default="", metavar="N", help="As for `export`, with --pipeline levels.")
@click.option("--depth", default="", metavar="N", help="As for `export`, with --pipeline depth.")
@click.option(
    "--tables",
    type=click.Choice(list(TABLES)),
    default="none",
    help="As for `export`: the top module's logic as look-up tables.",
)
@json_option
def command(
    program: Path,
    executors: str | None,
    samples: int | None,
    seed: int,
    vectors: Path | None,
    data: str | None,
    data_dir: Path | None,
    images: int | None,
    run: Path | None,
    proving: bool,
    part: str | None,
    style: str | None,
    limit: int | None,
    pipeline: str | None,
    levels: str,
    depth: str,
    tables: str,
    as_json: bool,
) -> None:
    """Check that executors give the same bits as the interpreter, on random and real inputs.

    Exits with code 4 on one differing bit, with 3 where one of --executors
    cannot run the program here.
    """
    loaded = load(program)
    only_proving = {
        "--part names a circuit": part,
        "--style is of the circuits": style,
        "--synthesize-limit is of the circuits": limit,
    }
    for what, value in only_proving.items():
        if value is not None and not proving:
            raise InputError(f"{what} to prove; give --prove too")
    of_top = pipeline or levels or depth or tables != "none"
    if of_top and (part is not None or not proving):
        raise InputError(
            "--pipeline, --levels, --depth and --tables say which top module to prove; give --prove, and "
            "no --part"
        )
    if (images is not None or data_dir is not None) and not data:
        raise InputError("--images and --data-dir say what of a data set; give --data NAME too")
    forms = chosen_forms(pipeline, levels, depth, tables)
    rows = chosen("all" if executors is None else executors)
    stored = read_vectors(vectors, loaded) if vectors else None
    if samples is None:
        samples = 0 if stored else default_samples(loaded)
    sets: list[Samples] = [random_samples(loaded, samples, seed)] if samples else []
    if data:
        from toolchain.data import load as load_data

        pixels = load_data(data, data_dir, tell_download).test_images[:images]
        sets.append({loaded.inputs[0].name: pixels})
    if run and not data:
        raise InputError("--model compares on images: give --data NAME too")
    if not (sets or stored):
        raise InputError("nothing to verify: give --samples above 0, --vectors or --data")
    count = sum(len(next(iter(s.values()))) for s in [*sets, *([stored.inputs] if stored else [])])
    running = [name for name, row in rows.items() if not row.missing()]
    proved = (
        shown_if_stopped(proofs(loaded, part, style, LIMIT if limit is None else limit, forms), as_json)
        if proving
        else []
    )
    with progress_bar("verifying", count * len(running)) as advance:
        comparison = compare(loaded, sets, rows, executors is not None, advance, stored)
    result = comparison.to_json()
    text = agreement_table(comparison)
    if run:
        result["model"] = model_rows(loaded, run, sets[-1][loaded.inputs[0].name])
        result["ok"] = result["ok"] and not result["model"]["mismatches"]
        text += "\n" + model_line(result["model"])
    if proving:
        result["proof"] = proof_json(proved)
        result["ok"] = result["ok"] and result["proof"]["ok"]
        text += "\n\n" + proof_table(proved)
    emit(result, as_json, text)
    if proving:
        check_proofs(proved)
    if not result["ok"]:
        only_skipped = comparison.strict and not any(r.mismatches for r in comparison.executors.values())
        kind = MissingToolError if only_skipped and not comparison.ok else MismatchError
        raise kind(failure(comparison))


def failure(comparison: Comparison) -> str:
    """What failed, in one line."""
    wrong = [
        f"{n} differs on {r.mismatches} samples" for n, r in comparison.executors.items() if r.mismatches
    ]
    skipped = {n: r.skipped for n, r in comparison.executors.items() if r.skipped and comparison.strict}
    missing = [f"{n} is skipped: {why}" for n, why in skipped.items()]
    return "; ".join([*wrong, *missing]) or "the float64 model differs from the program"
