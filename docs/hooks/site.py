"""What is made while the site is built: the gallery of trained programs, and the page of speeds.

``GATEFOLD_DOCS_MODELS`` names the models of the gallery, with commas, where not all are wanted: making a
report takes about two seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from toolchain.bench.collection import collect
from toolchain.bench.results import read_results
from toolchain.cli.main import cli
from toolchain.report import FORMATS

ROOT = Path(__file__).parents[2]
TRAINED = ROOT / "sample_models" / "trained"
SPEED = ROOT / "docs" / "speed"

OVERVIEW = "gallery/index.md"

COPIED = {"contributing.md": ROOT / "CONTRIBUTING.md", "changelog.md": ROOT / "CHANGELOG.md"}
"""Pages that lie outside of docs/."""

FACTS = {
    "data set": "data set",
    "accuracy": "program, whole test set",
    "flash": "flash, estimated",
    "RAM": "RAM, estimated",
    "gates, parallel": "gate equivalents, fully parallel",
    "gates, reused": "gate equivalents, one position reused",
    "fits": "devices it fits",
}
"""Columns of the overview, and the row of a card that each is the beginning of."""

INTRODUCTION = """# Gallery

Every trained program that comes along, with its card and its report. Flash and RAM are those of its C for a
Cortex-M4, estimated; gate equivalents are of the circuit with every position at once, and of one position
that is used for all. How to use, check and make one: [trained programs](../trained.md).

"""

SPEED_INTRODUCTION = """# Speed on machines

Measurements of users and of ours, as [`gatefold bench --save`](bench.md#your-machine) writes them:
milliseconds a batch, the median and the quartiles of the turns, and how many times faster than the float32
network of the same shape in the same run. `gatefold collect docs/speed` prints the tables of this page, and
makes [the same with plots](speed-plots.html).

"""


def chosen_models() -> list[str]:
    """Names of the models in the gallery."""
    wanted = os.environ.get("GATEFOLD_DOCS_MODELS")
    names = wanted.split(",") if wanted else (path.parent.name for path in TRAINED.glob("*/card.md"))
    return sorted(names)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each model behind the overview."""
    for section in config.nav or []:
        for entries in section.values():
            for entry in entries:
                if isinstance(entry, dict) and entry.get("Gallery") == OVERVIEW:
                    entry["Gallery"] = [OVERVIEW, *({n: f"gallery/{n}.md"} for n in chosen_models())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for place, content in made_pages():
        files.append(File.generated(config, place, content=content))
    return files


def made_pages() -> Iterator[tuple[str, str]]:
    """Places within docs/ and their text."""
    cards = {name: (TRAINED / name / "card.md").read_text(encoding="utf-8") for name in chosen_models()}
    yield OVERVIEW, INTRODUCTION + overview(cards)
    for name, card in cards.items():
        yield f"gallery/{name}.md", with_report(name, card)
        yield f"gallery/{name}-report.html", report_page(name)
    for place, source in COPIED.items():
        yield place, source.read_text(encoding="utf-8")
    measured = collect(read_results([SPEED])[0])
    yield "speed.md", SPEED_INTRODUCTION + FORMATS["markdown"](measured).partition("\n\n")[2]
    yield "speed-plots.html", FORMATS["html"](measured)


def overview(cards: dict[str, str]) -> str:
    """A row for each model."""
    rows = [f"| network | {' | '.join(FACTS)} |", f"|---|---|{'---:|' * 5}---|"]
    for name, card in cards.items():
        facts = (re.split(r" \(|: ", fact(card, label))[0] for label in FACTS.values())
        rows.append(f"| [{name}]({name}.md) | {' | '.join(facts)} |")
    return "\n".join(rows) + "\n"


def fact(card: str, label: str) -> str:
    """The second cell of the row of a card that begins with ``label``."""
    found = re.search(rf"^\| {re.escape(label)} \| (.*) \|$", card, re.MULTILINE)
    return found[1] if found else "-"


def with_report(name: str, card: str) -> str:
    """A card with a link to its report below the title."""
    title, _, rest = card.partition("\n\n")
    link = f"[Report in full]({name}-report.html) · [all models](index.md)"
    return f"{title}\n\n{link}\n\n{rest}"


@cache
def report_page(name: str) -> str:
    """What ``gatefold report PROGRAM -o FILE`` writes; once for all builds of ``mkdocs serve``."""
    with TemporaryDirectory() as folder, chdir(ROOT), redirect_stdout(StringIO()):
        place = Path(folder) / "report.html"
        program = (TRAINED / name / "program.gfold").relative_to(ROOT)
        cli.main(["report", str(program), "-o", str(place)], standalone_mode=False)
        return place.read_text(encoding="utf-8")
