"""Every code block of the documentation runs, or its command line is at least one that could."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tests.doc_blocks import PAGES, ROOT, Block, Place, blocks_of, make_place, run_block, run_elsewhere

BLOCKS = [block for page in PAGES for block in blocks_of(page)]

MOST_NOT_RUN = 22
"""Blocks that take minutes, a data set, a GPU or an installation. Think twice before adding one."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder for one page, without the user's data sets."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("GATEFOLD_DATA", str(tmp_path / "no-data"))
    return make_place(tmp_path)


@pytest.mark.parametrize(
    "page", list(dict.fromkeys(block.page for block in BLOCKS)), ids=lambda page: page.stem
)
def test_blocks_of_a_page(page: Path, place: Place, update_golden: bool) -> None:
    for block in blocks_of(page):
        run_block(block, place)
    run_elsewhere(place)
    if update_golden and place.changed:
        text = page.read_text()
        for old, new in place.changed.items():
            text = text.replace(old, new)
        page.write_text(text)
        place.changed.clear()
    shown = "\n".join(f"{old}\nis now\n{new}" for old, new in place.changed.items())
    assert not place.changed, f"{shown}\n`pytest --update-golden` rewrites it"


def test_few_blocks_are_not_run() -> None:
    not_run = [
        f"{block}: {block.directives['not run']}" for block in BLOCKS if "not run" in block.directives
    ]
    assert len(not_run) <= MOST_NOT_RUN, "\n".join(not_run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_stands_in_fences(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n {4}[^ *\-\d].*", text) == []
    assert "```" not in text


# --- the collector ------------------------------------------------------------------------------------


def block(text: str, language: str = "sh", **directives: str) -> Block:
    """A block of the README."""
    named = {name.replace("_", " "): value for name, value in directives.items()}
    return Block(ROOT / "README.md", 1, language, text, named)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gatefold trian digits-ternary", "No such command 'trian'"),
        ("gatefold train --epoch 3 digits-ternary", "No such option '--epoch'"),
        ("gatefold train", "Missing argument"),
        ("gatefold train x --device tpu", "'tpu' is not one of"),
        ("torchrun --standalone gatefold train", "Missing argument"),
    ],
)
def test_a_typo_in_what_is_not_run_is_found(line: str, message: str, place: Place) -> None:
    with pytest.raises(click.UsageError) as caught:
        run_block(block(line, not_run="it takes long"), place)
    assert message in caught.value.format_message()


@pytest.mark.parametrize(
    "wrong",
    [
        block("pip install 'gatefold[onyx]'"),
        block("frobnicate --all"),
        block("gatefold inspect nothing.gfold"),
        block("gatefold devices | head"),
        block("assert 1 == 2", "python"),
        block("int f(void) { return undeclared; }", "c"),
        block("plain", ""),
    ],
    ids=lambda wrong: wrong.text,
)
def test_what_is_wrong_is_found(wrong: Block, place: Place) -> None:
    with pytest.raises(AssertionError):
        run_block(wrong, place)


@pytest.mark.parametrize(
    ("expected", "directives", "right"),
    [
        ("gatefold, version 0.1.0\n", {}, True),
        ("gatefold, version 0.2.0\n", {}, False),
        ("gatefold, version 0.2.0\n", {"numbers_vary": "so"}, True),
        ("gatefold, of 0.2.0\n", {"numbers_vary": "so"}, False),
        ("gatefold, of 0.2.0\n", {"output_varies": "so"}, True),
        ("...\n", {}, True),
        ("...\nmore\n", {}, False),
    ],
)
def test_outputs_are_compared(expected: str, directives: dict[str, str], right: bool, place: Place) -> None:
    run_block(block(f"$ gatefold --version\n{expected}", "console", **directives), place)
    assert (place.changed == {}) is right
