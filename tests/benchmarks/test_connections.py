"""The study of connections: runs on digits through its code, its statistics, its table and its figure."""

import json
import sys
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.connections import runs
from benchmarks.connections.__main__ import main
from benchmarks.connections.costs import Area, in_connection
from benchmarks.connections.figure import LOOKS, MARKERS, draw
from benchmarks.connections.runs import CONNECTIONS, FLOAT, PRECISIONS, RECIPES, SEEDS, Variant, finished
from benchmarks.connections.tables import CRITICAL, Comparison, compare, rows, table
from toolchain.config import load_recipe, override
from toolchain.cost.cells import CELLS
from toolchain.cost.skips import FLOAT32_ADD_GE
from toolchain.models import model_row

CHANNELS = 8 + 16 + 32
"""Of the three connections of the network for digits."""

REGISTER = CELLS["register"].ge


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Large batches: the networks need not learn much."""
    batches = ("phases.pretrain.batch_size=256", "phases.qat.batch_size=256")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load_recipe", lambda name: override(load_recipe(name), batches))
        yield


def study(out, *options):
    """The command on runs of two epochs."""
    return main(["digits", "--out", str(out), "--epochs", "2", *options])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two connections with two seeds each, and one with a single seed, by a command of its own."""
    out = tmp_path_factory.mktemp("connections")
    chosen = ["--connections", "linear", "or", "--precisions", FLOAT, "HEQ-ternary"]
    assert study(out, *chosen, "--seeds", "0", "1") == 0
    assert study(out, "--connections", "mux", "--precisions", "HEQ-ternary", "--seeds", "1") == 0
    return out


@pytest.fixture(scope="module")
def outcomes(place):
    return finished("digits", place, 2)


@pytest.fixture(scope="module")
def found(outcomes):
    """The rows of the table."""
    return rows(outcomes)


def files(place):
    """Contents of what the study writes, by suffix."""
    return {path.suffix: path.read_bytes() for path in place.glob("connections-digits.*")}


def texts(path):
    """All the text of an SVG file."""
    return {element.text for element in ElementTree.parse(path).iter() if element.text}


def test_untrained_networks_are_not_compared(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["digits", "--out", str(tmp_path), "--epochs", "0"])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("error: argument --epochs: must be a whole number of at least 1, not 0")
    assert not list(tmp_path.iterdir())


def test_the_table_has_every_finished_run_with_its_own_seeds(place, found):
    lines = (place / "connections-digits.md").read_text().splitlines()
    assert lines[0] == "digits:"
    assert lines[2].startswith("| precision | connection | parameters | seeds | accuracy, % | to linear,")
    cells = [line.strip("| ").split(" | ") for line in lines[4:]]
    assert [line[:2] + line[3:4] for line in cells] == [
        [FLOAT, "linear", "2"],
        [FLOAT, "or", "2"],
        ["HEQ-ternary", "linear", "2"],
        ["HEQ-ternary", "or", "2"],
        ["HEQ-ternary", "mux", "1"],
    ]
    assert cells == table("digits", found).rows
    assert len({line[2] for line in cells}) == 1
    assert all("±" in line[4] for line in cells[:4])
    assert [line[5:7] for line in cells if line[1] == "linear"] == [["-", "-"]] * 2
    assert cells[4][6] == "-"


def test_accuracies_and_differences_are_those_of_the_runs(place, found):
    def accuracy(variant):
        return 100 * json.loads((place / f"digits-{variant.name}" / "result.json").read_text())["accuracy"]

    row = found[3]
    joined, linear = (
        [accuracy(Variant(name, "HEQ-ternary", seed)) for seed in (0, 1)] for name in ("or", "linear")
    )
    assert row.accuracies == dict(enumerate(joined))
    assert row.comparison.differences == (joined[0] - linear[0], joined[1] - linear[1])
    assert len(found[4].comparison.differences) == 1
    stored = json.loads((place / "connections-digits.json").read_text())["digits"]
    assert (stored["dataset"], stored["recipe"], stored["epochs"]) == ("digits", "digits-resnet", 2)
    assert stored["rows"][3]["accuracies"] == [round(accuracy, 2) for accuracy in joined]
    assert stored["rows"][4]["seeds"] == [1]
    assert stored["rows"][4]["to_linear"]["significant"] is None


