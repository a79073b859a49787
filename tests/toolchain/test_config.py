"""Recipes: reading, overriding, and the one line each mistake gives."""

import tomllib
from pathlib import Path

import pytest

from runtime.errors import InputError
from toolchain.config import Compute, Recipe, StepUpdate, leaves, load_recipe, override, shipped_recipes

TEXT = """
name = "small"
model = "ornet-digits"
dataset = "digits"
seed = 7

[options]
width = 8

[[phases]]
name = "pretrain"
epochs = 2
precision = "float"
learning_rate = 0.01
batch_size = 64

[[phases]]
name = "qat"
epochs = 6
precision = "quantized"
learning_rate = 0.01
batch_size = 64
schedule = "cosine"
"""


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    (tmp_path / "small.toml").write_text(TEXT)
    return load_recipe(tmp_path / "small.toml")


def test_a_recipe_is_read_with_its_defaults(recipe):
    assert (recipe.model, recipe.seed, recipe.epochs, recipe.keep) == ("ornet-digits", 7, 8, "last")
    assert recipe.options == {"width": 8}
    assert [phase.precision for phase in recipe.phases] == ["float", "quantized"]
    assert recipe.phases[0].schedule == "constant"
    assert recipe.step == StepUpdate(every="epoch", rule=None, zero_median=False)
    assert recipe.compute == Compute(mixed="off", channels_last=True, compile=False)
    assert recipe.phases[1].milestones == (0.5, 0.75)


