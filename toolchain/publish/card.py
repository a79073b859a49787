"""The card of a published program: what it is, how well it does, what it costs, how to make it again.

Names and texts come from files; every cell is one line, and shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.config import Recipe, load_recipe, shipped_recipes
from toolchain.cost import Report
from toolchain.devices import number
from toolchain.pipeline import ModelCheck
from toolchain.publish.origins import ORIGINS
from toolchain.report.single import skips_of
from toolchain.tables import Table, markdown_cell, to_markdown
from toolchain.training import Run

COST_TITLE, FILES_TITLE = "## Cost", "## Files"
"""Titles of the section on costs and of the one behind it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a card states.

    ``correct`` of the ``samples`` test images have their label as the program's class on ``executor``.
    ``model``: the program against its float64 model. ``vectors``: how many test vectors there are, and
    ``random_vectors`` whether they are of random inputs in place of the first test images.
    ``files``: bytes and SHA-256 of the other files of the folder, by name. ``commands``: those that made
    the run, if training began with the weights of another; none where its recipe alone does.
    """

    run: Run
    executor: str
    correct: int
    samples: int
    model: ModelCheck
    cost: Report
    vectors: int
    random_vectors: bool
    files: Mapping[str, tuple[int, str]]
    commands: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share (0..1) of the test images that the program gets right."""
        return self.correct / self.samples

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of what was measured."""
        return {
            "accuracy": self.accuracy,
            "correct": self.correct,
            "samples": self.samples,
            "executor": self.executor,
            "data": self.run.result.dataset,
            "model": self.model.to_json(),
            "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in self.files.items()},
        }


def card_text(evidence: Evidence) -> str:
    """The card as Markdown. Equal evidence gives equal text."""
    recipe = evidence.run.recipe
    parts = [
        f"# {markdown_cell(recipe.name)}",
        _facts(_identity(evidence)),
        "## Accuracy",
        _facts(_accuracy(evidence)),
        "## Training",
        _facts(_training(evidence.run)),
        COST_TITLE,
        cost_section(evidence.cost),
        FILES_TITLE,
        to_markdown(Table.of(["file", "bytes", "SHA-256"], _files(evidence))),
        "## Data",
        _facts(_data(evidence)),
        "## Make it again",
        _commands(evidence),
        "The recipe in full:",
        f"```toml\n{recipe_toml(recipe)}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def cost_section(cost: Report) -> str:
    """What the program costs, and its skip connections."""
    return "\n\n".join(filter(None, (_facts(_cost(cost)), _skips(cost))))


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values as a table."""
    return to_markdown(Table("", ("", ""), [(name, _line(value)) for name, value in rows]))


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _identity(evidence: Evidence) -> list[tuple[str, object]]:
    run = evidence.run
    return [
        ("what", run.recipe.summary or "a network without a summary"),
        ("model", run.result.model),
        ("options", _pairs(run.result.options)),
        ("data set", run.result.dataset),
    ]


def _accuracy(evidence: Evidence) -> list[tuple[str, object]]:
    result, model = evidence.run.result, evidence.model
    validation = result.validation_accuracy
    return [
        (
            "program, whole test set",
            f"{_percent(evidence.accuracy)} ({evidence.correct} of {evidence.samples}), "
            f"on executor {evidence.executor}",
        ),
        ("torch model in float32, after training", f"{_percent(result.accuracy)} of {result.test_samples}"),
        ("validation images", "none" if validation is None else _percent(validation)),
        (
            "program against the float64 torch model",
            f"{model.mismatches} mismatches on the first {model.samples} test images",
        ),
        ("float32 evaluation differs", f"on {model.float32_differing} of them (ties and rounding)"),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.4f} %"


def _training(run: Run) -> list[tuple[str, object]]:
    recipe, result = run.recipe, run.result
    phases = [
        f"{phase.name} {phase.epochs} ({', '.join(filter(None, (phase.precision, phase.connection)))})"
        for phase in recipe.phases
    ]
    kept = {"last": "the last epoch", "best": "the best epoch on validation images"}[recipe.keep]
    return [
        ("recipe", result.recipe),
        ("seed", result.seed),
        ("epochs", result.epochs),
        ("phases", ", ".join(phases)),
        ("weights", f"of epoch {result.epoch}: {kept}" if result.epoch else "calibrated, not trained"),
        ("training images", number(result.train_samples)),
        ("hardware", f"{result.device}: {result.hardware}"),
        ("processes, threads of each", f"{result.processes}, {result.threads}"),
        ("seconds", f"{result.seconds:,.1f}"),
        ("mixed precision", recipe.compute.mixed),
        ("versions", _pairs(result.versions)),
    ]