def test_costs_are_those_of_the_programs(found):
    full, _, linear, joined, multiplexed = (row.cost for row in found)
    assert joined.one_position.connections == pytest.approx(4 * CHANNELS * (CELLS["or"].ge + REGISTER))
    assert linear.one_position.connections > joined.one_position.connections
    assert multiplexed.one_position.connections > joined.one_position.connections
    for cost in (linear, joined, multiplexed):
        assert 0 < cost.one_position.share < 15
        assert cost.parallel.ge > cost.one_position.ge
        assert cost.parallel.lut6 > cost.one_position.lut6 > 0
        assert cost.flash_bytes < full.flash_bytes / 4


def test_float32_networks_cost_their_parameters_and_the_adders_of_their_connections(found):
    for row in found[:2]:
        assert row.cost.flash_bytes == 4 * row.parameters
        assert (row.cost.ram_bytes, row.cost.one_position.ge, row.cost.one_position.share) == (None,) * 3
        adder = FLOAT32_ADD_GE + 32 * REGISTER
        assert row.cost.one_position.connections == pytest.approx(CHANNELS * adder)
        assert row.cost.parallel.connections == pytest.approx((8 * 64 + 16 * 16 + 32 * 4) * adder)
    assert table("digits", found).rows[0][7:] == [
        "-",
        f"{found[0].cost.one_position.connections:,.0f}",
        "-",
        "-",
        f"{4 * found[0].parameters:,}",
        "-",
    ]


def test_adders_are_unknown_without_a_program_and_for_other_connections(outcomes):
    full = [outcome for outcome in outcomes if outcome.variant.precision == FLOAT]
    assert [row.cost.one_position for row in rows(full)] == [Area(), Area()]


@pytest.mark.parametrize(
    ("layer", "inside"),
    [
        ("stage1.0.connection", True),
        ("stage2.0.read", True),
        ("read", True),
        ("stage1.0.branch.3", False),
        ("stem.readout", False),
    ],
)
def test_what_belongs_to_a_connection(layer, inside):
    assert in_connection(layer) is inside


def test_finished_runs_are_read_and_give_the_same_files(place, capsys):
    results = {path: path.stat().st_mtime_ns for path in place.glob("*/result.json")}
    before = files(place)
    assert study(place, "--seeds") == 0
    assert files(place) == before
    assert set(before) == {".md", ".json", ".svg"}
    assert results == {path: path.stat().st_mtime_ns for path in place.glob("*/result.json")}
    assert before[".md"].decode() in capsys.readouterr().out


def test_an_interrupted_run_is_left_out_until_it_goes_on(place, outcomes, capsys):
    before = files(place)
    (place / "digits-or-heq-ternary-s1" / "result.json").unlink()
    fewer = rows(finished("digits", place, 2))
    assert [len(row.accuracies) for row in fewer] == [2, 2, 2, 1, 1]
    assert study(place, "--connections", "or", "--precisions", "HEQ-ternary", "--seeds", "1") == 0
    assert files(place) == before
    accuracy = next(o.accuracy for o in outcomes if o.variant == Variant("or", "HEQ-ternary", 1))
    assert f"digits: or-heq-ternary-s1: {accuracy:.2f} %\n" in capsys.readouterr().out


def test_runs_of_another_recipe_are_not_mixed_in(place, capsys):
    assert main(["digits", "--out", str(place), "--epochs", "3", "--seeds"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("must hold a run of the same recipe; choose another --out\n")
    assert error.count("\n") == 1


def test_a_table_needs_a_run(tmp_path, capsys):
    assert study(tmp_path, "--seeds") == 2
    expected = f"gatefold: a table needs a finished run, and {tmp_path} has none on digits; give --seeds\n"
    assert capsys.readouterr().err == expected
    assert list(tmp_path.iterdir()) == []


def test_a_missing_matplotlib_is_told_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "benchmarks.connections.figure")
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    assert study(tmp_path) == 3
    assert capsys.readouterr().err == "gatefold: drawing needs matplotlib: pip install 'gatefold[plot]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", RECIPES)
def test_every_variant_is_a_recipe_of_its_own(data):
    variants = [Variant(*key) for key in product(CONNECTIONS, PRECISIONS, SEEDS)]
    recipes = [variant.recipe(data) for variant in variants]
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])
    assert len({variant.name for variant in variants}) == len(variants)
    for variant, recipe in zip(variants, recipes, strict=True):
        assert recipe.phases[-1].precision == ("float" if variant.precision == FLOAT else "quantized")


