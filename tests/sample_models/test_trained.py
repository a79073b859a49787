"""The trained programs that come with Gatefold: whole, small, and what their cards say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import exporters
import sample_models
from runtime.ir import Program
from runtime.serialize import load
from toolchain.compare import compare
from toolchain.cost import report
from toolchain.cost.model import macs_by_layer
from toolchain.cost.nodes import node_costs
from toolchain.devices import DEVICES
from toolchain.publish.origins import ORIGINS
from toolchain.vectors import Vectors, read_vectors

FOLDER = Path(sample_models.__file__).parent / "trained"
REQUIRED = frozenset(
    {
        "cifar-micro",
        "cifar-muxornet-w24",
        "cifar-ornet-w24",
        "cifar-vgg-ternary-w48",
        "digits-ternary",
        "fashion-compact",
        "fashion-lut",
        "fashion-micro",
        "fashion-mux",
        "fashion-or",
        "fashion-quaternion",
        "mnist-lut",
        "mnist-lut-small",
    }
)
"""Programs that must be there."""

FOLDERS = sorted(path.name for path in FOLDER.glob("*") if path.is_dir())

BYTES = 8 * 2**20
"""All folders together."""

REFRESH = "the C has changed: run `python -m toolchain.publish.refresh sample_models/trained/*`"

NUMPY_MACS = 1_000_000_000
"""Work of the NumPy executors on one program, about a second: a large network runs on fewer vectors."""


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return FOLDER / request.param


def card_of(folder: Path) -> dict[str, str]:
    """The tables of a card: the first cell of a row to the rest, escapes undone."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", (folder / "card.md").read_text(), re.MULTILINE)
    return {key: re.sub(r"\\(.)", r"\1", value) for key, value in rows}


def some(vectors: Vectors, program: Program) -> Vectors:
    """As many of the vectors as the NumPy executors may run."""
    macs = sum(macs_by_layer(node_costs(program)).values())
    count = max(1, min(len(vectors), NUMPY_MACS // max(1, macs)))
    return Vectors(
        {name: array[:count] for name, array in vectors.inputs.items()},
        {name: array[:count] for name, array in vectors.outputs.items()},
    )


def test_the_required_programs_are_there_and_small() -> None:
    assert FOLDERS
    assert set(FOLDERS) >= REQUIRED
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= BYTES


def test_a_folder_holds_its_three_files_as_the_card_lists_them(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"program.gfold", "vectors.npz", "card.md"}
    card = card_of(folder)
    for name in ("program.gfold", "vectors.npz"):
        data = (folder / name).read_bytes()
        assert card[name] == f"{len(data)} | {hashlib.sha256(data).hexdigest()}"


def test_the_card_says_what_the_metadata_says(folder: Path) -> None:
    card, metadata = card_of(folder), load(folder / "program.gfold").metadata
    for row, key in {"model": "model", "data set": "dataset", "seed": "seed", "epochs": "epochs"}.items():
        assert card[row] == str(metadata[key])
    assert card["recipe"] == metadata["recipe"]
    for row in ("options", "versions"):
        assert sorted(card[row].split(", ")) == sorted(f"{k} {v}" for k, v in metadata[row].items())
    trained = f"{100 * metadata['accuracy']:.4f} % of {metadata['test_samples']}"
    assert card["torch model in float32, after training"] == trained


def test_the_accuracy_of_the_program_is_a_count_of_the_whole_test_set(folder: Path) -> None:
    card, metadata = card_of(folder), load(folder / "program.gfold").metadata
    found = re.fullmatch(
        r"(\d+\.\d{4}) % \((\d+) of (\d+)\), on executor \w+(-\w+)?", card["program, whole test set"]
    )
    assert found
    correct, samples = int(found[2]), int(found[3])
    assert samples == metadata["test_samples"]
    assert found[1] == f"{100 * correct / samples:.4f}"
    assert correct / samples == pytest.approx(metadata["accuracy"], abs=0.002), "ties and rounding at most"


def test_the_card_says_what_the_program_costs(folder: Path) -> None:
    found = report(load(folder / "program.gfold"), DEVICES)
    card, total = card_of(folder), found.total
    assert card["MACs"] == f"{total.macs:,}"
    assert card["weights, packed"] == f"{total.constants.weight_bytes:,} bytes"
    assert card["parameters"].startswith(f"{total.parameters:,} (")
    for row, used in {"flash, estimated": total.flash_bytes, "RAM, estimated": total.ram_bytes}.items():
        said = re.fullmatch(r"([\d,]+) bytes: C for cortex-m4", card[row])
        assert said, REFRESH
        assert int(said[1].replace(",", "")) == pytest.approx(used, rel=0.03), REFRESH
    fitting = [name for name, verdict in found.devices.items() if verdict.fits]
    assert card["devices it fits"] == f"{len(fitting)} of {len(DEVICES)}: {', '.join(fitting)}", REFRESH


def test_the_program_equals_its_float64_model(folder: Path) -> None:
    assert re.fullmatch(
        r"0 mismatches on the first \d{3,} test images",
        card_of(folder)["program against the float64 torch model"],
    )


def test_the_vectors_come_out_on_three_executors(folder: Path) -> None:
    program = load(folder / "program.gfold")
    vectors = read_vectors(folder / "vectors.npz", program)
    assert len(vectors) == 64
    rows = exporters.executors()
    for names, part in (({"interpreter", "packed"}, some(vectors, program)), ({"onnx"}, vectors)):
        table = {name: rows[name] for name in names}
        found = compare(program, [], table, strict=True, vectors=part)
        assert {name: (row.samples, row.mismatches) for name, row in found.executors.items()} == {
            name: (len(part), 0) for name in names
        }


def test_the_vectors_tell_inputs_apart(folder: Path) -> None:
    program = load(folder / "program.gfold")
    outputs = read_vectors(folder / "vectors.npz", program).outputs
    assert len(np.unique(outputs["scores"], axis=0)) > 32


def test_the_card_names_origin_and_terms(folder: Path) -> None:
    card = card_of(folder)
    assert card["terms"] == ORIGINS[card["data set"]].terms