def test_a_recipe_survives_json_unchanged(recipe):
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_assignments_reach_every_part_of_a_recipe(recipe):
    changed = override(
        recipe,
        [
            "seed=3",
            "phases.qat.epochs=20",
            "phases.0.learning_rate = 0.5",
            "options.skip=mux",
            "options.levels=5",
            "augmentation.flip=true",
            "optimizer.kind=sgd",
            "step.every=2",
            "step.rule=least-squares",
            "step.zero_median=true",
            "compute.mixed=bfloat16",
            "compute.channels_last=false",
            "compute.compile=true",
            "phases.qat.milestones=[0.2, 0.4, 0.9]",
        ],
    )
    assert changed.seed == 3
    assert [phase.epochs for phase in changed.phases] == [2, 20]
    assert changed.phases[0].learning_rate == 0.5
    assert changed.options == {"width": 8, "skip": "mux", "levels": 5}
    assert changed.augmentation.flip is True
    assert changed.optimizer.kind == "sgd"
    assert changed.step == StepUpdate(every=2, rule="least-squares", zero_median=True)
    assert changed.compute == Compute(mixed="bfloat16", channels_last=False, compile=True)
    assert changed.phases[1].milestones == (0.2, 0.4, 0.9)
    assert recipe.seed == 7, "the original is not touched"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", "--set must be key=value, not 'seed'"),
        ("=3", "--set must be key=value, not '=3'"),
        (
            "optimizer.kindd=sgd",
            "--set: unknown key 'optimizer.kindd'; did you mean 'kind'? "
            "(keys: kind, momentum, weight_decay, max_norm)",
        ),
        (
            "phases.qta.epochs=2",
            "--set: unknown key 'phases.qta.epochs'; did you mean 'qat'? (keys: pretrain, qat, 0, 1)",
        ),
        ("seed.low=2", "--set: unknown key 'seed.low'"),
        ("phases.0=2", "--set: unknown key 'phases.0'; did you mean '0'? (keys: pretrain, qat, 0, 1)"),
        ("seed=-1", "--set: seed: input should be greater than or equal to 0, not -1"),
        (
            "seed=one",
            "--set: seed: input should be a valid integer, unable to parse string as an integer, not 'one'",
        ),
        (
            "phases.qat.precision=half",
            "--set: phases.qat.precision: input should be 'float' or 'quantized', not 'half'",
        ),
        (
            "phases.qat.learning_rate=nan",
            "--set: phases.qat.learning_rate: input should be a finite number, not nan",
        ),
        (
            "phases.0.epochs=-1",
            "--set: phases.pretrain.epochs: input should be greater than or equal to 0, not -1",
        ),
        (
            "phases.qat.name=Q",
            "--set: phases.1.name: string should match pattern '^[a-z][a-z0-9_-]*$', not 'Q'",
        ),
        ("phases.qat.name=pretrain", "--set: phase names must differ, not pretrain, pretrain"),
        ("keep=best", "--set: keep = 'best' needs a validation share above 0"),
        ("patience=5", "--set: patience and watch = 'loss' need keep = 'best'"),
        ("watch=loss", "--set: patience and watch = 'loss' need keep = 'best'"),
        ("step.ramp=2", "--set: step.ramp: input should be less than or equal to 1, not 2"),
        ("watch=time", "--set: watch: input should be 'accuracy' or 'loss', not 'time'"),
        (
            "step.every=sometimes",
            "--set: step.every: input should be 'batch', 'epoch' or 'never', not 'sometimes'",
        ),
        (
            "step.rule=mean",
            "--set: step.rule: must be one of quantile-span, threshold-mean, least-squares, twn, max-abs, "
            "not 'mean'",
        ),
        ("options.alpha=nan", "--set: options.alpha: must be a finite number, not nan"),
        ("options.alpha=-inf", "--set: options.alpha: must be a finite number, not -inf"),
        ("options.skip=[1]", "--set: options.skip: must be a number, text, true or false, not [1]"),
        ("compute.mixed=half", "--set: compute.mixed: input should be 'off' or 'bfloat16', not 'half'"),
        (
            "compute.compil=true",
            "--set: unknown key 'compute.compil'; did you mean 'compile'? "
            "(keys: mixed, channels_last, compile)",
        ),
        (
            "phases.qat.milestones=[0.3, 1.5]",
            "--set: phases.qat.milestones.1: input should be less than 1, not 1.5",
        ),
        ("phases.qat.milestones.0=0.3", "--set: unknown key 'phases.qat.milestones.0'"),
    ],
)
def test_a_wrong_assignment_is_told_in_one_line(recipe, assignment, message):
    with pytest.raises(InputError) as caught:
        override(recipe, [assignment])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('model = "ornet-digits"\n', "", "key 'model' is missing"),
        ("seed", "sead", "unknown key 'sead'; did you mean 'seed'? (keys: name, summary, model,"),
        (
            "schedule",
            "shedule",
            "unknown key 'phases.qat.shedule'; did you mean 'schedule'? (keys: name, epochs,",
        ),
        (
            "epochs = 2",
            "epochs = -2",
            "phases.pretrain.epochs: input should be greater than or equal to 0, not -2",
        ),
        ('name = "qat"\n', "", "key 'phases.1.name' is missing"),
        ("[options]", "[options", "is not valid TOML: "),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "wrong.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(f"recipe {path}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_told_in_one_line(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not valid TOML"):
        load_recipe(path)


def test_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(InputError) as caught:
        load_recipe("digit-ternary")
    assert str(caught.value).startswith("recipe must be a TOML file or one of ")
    assert "digits-float, digits-mux, " in str(caught.value)
    assert str(caught.value).endswith("not 'digit-ternary'; did you mean 'digits-ternary'?")


def test_a_missing_recipe_file_is_told_as_such(tmp_path):
    with pytest.raises(InputError) as caught:
        load_recipe("digit-ternary.toml")
    assert str(caught.value).startswith("recipe must be a TOML file or one of ")
    assert "digits-float, digits-mux, " in str(caught.value)
    assert str(caught.value).endswith(
        "; no such file exists: 'digit-ternary.toml'; did you mean 'digits-ternary'?"
    )
    path = tmp_path / "none.toml"
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"recipe must be a TOML file; no such file exists: {str(path)!r}"


def test_the_leaves_of_a_recipe_are_the_keys_that_override_takes(recipe):
    found = leaves(recipe)
    assert found["phases"] == ["pretrain", "qat"]
    assert found["phases.qat.schedule"] == "cosine"
    assert found["options.width"] == 8
    assert found["step.every"] == "epoch"
    assert leaves(override(recipe, ["phases.1.epochs=7"])) == found | {"phases.qat.epochs": 7}


@pytest.mark.parametrize(
    ("total", "epochs"), [(0, [0, 0]), (2, [1, 1]), (4, [1, 3]), (8, [2, 6]), (17, [4, 13])]
)
def test_epochs_are_shared_out_in_proportion(recipe, total, epochs):
    assert [phase.epochs for phase in recipe.with_epochs(total).phases] == epochs


def test_fewer_epochs_than_phases_are_refused(recipe):
    with pytest.raises(InputError) as caught:
        recipe.with_epochs(1)
    assert str(caught.value) == (
        "recipe 'small' has 2 phases and needs at least as many epochs, not 1; use --epochs 2 or more"
    )


def test_options_stay_as_they_were_written(recipe):
    changed = override(recipe, ["options.alpha=2", "options.pattern=1"])
    assert changed.model_dump(mode="json")["options"] == {"width": 8, "alpha": 2, "pattern": 1}
    assert type(changed.options["alpha"]) is type(changed.options["pattern"]) is int


@pytest.mark.parametrize(
    ("epochs", "active"),
    [((2, 6), ["pretrain", "qat"]), ((2, 0), ["pretrain"]), ((0, 6), ["qat"]), ((0, 0), ["qat"])],
)
def test_active_phases_have_epochs_unless_none_has(recipe, epochs, active):
    changes = [f"phases.{name}.epochs={n}" for name, n in zip(("pretrain", "qat"), epochs, strict=True)]
    assert [phase.name for phase in override(recipe, changes).active_phases] == active


def test_a_phase_of_0_epochs_stays_out_and_nothing_cannot_be_stretched(recipe):
    without = override(recipe, ["phases.pretrain.epochs=0"])
    assert [phase.epochs for phase in without.with_epochs(1).phases] == [0, 1]
    assert [phase.epochs for phase in without.with_epochs(9).phases] == [0, 9]
    message = "^recipe 'small' trains for 0 epochs, which cannot be stretched to 3; set phases.qat.epochs$"
    with pytest.raises(InputError, match=message):
        recipe.with_epochs(0).with_epochs(3)
    assert recipe.with_epochs(0).with_epochs(0).epochs == 0


@pytest.mark.parametrize(
    ("every", "epochs"),
    [("batch", [0, 1, 2, 3, 4]), ("epoch", [0, 1, 2, 3, 4]), ("never", [0]), (2, [0, 2, 4])],
)
def test_steps_are_updated_as_often_as_the_recipe_says(every, epochs):
    update = StepUpdate(every=every)
    assert [epoch for epoch in range(5) if update.before_epoch(epoch)] == epochs


@pytest.mark.parametrize("every", ["never", 3])
def test_a_ramp_of_the_density_needs_steps_that_follow_it(every):
    with pytest.raises(ValueError, match=f"ramp needs steps set every 'batch' or 'epoch', not {every!r}"):
        StepUpdate(every=every, ramp=0.5)


def test_a_ramp_excludes_that_earlier_weights_are_kept(recipe):
    changes = ["keep=best", "validation=0.1", "step.ramp=0.5"]
    with pytest.raises(InputError, match="exclude each other: earlier weights are denser"):
        override(recipe, changes)


def test_the_density_falls_by_a_cubic_to_the_layers_own():
    update = StepUpdate(ramp=0.8, initial_density=0.5)
    assert [update.density(0.1, done) for done in (0.0, 0.4, 0.8, 1.0)] == pytest.approx(
        [0.5, 0.15, 0.1, 0.1]
    )
    assert update.density(0.6, 0.0) == 0.6, "it never rises"
    assert StepUpdate(initial_density=0.5).density(0.1, 0.0) == 0.1


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str, *recipes: str) -> None:
    """Put a package on the path that offers the folder ``target`` of recipes."""
    (folder / name).mkdir()
    for recipe in recipes:
        (folder / name / f"{recipe}.toml").write_text(TEXT)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gatefold.recipes]\nown = {target}\n")
    monkeypatch.syspath_prepend(folder)


