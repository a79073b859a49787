"""Models by name: options, and what entry points may and may not name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from toolchain.models import ModelRow, model_row, models


class Shown(nn.Module):
    """Keeps the options it was built with."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options


ROW = ModelRow(
    name="tiny",
    summary="one dense layer",
    builder=lambda size, bias: nn.Linear(4, size, bias),
    input_shape=(4,),
    input_interval=Interval(0, 1),
    dataset="digits",
    options={"size": 3, "bias": True},
)

TYPED = ModelRow(
    name="typed",
    summary="a layer that shows its options",
    builder=lambda **options: Shown(options),
    input_shape=(4,),
    input_interval=Interval(0, 1),
    dataset="digits",
    options={"alpha": 0.5, "shifts": "", "width": 8, "twin": False},
)

PLUGIN = """
from torch import nn
from runtime.types import Interval
from toolchain.models import ModelRow

MODELS = {n: ModelRow(n, "", nn.Identity, (1,), Interval(0, 1), "digits") for n in ("plug-a", "plug-b")}
OTHER = {"plug-a": ModelRow("plug-a", "", nn.Identity, (1,), Interval(0, 1), "digits")}
WRONG = {"plug-c": nn.Identity}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, *targets: str) -> None:
    """Put a package with entry points on the path, as an installation would."""
    (folder / f"{module}.py").write_text(PLUGIN)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    entries = "\n".join(f"e{i} = {module}:{target}" for i, target in enumerate(targets))
    (info / "entry_points.txt").write_text(f"[gatefold.models]\n{entries}\n")
    monkeypatch.syspath_prepend(folder)


def test_options_replace_defaults() -> None:
    assert ROW.build().weight.shape == (3, 4)
    assert ROW.build(size=5, bias=False).bias is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 3}, "options of model 'tiny' are size, bias, not 'width'"),
        ({"size": "3"}, "option 'size' of model 'tiny' must be a whole number, not '3'"),
        ({"size": True}, "option 'size' of model 'tiny' must be a whole number, not True"),
    ],
)
def test_option_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ROW.build(**options)


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("alpha", 2, 2.0),
        ("alpha", 0, 0.0),
        ("alpha", 1.5, 1.5),
        ("shifts", 1, "1"),
        ("shifts", 1.5, "1.5"),
        ("shifts", "1,2", "1,2"),
        ("width", 4, 4),
        ("twin", True, True),
    ],
)
def test_a_number_is_taken_where_it_can_only_mean_one_thing(
    key: str, given: object, expected: object
) -> None:
    options: Any = TYPED.build(**{key: given}).options
    assert options == {**TYPED.options, key: expected}
    assert type(options[key]) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("alpha", "2", "a number, not '2'"),
        ("alpha", True, "a number, not True"),
        ("alpha", float("nan"), "a finite number, not nan"),
        ("alpha", float("-inf"), "a finite number, not -inf"),
        ("alpha", 10**400, "a finite number, not inf"),
        ("shifts", True, "text, not True"),
        ("width", 4.0, "a whole number, not 4.0"),
        ("width", "4", "a whole number, not '4'"),
        ("twin", 1, "true or false, not 1"),
        ("twin", "yes", "true or false, not 'yes'"),
    ],
)
def test_what_an_option_must_be_is_told_in_words(key: str, value: object, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        TYPED.build(**{key: value})
    assert str(caught.value) == f"option {key!r} of model 'typed' must be {rule}"


def test_any_package_can_bring_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "plug_good", "MODELS")
    assert {"plug-a", "plug-b"} <= set(models())
    assert model_row("plug-a").input_shape == (1,)


def test_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "plug_known", "MODELS")
    with pytest.raises(InputError, match=r"model must be one of .*plug-a, plug-b.*, not 'resnet'"):
        model_row("resnet")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ["MISSING"],
            "entry point 'e0' of gatefold.models must load, but .*:MISSING raises AttributeError",
        ),
        (["WRONG"], "entry point 'e0' of gatefold.models must name a dict of ModelRow, not .*:WRONG"),
        (["MODELS", "OTHER"], "model names must be unique, 'plug-a' of .*:OTHER is taken"),
    ],
)
def test_bad_entry_points(
    targets: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, f"plug_{'_'.join(targets).lower()}", *targets)
    with pytest.raises(InputError, match=message):
        models()
