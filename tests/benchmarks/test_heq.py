"""The studies of HEQ: their runs are those of a user, read back, compared and drawn."""

import json
import math
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks.heq.__main__ import main
from benchmarks.heq.figures import DRAWINGS, draw
from benchmarks.heq.runs import SETTINGS, Outcome, Variant, recipe_of, run_all
from benchmarks.heq.studies import STUDIES, record, table
from benchmarks.study import mean_and_spread
from runtime.errors import InputError

QUICK = ["--epochs", "3", "--seeds", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one finished study."""
    out = tmp_path_factory.mktemp("heq")
    assert main(["frequency", "--out", str(out), "--figures", str(out / "figures"), *QUICK]) == 0
    return out


@pytest.fixture(scope="module")
def trained(place):
    """The first run of the study, an update every epoch."""
    return next(run_all([Variant()], "digits", place, seeds=[0], epochs=3))


def outcome(trained, variant, seed, histograms):
    """``trained`` as if ``variant`` had left ``histograms``, the codes of one layer after each epoch."""
    layers = [
        {"conv": {"step": 0.1, "histogram": h, "fullest": max(h) / sum(h)}} if h else {} for h in histograms
    ]
    line = trained.lines[-1] | {"phase": "qat"}
    lines = [line | {"layers": layer, "precision": "quantized"} for layer in layers]
    result = replace(trained.result, accuracy=0.9 + seed / 100)
    return Outcome(variant, seed, result, tuple(lines))


def texts(path):
    """All the text of an SVG file."""
    return [element.text for element in ElementTree.parse(path).iter() if element.text]


def test_a_study_leaves_runs_a_table_and_a_figure(place):
    runs = [path.name for path in place.iterdir() if path.is_dir() and path.name != "figures"]
    every = ["batch", "epoch", "5", "never"]
    assert sorted(runs) == sorted(f"digits-n3-quantile-span-{e}-s0" for e in every)
    rows = (place / "frequency-digits.md").read_text().splitlines()
    assert rows[0].startswith("| every | seeds | accuracy, % | bits per weight |")
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {e}" for e in every]
    stored = json.loads((place / "frequency-digits.json").read_text())
    assert [run["every"] for run in stored["runs"]] == ["batch", "epoch", 5, "never"]
    assert all(0 < bits <= math.log2(3) for run in stored["runs"] for bits in run["entropy_bits"])
    assert {"every batch", "bits per weight", "quantized epoch"} <= set(
        texts(place / "figures/frequency-digits.svg")
    )


def test_finished_runs_are_read_and_give_the_same_files(place, capsys):
    results = {path: path.stat().st_mtime_ns for path in place.glob("*/result.json")}
    figure = place / "figures/frequency-digits.svg"
    before = figure.read_bytes()
    assert main(["frequency", "--out", str(place), "--figures", str(place / "figures"), *QUICK]) == 0
    assert figure.read_bytes() == before
    assert results == {path: path.stat().st_mtime_ns for path in place.glob("*/result.json")}
    assert "how often the steps have to be set anew" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(place, trained):
    directory = place / "digits-n3-quantile-span-epoch-s0"
    (directory / "result.json").unlink()
    again = next(run_all([Variant()], "digits", place, seeds=[0], epochs=3))
    assert again.result == trained.result
    assert again.lines == trained.lines


def test_runs_of_another_recipe_are_not_mixed_in(place, capsys):
    with pytest.raises(InputError, match="must hold a run of the same recipe; choose another --out"):
        next(run_all([Variant()], "digits", place, seeds=[0], epochs=4))
    assert main(["frequency", "--out", str(place), "--epochs", "4"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_matplotlib_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "benchmarks.heq.figures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["levels", "--out", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "gatefold: drawing needs matplotlib: pip install 'gatefold[plot]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", SETTINGS)
def test_every_variant_is_a_recipe_of_its_own(data):
    setting = SETTINGS[data]
    variants = {variant for study in STUDIES.values() for variant in study.variants(setting)}
    recipes = [recipe_of(setting, variant, seed) for variant in variants for seed in setting.seeds]
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])
    assert len({variant.name for variant in variants}) == len(variants)
    assert all(recipe.epochs == setting.epochs for recipe in recipes)


def test_a_variant_is_what_a_user_would_set():
    setting = SETTINGS["digits"]
    recipe = recipe_of(setting, Variant(5, "twn", "batch", zero_median=True), 7)
    assert (recipe.options["levels"], recipe.seed) == (5, 7)
    assert (recipe.step.rule, recipe.step.every, recipe.step.zero_median) == ("twn", "batch", True)
    twin = recipe_of(setting, Variant(twin=True), 0)
    assert twin.options["twin"] is True
    assert {phase.precision for phase in twin.phases} == {"float"}


def test_measures_of_known_codes(trained):
    found = outcome(trained, Variant(), 0, [[2, 4, 2], [0, 2, 6]])
    assert found.entropy() == pytest.approx([1.5, 2 - 0.75 * math.log2(3)])
    assert found.shares().tolist() == [[0.25, 0.5, 0.25], [0, 0.25, 0.75]]
    assert found.imbalance().tolist() == [0.75]
    assert outcome(trained, Variant(4), 0, [[1, 2, 3, 4]]).imbalance() == pytest.approx([0.4])
    assert found.fullest() == 0.75


def test_the_table_gives_mean_and_spread_over_the_seeds(trained):
    group = [outcome(trained, Variant(), seed, [[1, 1, 1]]) for seed in (0, 1, 2)]
    twin = outcome(trained, Variant(twin=True), 0, [[]])
    rows = table(STUDIES["levels"], [*group, twin]).rows
    assert rows[0][:5] == ["3", "3", "91.00 ± 1.00", "1.585", "1.585"]
    assert rows[1][:5] == ["float32 twin", "1", "90.00", "-", "-"]
    assert record("levels", [*group, twin])["runs"][-1]["entropy_bits"] is None
    assert mean_and_spread([4.0]) == (4.0, 0.0)


LABELS = {
    "histograms": "share of the weights [%]",
    "rules": "bits per weight",
    "frequency": "step [latent weight]",
    "median": "in the worst layer [% of its weights]",
    "levels": "levels n",
}


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("data", SETTINGS)
def test_every_study_has_a_figure_with_labelled_axes(tmp_path, trained, name, data):
    variants = STUDIES[name].variants(SETTINGS[data])
    outcomes = [
        outcome(trained, v, seed, [[] if v.twin else list(range(1, v.levels + 1))] * 10)
        for seed in (0, 1)
        for v in variants
    ]
    path = tmp_path / "figure.svg"
    draw(name, outcomes, path)
    assert LABELS[name] in texts(path)
    assert path.stat().st_size < 150_000