def test_any_package_can_bring_recipes(tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, "recipes_good", "recipes_good", "zoo-first", "a-second")
    assert {"zoo-first", "a-second", "digits-ternary"} <= set(shipped_recipes())
    assert list(shipped_recipes()) == sorted(shipped_recipes())
    assert load_recipe("zoo-first").seed == 7


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        (
            "recipes_missing",
            "recipes_nowhere",
            "entry point 'own' of gatefold.recipes must name an importable folder, but recipes_nowhere "
            "raises ModuleNotFoundError: No module named 'recipes_nowhere'; repair or uninstall that "
            "package",
        ),
        (
            "recipes_taken",
            "recipes_taken",
            "recipe names must be unique, 'digits-ternary' of recipes_taken is taken",
        ),
    ],
)
def test_bad_recipe_packages_are_told_in_one_line(tmp_path, monkeypatch, name, target, message):
    offer(tmp_path, monkeypatch, name, target, "digits-ternary")
    with pytest.raises(InputError) as caught:
        shipped_recipes()
    assert str(caught.value) == message


def test_shipped_recipes_are_toml_files_named_like_themselves():
    files = shipped_recipes()
    assert set(files) >= {
        "digits-float",
        "digits-mux",
        "digits-quinary",
        "digits-ternary",
        "fashion-float",
        "fashion-mux",
        "fashion-or",
    }
    for name, file in files.items():
        assert tomllib.loads(file.read_text())["name"] == name
        assert load_recipe(name).summary