def _cost(cost: Report) -> list[tuple[str, object]]:
    total, circuits = cost.total, cost.total.circuits
    fitting = [name for name, verdict in cost.devices.items() if verdict.fits]
    return [
        ("parameters", f"{number(total.parameters)} ({number(total.nonzero)} weights not 0)"),
        ("weights, packed", f"{number(total.constants.weight_bytes)} bytes"),
        ("all constants", f"{number(total.constants.bytes)} bytes"),
        ("flash, estimated", f"{number(total.flash_bytes)} bytes: {total.footprint.basis}"),
        ("RAM, estimated", f"{number(total.ram_bytes)} bytes: {total.footprint.basis}"),
        ("MACs", number(total.macs)),
        ("BOPs", number(total.bops)),
        ("gate equivalents, fully parallel", number(circuits.parallel.ge)),
        ("gate equivalents, one position reused", number(circuits.one_position.ge)),
        ("devices it fits", f"{len(fitting)} of {len(cost.devices)}: {', '.join(fitting) or 'none'}"),
    ]


def _skips(cost: Report) -> str:
    """The skip connections, each kind in gate equivalents; nothing where there could be none."""
    skips = skips_of(cost)
    return f"{skips.title}:\n\n{to_markdown(skips)}" if skips.rows else ""


def _files(evidence: Evidence) -> Sequence[Sequence[object]]:
    return [(name, size, sha256) for name, (size, sha256) in evidence.files.items()]


def _data(evidence: Evidence) -> list[tuple[str, object]]:
    origin = ORIGINS[evidence.run.result.dataset]
    images = f"the first {evidence.vectors} test images, under the terms above"
    inputs = f"{evidence.vectors} random inputs" if evidence.random_vectors else images
    return [
        ("title", origin.title),
        ("origin", origin.origin),
        ("terms", origin.terms),
        ("test vectors", f"{inputs}, and every output by the interpreter (int64)"),
    ]


def _commands(evidence: Evidence) -> str:
    """The commands that train, publish and check."""
    name = evidence.run.recipe.name
    run, folder, executor = f"runs/{name}", f"trained/{name}", f" --executor {evidence.executor}"
    vectors = " --vectors random" if evidence.random_vectors else ""
    first, made = _training_commands(evidence, run)
    commands = [
        *made,
        f"gatefold publish {run}{executor}{vectors} -o {folder}",
        f"gatefold evaluate {folder}/program.gfold --data {evidence.run.result.dataset}{executor}",
        f"gatefold verify {folder}/program.gfold --vectors {folder}/vectors.npz",
    ]
    where = "`--data-dir` or `GATEFOLD_DATA` says where the files of the data set are."
    return f"{first}{where}\n\n```\n" + "\n".join(commands) + "\n```"


def _training_commands(evidence: Evidence, run: str) -> tuple[str, Sequence[str]]:
    """What to say first, and the commands that make the directory ``run``."""
    recipe, result = evidence.run.recipe, evidence.run.result
    if evidence.run.started:
        unknown = "Training began with weights of which nobody noted where they come from. "
        return "" if evidence.commands else unknown, evidence.commands
    shipped = recipe.name in shipped_recipes() and load_recipe(recipe.name) == recipe
    source = recipe.name if shipped else f"{recipe.name}.toml"
    start = "" if result.processes == 1 else f"torchrun --nproc-per-node {result.processes} --no-python "
    device = "" if result.device == "cpu" else " --device cuda"
    first = "" if shipped else f"`{source}` is the recipe below. "
    return first, [f"{start}gatefold train {source}{device} --out {run}"]


def recipe_toml(recipe: Recipe) -> str:
    """``recipe`` as the TOML file that ``gatefold train`` takes, complete."""
    tree = recipe.model_dump(mode="json", exclude_none=True)
    phases = tree.pop("phases")
    tables = {key: tree.pop(key) for key, value in [*tree.items()] if isinstance(value, dict)}
    sections = [("", tree), *((f"[{key}]", value) for key, value in tables.items())]
    sections += [("[[phases]]", phase) for phase in phases]
    return "\n".join(_toml_section(title, values) for title, values in sections if values)


def _toml_section(title: str, values: Mapping[str, Any]) -> str:
    # A JSON text of a string, a number, a flag or a list of them is TOML as well.
    lines = [f"{_toml_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([title, *lines] if title else lines) + "\n"


def _toml_key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else json.dumps(key, ensure_ascii=False)
