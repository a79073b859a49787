"""Files of test vectors: what ``verify --vectors`` finds, and what a wrong file costs: one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import exporters
from runtime.errors import FormatError
from runtime.ir import Builder
from runtime.ops import Not
from runtime.serialize import save
from runtime.session import Session
from runtime.types import Interval
from tests.runtime.test_ir import tiny
from toolchain.compare import verify
from toolchain.vectors import make_vectors, read_vectors, write_vectors

IMAGES = np.random.default_rng(0).integers(0, 17, (9, 1, 4, 4)).astype(np.uint8)

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A program and nine test vectors."""
    save(tiny(), tmp_path / "program.gfold")
    write_vectors(make_vectors(tiny(), {"image": IMAGES}), tmp_path / "vectors.npz")
    return tmp_path


def changed(published: Path, path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """A copy of the published vectors with one change."""
    with np.load(published / "vectors.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_a_planted_change_is_found_on_every_executor(
    published: Path, tmp_path: Path, invoke: Invoke
) -> None:
    def plant(arrays: dict[str, np.ndarray]) -> None:
        arrays["scores"][7, 2] ^= 1

    program = published / "program.gfold"
    code, out, _ = invoke("verify", program, "--vectors", published / "vectors.npz", "--json")
    assert code == 0
    whole = json.loads(out)
    assert set(whole) == {"ok", "executors"}
    assert set(whole["executors"]) == set(exporters.executors())
    for row in whole["executors"].values():
        assert row == {"samples": 9, "mismatches": 0, "skipped": None}

    planted = changed(published, tmp_path / "v.npz", plant)
    code, out, err = invoke(
        "verify",
        program,
        "--vectors",
        planted,
        "--executors",
        "interpreter,packed",
        "--samples",
        5,
        "--json",
    )
    assert code == 4
    assert err == "gatefold: interpreter differs on 1 samples; packed differs on 1 samples\n"
    rows = json.loads(out)["executors"]
    row = {"samples": 14, "mismatches": 1, "skipped": None}
    assert rows == {"interpreter": row, "packed": row}


BAD_VECTORS: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "an output is missing": (
        lambda a: a.pop("scores"),
        "must hold 'image', 'scores', 'class' of 'tiny', not",
    ),
    "one array more": (
        lambda a: a.update(x=a["class"]),
        "must hold 'image', 'scores', 'class' of 'tiny'",
    ),
    "floats": (
        lambda a: a.update(scores=a["scores"] / 2),
        r"'scores' must hold integers of shape \(samples, 3\)",
    ),
    "fewer outputs": (lambda a: a.update(scores=a["scores"][1:]), r"not int64 of shape \(8, 3\)"),
    "no sample": (
        lambda a: a.update({k: v[:0] for k, v in a.items()}),
        r"not uint8 of shape \(0, 1, 4, 4\)",
    ),
    "no axis": (lambda a: a.update(image=np.uint8(1)), r"not uint8 of shape \(\)"),
    "pixels out of range": (lambda a: a["image"].fill(99), r"input 'image' has value 99 outside \[0, 16\]"),
    "objects": (lambda a: a.update(scores=np.array([None])), "is not an intact .npz file of plain numbers"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_wrong_vectors_are_one_line(case: str, published: Path, tmp_path: Path, invoke: Invoke) -> None:
    change, message = BAD_VECTORS[case]
    path = changed(published, tmp_path / "v.npz", change)
    code, out, err = invoke("verify", published / "program.gfold", "--vectors", path)
    assert (code, out) == (2 if case == "pixels out of range" else 1, "")
    assert len(err.splitlines()) == 1, err
    assert re.search(message, err), err


def test_unreadable_vectors_are_one_line(published: Path, tmp_path: Path, invoke: Invoke) -> None:
    program, whole = published / "program.gfold", (published / "vectors.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:300])
    (tmp_path / "text.npz").write_bytes(b"hello")
    middle = len(whole) // 2
    (tmp_path / "bent.npz").write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    cases = {"cut.npz": 1, "text.npz": 1, "bent.npz": 1, "none.npz": 2}
    for name, expected in cases.items():
        code, out, err = invoke("verify", program, "--vectors", tmp_path / name)
        assert (code, out, len(err.splitlines())) == (expected, "", 1), err
        assert str(tmp_path / name) in err


def test_vectors_of_another_program_are_refused(published: Path) -> None:
    b = Builder("other")
    image = b.input("image", (1, 2, 2), Interval(0, 1))
    other = b.build((b.add(Not(), image, name="scores"), b.add(Not(), image, name="class")))
    message = (
        r"'image' must hold integers of shape \(samples, 1, 2, 2\), .* not uint8 of shape \(9, 1, 4, 4\)$"
    )
    with pytest.raises(FormatError, match=message):
        read_vectors(published / "vectors.npz", other)


def test_vectors_are_bounded(published: Path, invoke: Invoke) -> None:
    zeros = np.zeros(2**25, np.int64)
    np.savez_compressed(published / "v.npz", zeros)
    code, _, err = invoke("verify", published / "program.gfold", "--vectors", published / "v.npz")
    assert code == 1
    assert f"test vectors may take {2**28} bytes, these take {2**28 + 128}" in err


def test_vectors_hold_the_outputs_of_the_interpreter(published: Path) -> None:
    back = read_vectors(published / "vectors.npz", tiny())
    assert len(back) == 9
    assert np.array_equal(back.inputs["image"], IMAGES)
    assert back.inputs["image"].dtype == np.uint8
    for name, outputs in Session(tiny(), "interpreter").run(IMAGES).items():
        assert np.array_equal(back.outputs[name], outputs)
        assert back.outputs[name].dtype == np.int64
    assert verify(tiny(), 3, vectors=published / "vectors.npz").executors["onnx"].samples == 12
