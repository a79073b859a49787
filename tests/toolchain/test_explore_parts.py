"""The parts of an exploration: spaces, costs and limits, the front, and the rule that ends trainings."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from tests.explorations import RECIPE
from toolchain.config import load_recipe, parse_recipe
from toolchain.explore.costs import Limits, cost_of
from toolchain.explore.pareto import EARLY_MARGIN, LATE_MARGIN, Peer, falls_behind, front, margin
from toolchain.explore.settings import make_settings
from toolchain.explore.space import (
    apply,
    assignments,
    check_axes,
    load_axes,
    own_point,
    parse_axes,
    size_of,
)
from toolchain.explore.trial import untrained_program

TINY = parse_recipe(tomllib.loads(RECIPE), "recipe")


def axes(text: str):
    return parse_axes(tomllib.loads(text), "space")


RATE = "learning_rate = {low = 1e-3, high = 1e-2, log = true}"


def test_a_space_is_written_with_dotted_keys_or_tables():
    tables = f"[options]\nwidth = [8, 16]\nskip = ['or', 'none']\n[phases.qat]\n{RATE}"
    dotted = f"options.width = [8, 16]\n'options.skip' = ['or', 'none']\nphases.qat.{RATE}"
    assert axes(tables) == axes(dotted)
    found = axes(tables)
    assert [str(axis) for axis in found.values()] == ["8, 16", "or, none", "0.001 to 0.01, logarithmic"]
    check_axes(found, TINY, "space")
    recipe = apply(TINY, {"options.width": 16, "folding": "parallel", "phases.qat.learning_rate": 0.002})
    assert (recipe.options["width"], recipe.phases[1].learning_rate) == (16, 0.002)


@given(st.integers(0, 10**6))
def test_what_is_drawn_of_an_axis_belongs_to_it(seed):
    found = axes(
        "a = {low = 2, high = 9}\nb = {low = 4, high = 13, step = 3}\n"
        "c = {low = 0.5, high = 2.5, step = 0.5}\nd = {low = 0.01, high = 1.0, log = true}\n"
        "e = {low = 1, high = 64, log = true}\nf = ['x', 3, true, 1.5]"
    )
    numbers = random.Random(seed)
    for axis in found.values():
        assert axis.holds(axis.draw(numbers))
    assert [axis.size for axis in found.values()] == [8, 4, 5, 10**6, 64, 4]
    assert not any(
        axis.holds(value) for axis, value in zip(found.values(), (10, 5, 0.7, 2, 0, 1), strict=True)
    )


def test_the_size_of_a_space_is_the_number_of_its_points():
    assert (
        size_of(
            axes("folding = ['parallel']\n[options]\nwidth = {low = 2, high = 4}\nskip = ['or', 'mux']")
        )
        == 6
    )
    assert size_of(axes("options.width = {low = 0.1, high = 0.2}")) == 10**6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a space must have at least one key, as in width = [8, 16]"),
        ("options.width = []", "options.width: must have at least one value"),
        ("options.width = [8, 8]", "options.width: must all differ"),
        ("options.width = 8", "options.width must be a list of choices or a range {"),
        ("options.width = {low = 8, high = 4}", "options.width: low must be below high"),
        ("options.width = {low = 8}", "options.width.high: field required"),
        ("a = {low = 1, high = 4, stap = 2}", "a.stap: extra inputs are not permitted"),
        ("a = {low = 0, high = 4, log = true}", "a: log needs a low above 0, and no step"),
        ("a = {low = 1, high = 4, step = 0.5}", "a: a step between whole numbers must be one"),
        ("options.size = [1]", "options of model 'ornet-digits' are skip, width, levels, bits, twin, "),
        ("phases.qt.epochs = [1]", "unknown key 'phases.qt.epochs'; did you mean 'qat'? (keys: "),
        ("phases.qat.epochs = [-1]", "phases.qat.epochs: input should be greater than or equal to 0"),
        ("folding = ['half']", "folding must be of one-position, parallel, not half"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_told_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        check_axes(axes(text), TINY, "space")
    assert str(caught.value).startswith(f"space: {message}")
    assert "\n" not in str(caught.value)


def own_options(point):
    return {key.removeprefix("options."): value for key, value in point.items() if key != "folding"}


def test_spaces_come_with_recipes_or_from_files(tmp_path):
    recipe = load_recipe("fashion-compact")
    found, where = load_axes(None, "fashion-compact")
    assert where == "space fashion-compact"
    check_axes(found, recipe, where)
    own = own_point(found, recipe)
    assert own is not None
    assert apply(recipe, own).options == own_options(own)
    assert len(assignments(own)) == len(own) - 1, "all but the folding"
    with pytest.raises(
        InputError, match=r"^recipe 'tiny' has no space of its own \(those that do: .*\); give --space$"
    ):
        load_axes(None, "tiny")
    broken = tmp_path / "broken.toml"
    broken.write_text("width = ")
    with pytest.raises(InputError, match=r"^space .*broken\.toml is not valid TOML: "):
        load_axes(broken, "tiny")
    with pytest.raises(InputError, match=r"^cannot read space .*none\.toml: No such file"):
        load_axes(Path(tmp_path / "none.toml"), "tiny")


def test_settings_hold_images_out_and_check_what_must_fit():
    space = axes("options.width = [4, 8]")
    settings = make_settings(TINY, space, "space", ["flash=5000"], fit=["ICE40UP5K"], objective="luts")
    assert (settings.recipe.validation, settings.fit, settings.most) == (
        0.1,
        ("ice40up5k",),
        {"flash": 5000},
    )
    assert settings.measure == "lut4", "those of the device"
    names = "gates, lut4, lut6, registers, clocks, flash, ram, weights, macs"
    for maxima, message in [
        (["speed=3"], f"--max must be of {names}, not 'speed'"),
        (["flash=much"], "--max must be NAME=NUMBER, as in flash=60000, not 'flash=much'"),
    ]:
        with pytest.raises(InputError) as caught:
            make_settings(TINY, space, "space", maxima, fit=[])
        assert str(caught.value) == message
    with pytest.raises(InputError, match=r"^device must be one of .*, not 'ice41'; did you mean ice40"):
        make_settings(TINY, space, "space", [], fit=["ice41"])
    float_ = parse_recipe(tomllib.loads(RECIPE.replace('"quantized"', '"float"')), "recipe")
    with pytest.raises(InputError, match="ends in full precision and has no program to cost"):
        make_settings(float_, space, "space", [], fit=[])


def test_a_cost_is_that_of_the_circuit_that_is_judged():
    program = untrained_program(TINY)
    limits = Limits(("ice40up5k", "atmega328p"), {"flash": 100})
    one, whole = (cost_of(program, folding, limits) for folding in ("one-position", "parallel"))
    assert one.measures["gates"] < whole.measures["gates"]
    assert one.measures["flash"] == whole.measures["flash"]
    assert (one.measures["clocks"], whole.measures["clocks"]) == (64 + 64 + 64 + 16 + 1, 1)
    assert whole.verdicts["ice40up5k"].startswith("does not fit: LUT4 short by ")
    assert one.verdicts["atmega328p"].startswith("fits: ")
    assert one.verdicts["flash"] == f"flash {one.measures['flash']:,} of 100"
    assert one.excess == pytest.approx(max(one.measures["lut4"] / 5280, one.measures["flash"] / 100) - 1)
    assert cost_of(program, "parallel", Limits(("ice40up5k",), {})).excess == pytest.approx(
        whole.measures["lut4"] / 5280 - 1
    )
    free = cost_of(program, "one-position", Limits((), {}))
    assert (free.fits, free.excess, free.verdicts) == (True, -1.0, {})


POINTS = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.6, 0.9]), st.integers(1, 6)), max_size=12)


@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points):
    def beats(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    expected = {p for p in points if not any(beats(other, p) for other in points)}
    found = front(points)
    assert {points[i] for i in found} == expected
    assert len(found) == len(expected), "of equal ones the first"
    assert all(points.index(points[i]) == i for i in found)
    costs = [points[i][1] for i in found]
    assert costs == sorted(costs)


def test_a_training_is_ended_by_a_clearly_better_one_that_costs_no_more():
    better = Peer(100, (0.70, 0.80, 0.84, 0.86))
    assert falls_behind([0.70 - EARLY_MARGIN - 0.01], 4, 100, [better])
    assert not falls_behind([0.70 - EARLY_MARGIN + 0.01], 4, 100, [better])
    assert not falls_behind([0.1], 4, 99, [better]), "it costs more"
    assert falls_behind([0.6, 0.7, 0.84 - LATE_MARGIN - 0.001], 4, 500, [better])
    assert not falls_behind([0.1, 0.2, 0.3, 0.4], 4, 500, [better]), "it is finished"
    assert not falls_behind([0.1, 0.2], 4, 500, [Peer(1, (0.9,))]), "that one is not as far"
    assert not falls_behind([], 4, 500, [better])
    assert [margin(epoch, 4) for epoch in (1, 3)] == pytest.approx([EARLY_MARGIN, LATE_MARGIN])
    assert margin(1, 1) == EARLY_MARGIN


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_best_training_for_its_cost_is_never_ended(trainings):
    curves = [(cost, (accuracy, accuracy)) for cost, accuracy in trainings]
    for index in front([(curve[-1], cost) for cost, curve in curves]):
        cost, curve = curves[index]
        peers = [Peer(c, k) for i, (c, k) in enumerate(curves) if i != index]
        assert not falls_behind(curve, 3, cost, peers)
