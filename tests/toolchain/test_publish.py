"""Publishing a run: three files that agree with each other, all of them or none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.errors import InputError, MismatchError
from runtime.folders import atomic_folder
from runtime.serialize import dumps, load
from runtime.session import Session
from toolchain.compare import verify
from toolchain.config import Recipe, load_recipe, parse_recipe, shipped_recipes
from toolchain.data import DATASETS
from toolchain.data import load as load_data
from toolchain.models import model_row
from toolchain.pipeline import lower_run
from toolchain.publish import publish
from toolchain.publish.card import recipe_toml
from toolchain.publish.origins import ORIGINS
from toolchain.publish.publishing import FILES, check_float64, check_vectors, no_bar
from toolchain.publish.refresh import main as refresh
from toolchain.training import train
from toolchain.vectors import make_vectors, read_vectors

RECIPE = Recipe.model_validate(
    {
        "name": "little",
        "model": "ornet-digits",
        "options": {"width": 8},
        "dataset": "digits",
        "threads": 1,
        "phases": [
            {"name": "float", "epochs": 1, "precision": "float", "learning_rate": 0.01, "batch_size": 32},
            {"name": "qat", "epochs": 1, "precision": "quantized", "learning_rate": 0.01, "batch_size": 32},
        ],
    }
)
"""Two epochs."""

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Tests only read it."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("runs") / "little"
    train(RECIPE, load_data("digits"), directory)
    return directory


@pytest.fixture(scope="module")
def published(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder. Tests only read it."""
    folder = tmp_path_factory.mktemp("trained") / "little"
    publish(run, folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_folder_holds_what_lower_evaluate_and_verify_say(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = invoke("publish", run, "--json")
    told = json.loads(out)
    assert (code, told["path"]) == (0, str(Path("trained/little")))
    assert below(tmp_path) == ["trained", "trained/little", *sorted(f"trained/little/{f}" for f in FILES)]
    program = Path("trained/little/program.gfold")
    assert program.read_bytes() == dumps(lower_run(run)[0])

    code, out, _ = invoke("evaluate", program, "--json")
    measured = json.loads(out)
    assert (measured["data"], measured["samples"], measured["correct"]) == ("digits", 359, told["correct"])
    assert measured["accuracy"] == told["accuracy"]
    assert 0.2 < told["accuracy"] < 1
    card = Path("trained/little/card.md").read_text()
    assert f"({told['correct']} of 359), on executor packed" in card
    assert (
        f"| program.gfold | {program.stat().st_size} | {told['files']['program.gfold']['sha256']} |" in card
    )
    assert "0 mismatches on the first 359 test images" in card
    assert "| terms | CC BY 4.0 |" in card
    assert f": {told['correct']} right" in invoke("evaluate", program)[1]


def test_vectors_are_the_first_test_images_and_every_output(published: Path) -> None:
    with np.load(published / "vectors.npz", allow_pickle=False) as vectors:
        assert set(vectors.files) == {"image", "scores", "class"}
        assert np.array_equal(vectors["image"], load_data("digits").test_images[:64])
        assert vectors["image"].dtype == np.uint8
        assert {vectors[name].dtype for name in ("scores", "class")} == {np.dtype(np.int64)}
        assert vectors["scores"].shape == (64, 10)
    assert verify(load(published / "program.gfold"), 3, vectors=published / "vectors.npz").ok


def test_random_vectors_hold_no_image_of_the_data_set(run: Path, tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("publish", run, "-o", tmp_path / "p", "--vectors", "random")[0] == 0
    stored = read_vectors(tmp_path / "p/vectors.npz", load(tmp_path / "p/program.gfold"))
    images = {image.tobytes() for image in load_data("digits").test_images}
    assert stored.inputs["image"].dtype == np.uint8
    assert not images & {image.tobytes() for image in stored.inputs["image"]}
    card = (tmp_path / "p/card.md").read_text()
    assert "64 random inputs" in card
    assert "gatefold publish runs/little --executor packed --vectors random -o" in card


def test_the_same_run_gives_the_same_bytes(run: Path, published: Path, tmp_path: Path) -> None:
    publish(run, tmp_path / "elsewhere")
    assert content(tmp_path / "elsewhere") == content(published)


def test_progress_reaches_its_end(run: Path, tmp_path: Path) -> None:
    steps: dict[str, list[int]] = {}

    @contextmanager
    def bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
        steps[label] = [length]
        yield steps[label].append

    publish(run, tmp_path / "p", bar=bar)
    assert {label: sum(done) for label, (_, *done) in steps.items()} == {
        "lowering": 1,
        "test vectors": 64,
        "float64 model": 359,
        "evaluating": 359,
    }
    assert all(length == sum(done) for length, *done in steps.values())


# --- replacing, failing, interrupting -----------------------------------------------------------------


def test_an_existing_folder_is_replaced_only_with_force(
    run: Path, published: Path, tmp_path: Path, invoke: Invoke
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "card.md").write_text("old")
    code, out, err = invoke("publish", run, "-o", folder)
    assert (code, out) == (2, "")
    assert err == (
        f"gatefold: the output must be a new folder, and {folder} exists; "
        "--force replaces a published folder\n"
    )
    assert content(folder) == {"card.md": b"old"}
    assert invoke("publish", run, "-o", folder, "--force")[0] == 0
    assert content(folder) == content(published)
    assert below(tmp_path) == ["p", *sorted(f"p/{name}" for name in FILES)]


def test_force_never_removes_anything_else(run: Path, tmp_path: Path, invoke: Invoke) -> None:
    before = content(run)
    code, _, err = invoke("publish", run, "-o", run, "--force")
    assert code == 2
    assert err == (
        f"gatefold: --force replaces only a published folder, and {run} holds 'checkpoint.pt'; "
        "give another with -o\n"
    )
    assert content(run) == before
    (tmp_path / "file").write_text("precious")
    code, _, err = invoke("publish", run, "-o", tmp_path / "file", "--force")
    assert code == 2
    assert err.endswith("is a file; give another with -o\n")
    assert (tmp_path / "file").read_text() == "precious"


BAD_PUBLISH: dict[str, tuple[Callable[[Path], list[object]], int, str]] = {
    "no run": (lambda d: [d / "none"], 2, "recipe.json is missing: this is no run directory"),
    "damaged weights": (lambda d: [damaged(d, "model.pt")], 2, "model.pt is damaged or was not written by"),
    "unfinished": (lambda d: [damaged(d, "result.json")], 2, "result.json is damaged"),
    "below a file": (
        lambda d: [d / "run", "-o", d / "run/model.pt/x"],
        2,
        "cannot write .*x: Not a directory",
    ),
    "executor": (lambda d: [d / "run", "--executor", "gpu"], 2, "executor must be one of .*, not 'gpu'"),
}


def damaged(place: Path, name: str) -> Path:
    """The run in ``place`` with one of its files cut off."""
    path = place / "run" / name
    path.write_bytes(path.read_bytes()[:40])
    return place / "run"


@pytest.mark.parametrize("case", BAD_PUBLISH)
def test_a_mistake_is_one_line_and_leaves_nothing(
    case: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    make, expected, message = BAD_PUBLISH[case]
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    before = below(tmp_path)
    code, out, err = invoke("publish", *make(tmp_path))
    assert (code, out) == (expected, "")
    assert len(err.splitlines()) == 1, err
    assert re.search(message, err), err
    assert below(tmp_path) == before


def test_a_full_disk_is_one_line_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from toolchain.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "publish", str(run), "-o", str(tmp_path / "a/b")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == f"gatefold: cannot write {tmp_path / 'a/b'}: File too large\n"
    assert below(tmp_path) == []


@pytest.mark.parametrize("at", ["lowering", "test vectors", "float64 model", "evaluating"])
def test_an_interruption_keeps_the_old_folder_and_nothing_else(
    at: str, run: Path, published: Path, tmp_path: Path
) -> None:
    @contextmanager
    def bar(label: str, _length: int) -> Iterator[Callable[[int], None]]:
        if label == at:
            raise KeyboardInterrupt
        yield lambda _done: None

    shutil.copytree(published, tmp_path / "p")
    (tmp_path / "p/card.md").write_text("old")
    before = content(tmp_path / "p")
    for folder, force in ((tmp_path / "p", True), (tmp_path / "new/q", False)):
        with pytest.raises(KeyboardInterrupt):
            publish(run, folder, force=force, bar=bar)
    assert content(tmp_path / "p") == before
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/card.md").write_text("old")
    with (
        pytest.raises(InputError, match=r"^cannot write .*p: No such file or directory$"),
        atomic_folder(tmp_path / "p", True, FILES, "a published") as folder,
    ):
        folder.rmdir()
    assert below(tmp_path) == ["p", "p/card.md"]
    assert (tmp_path / "p/card.md").read_text() == "old"


def test_what_differs_is_not_published(run: Path) -> None:
    program, finished = lower_run(run)
    images = load_data("digits").test_images[:16]
    vectors = make_vectors(program, {"image": images})
    check_vectors(Session(program), vectors)
    vectors.outputs["scores"][5, 3] += 1
    message = (
        "must equal the interpreter, and packed differs on 1 of 16 inputs; `gatefold verify` says more$"
    )
    with pytest.raises(MismatchError, match=message):
        check_vectors(Session(program), vectors)
    check_float64(program, finished, images, no_bar)
    other = replace(finished, model=model_row("ornet-digits").build(width=8).eval())
    with pytest.raises(
        MismatchError, match=r"must equal its float64 model, .* differs on \d+ of 16 test images$"
    ):
        check_float64(program, other, images, no_bar)


# --- the card -----------------------------------------------------------------------------------------


def test_the_card_shows_names_as_they_are(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["summary"] = '<script>alert(1)</script> | `x` *y*\n# z\n```\n"q" \\'
    (tmp_path / "run/recipe.json").write_text(json.dumps(recipe))
    result = json.loads((run / "result.json").read_text())
    result |= {"hardware": "a\n\n|b|", "device": "cuda\n```\n<b>"}
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    publish(tmp_path / "run", tmp_path / "p")
    card = (tmp_path / "p/card.md").read_text()
    assert (
        '| what | &lt;script&gt;alert(1)&lt;/script&gt; \\| \\`x\\` \\*y\\* # z \\`\\`\\` "q" \\\\ |\n'
        in card
    )
    assert "| hardware | cuda \\`\\`\\` &lt;b&gt;: a \\|b\\| |\n" in card
    assert [line for line in card.splitlines() if line.startswith("```")] == [
        "```",
        "```",
        "```toml",
        "```",
    ]
    assert card.count("\n# ") == 0
    recipe_block = card.split("```toml\n")[1].split("\n```")[0]
    assert tomllib.loads(recipe_block)["summary"] == recipe["summary"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_survives_its_card(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(tomllib.loads(recipe_toml(recipe)), name) == recipe


def test_any_text_and_key_survives_the_card() -> None:
    options = {"a b": 'é "q" \\ \n ]', "ü": 1.5e-7, "flag": True, "": 3}
    recipe = RECIPE.model_copy(update={"summary": "tab\t\u2028 \U0001f600", "options": options})
    assert parse_recipe(tomllib.loads(recipe_toml(recipe)), "") == recipe


def test_costs_on_a_card_are_brought_up_to_date_and_nothing_else(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "p")
    before = content(folder)
    card = before["card.md"].decode()
    stale = re.sub(r"(?m)^\| (flash, estimated|devices it fits) \| .* \|$", r"| \1 | 1 |", card)
    assert stale.count("| 1 |") == 2
    (folder / "card.md").write_text(stale)
    refresh([str(folder)])
    assert content(folder) == before


def test_a_card_without_costs_is_not_touched(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "p")
    (folder / "card.md").write_text("# a card\n")
    message = r"^a card must have the sections '## Cost' and '## Files', and this one does not$"
    with pytest.raises(InputError, match=message):
        refresh([str(folder)])
    assert (folder / "card.md").read_text() == "# a card\n"


def test_the_card_trains_a_shipped_recipe_by_name_and_another_by_its_file(published: Path) -> None:
    card = (published / "card.md").read_text()
    assert "`little.toml` is the recipe below." in card
    assert "\ngatefold train little.toml --out runs/little\n" in card


def test_every_data_set_has_an_origin() -> None:
    assert set(ORIGINS) == set(DATASETS)


def test_the_documented_lines_run(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/trained.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(published, tmp_path / "trained/digits-ternary")
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    (tmp_path / "trained/digits-ternary/vectors.npz").unlink()
    with pytest.raises(FileNotFoundError):
        exec(lines, {})


def test_it_says_what_to_install(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'pydantic']))\n"
        "from toolchain.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "publish", str(run), "-o", str(tmp_path / "p")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr == "gatefold: publishing needs torch: pip install 'gatefold[train]'\n"
