"""The documentation names what exists. Its commands are run in ``test_docs_blocks.py``."""

import dataclasses
import re
from pathlib import Path

import pytest

from runtime.ops import OPS
from tests.doc_blocks import PAGES, ROOT
from toolchain.config import shipped_recipes
from toolchain.quantizers import STEP_RULES


def test_every_op_and_attribute_is_in_the_normative_page() -> None:
    page = (ROOT / "docs/ir.md").read_text()
    for name, op in OPS.items():
        row = next((line for line in page.splitlines() if f"`{name}(" in line), "")
        assert row, f"docs/ir.md lacks {name}"
        for field in dataclasses.fields(op):  # type: ignore[arg-type]
            assert f"`{field.name}`" in row, f"docs/ir.md lacks {name}.{field.name}"


def test_tests_of_the_cost_model_exist() -> None:
    page = (ROOT / "docs/cost-model.md").read_text()
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page)
    assert len(named) > 40
    for file, name in named:
        text = (ROOT / "tests/toolchain" / file).read_text()
        assert f"\ndef {name}(" in text or not name, f"{file} has no {name}"


def test_step_rules_are_documented() -> None:
    page = (ROOT / "docs/training.md").read_text()
    assert [rule for rule in STEP_RULES if f"`{rule}`" not in page] == []


def test_the_readme_has_the_two_commands() -> None:
    commands = [
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")
    ]
    assert len(commands) == 2
    assert commands[0].endswith("gatefold demo")
    assert "pytest" in commands[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_recipes_in_the_results_exist() -> None:
    page = (ROOT / "docs/results.md").read_text()
    for name in re.findall(r"gatefold train ([\w-]+)", page):
        assert name in shipped_recipes(), name
