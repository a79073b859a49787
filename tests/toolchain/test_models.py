"""Models by name: options, and what entry points may and may not name."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from toolchain.models import ModelRow, model_row, models

ROW = ModelRow(
    name="tiny",
    summary="one dense layer",
    builder=lambda size, bias: nn.Linear(4, size, bias),
    input_shape=(4,),
    input_interval=Interval(0, 1),
    dataset="digits",
    options={"size": 3, "bias": True},
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
        ({"size": "3"}, "option 'size' of model 'tiny' must be int, not '3'"),
        ({"size": True}, "option 'size' of model 'tiny' must be int, not True"),
    ],
)
def test_option_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ROW.build(**options)


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