@pytest.mark.parametrize("data", RECIPES)
def test_all_connections_but_the_quadratic_have_equal_parameters(data):
    counts = []
    for connection in CONNECTIONS:
        recipe = Variant(connection, "HEQ-ternary", 0).recipe(data)
        model = model_row(recipe.model).build(**recipe.options)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert len(set(counts[:-1])) == 1
    assert counts[0] < counts[-1] < 1.05 * counts[0]


def test_critical_values_are_those_of_student():
    exact = [stats.t.ppf(0.975, degrees) for degrees in range(1, len(CRITICAL) + 1)]
    assert pytest.approx(exact, abs=5e-4) == list(CRITICAL)


@given(
    st.lists(st.integers(-300, 300), min_size=2, max_size=11).filter(lambda values: len(set(values)) > 1)
)
def test_the_test_is_the_paired_t_test(hundredths):
    differences = tuple(value / 100 for value in hundredths)
    p = stats.ttest_1samp(differences, 0).pvalue
    if abs(p - 0.05) > 1e-4:
        assert Comparison(differences).significant is bool(p < 0.05)


@pytest.mark.parametrize(
    ("differences", "significant"),
    [
        ((1.0, 2.0, 3.0), False),  # t = 3.46
        ((2.0, 3.0, 4.0), True),  # t = 5.20
        ((-2.0, -3.0, -4.0), True),
        ((0.0, 0.0), False),
        ((0.5, 0.5), True),
        ((0.5,), None),
        ((2.2, -0.2) * 6, True),  # t = 2.76, beyond the last critical value
    ],
)
def test_known_differences(differences, significant):
    assert Comparison(differences).significant is significant


def test_only_seeds_in_common_are_paired():
    assert compare({0: 90.0, 2: 93.0}, {0: 91.0, 1: 80.0, 2: 92.0}).differences == (-1.0, 1.0)
    assert compare({3: 90.0}, {0: 91.0}) is None


def test_a_row_tells_how_many_of_its_seeds_are_paired(found):
    row = replace(
        found[3],
        accuracies={0: 90.0, 1: 91.0, 2: 92.0},
        comparison=compare({0: 90.0, 1: 91.0}, {0: 91.0, 1: 93.0}),
    )
    assert table("digits", [row]).rows[0][3:7] == ["3", "91.00 ± 1.00", "-1.50 ± 0.71 (2 paired)", "n.s."]
    sure = replace(row, comparison=Comparison((2.0, 3.0, 4.0)))
    assert table("digits", [sure]).rows[0][5:7] == ["+3.00 ± 1.00", "yes"]


def all_rows(found):
    """A row for every precision and connection, with gates unless it is float32."""
    made = []
    for precision, connection in product(PRECISIONS, CONNECTIONS):
        like = found[0] if precision == FLOAT else found[2]
        made.append(replace(like, precision=precision, connection=connection))
    return made


def test_the_figure_names_everything_it_shows(tmp_path, found):
    path = tmp_path / "figure.svg"
    every = all_rows(found)
    draw({"fashion-mnist": every, "cifar-10": [row for row in every if row.precision != "4-bit"]}, path)
    shown = texts(path)
    assert {*CONNECTIONS, *PRECISIONS, "fashion-mnist", "cifar-10"} <= shown
    assert {"test accuracy [%]", "gate equivalents, one position of every layer"} <= shown
    first = path.read_bytes()
    draw({"fashion-mnist": every, "cifar-10": [row for row in every if row.precision != "4-bit"]}, path)
    assert path.read_bytes() == first
    assert len(first) < 150_000


@pytest.mark.parametrize("part", [slice(0, 2), slice(2, None)], ids=["float32 alone", "programs alone"])
def test_a_figure_of_part_of_the_rows(tmp_path, found, part):
    draw({"digits": found[part]}, tmp_path / "figure.svg")
    shown = texts(tmp_path / "figure.svg")
    assert {row.connection for row in found[part]} <= shown
    assert {"8-bit", "4-bit", "quotient"}.isdisjoint(shown)


def test_the_figure_is_readable_without_colour():
    assert list(MARKERS) == list(CONNECTIONS)
    assert list(LOOKS) == list(PRECISIONS)
    assert len(set(MARKERS.values())) == len(MARKERS)
    coded = [look["fillstyle"] for precision, look in LOOKS.items() if precision != FLOAT]
    assert len(set(coded)) == len(coded)
