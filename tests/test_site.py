"""The documentation site: it builds without a warning, loads nothing, and works from a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from tests.browser import browser

ROOT = Path(__file__).parents[1]

MODELS = ("digits-ternary", "mnist-lut-small")
"""Those of the gallery that are made here; all take a minute."""

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "use": "href"}
"""Elements that make a browser load something, and the attribute that says what."""


class Page(HTMLParser):
    """What a page loads, what it links to, and what can be linked to in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep the attributes that count."""
        found = {name: value or "" for name, value in attributes}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag in LOADS and LOADS[tag] in found and found.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(found[LOADS[tag]])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


def test_the_site(tmp_path: Path) -> None:
    """One test, so that it is built once, whatever process tests run in."""
    build(tmp_path)
    pages = {file: Page(file) for file in tmp_path.rglob("*.html")}
    check_that_nothing_is_loaded_from_elsewhere(tmp_path, pages)
    check_that_internal_links_lead_somewhere(pages)
    check_that_every_page_is_there(tmp_path)
    check_that_it_works_in_a_browser(tmp_path)


def build(folder: Path) -> None:
    """The site with two models in its gallery; a warning is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT,
        env=os.environ | {"GATEFOLD_DOCS_MODELS": ",".join(MODELS), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check_that_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Neither by pages nor by style sheets."""
    for file, page in pages.items():
        assert [load for load in page.loads if re.match(r"(https?:)?//", load)] == [], file
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*|@import[^;]*http[^;]*", sheet.read_text()) == []


def targets(page: Page) -> Iterator[str]:
    """Internal links."""
    return (link for link in page.links if not re.match(r"[a-z]+:", link))


def check_that_internal_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    """To a file, and to an anchor in it."""
    for file, page in pages.items():
        if file.name == "404.html":
            continue
        for link in targets(page):
            place, anchor = urldefrag(unquote(link))
            target = (file.parent / place).resolve() if place else file
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{file.name} links to {link}"
            if anchor and target in pages:
                assert anchor in pages[target].anchors, f"{file.name} links to {link}"


def check_that_every_page_is_there(site: Path) -> None:
    """Those of docs/ and those of the gallery."""
    for page in (ROOT / "docs").rglob("*.md"):
        place = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        assert place.is_file(), page.name
    for model in MODELS:
        assert (site / "gallery" / f"{model}-report.html").is_file()
        assert "Accuracy" in (site / "gallery" / f"{model}.html").read_text()


def check_that_it_works_in_a_browser(site: Path) -> None:
    """From a folder, without an error or a request, the search included."""
    wrong: list[str] = []
    with browser() as chromium:
        page = chromium.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                wrong.append(asked.url) if not asked.url.startswith(("file:", "data:", "blob:")) else None
            ),
        )
        for place in ("index.html", "gallery/index.html", f"gallery/{MODELS[0]}.html"):
            page.goto((site / place).as_uri())
            assert page.locator("h1").first.is_visible()
        page.goto((site / "index.html").as_uri())
        page.locator("input.md-search__input").click()
        page.keyboard.type("FloorSqrt")
        found = page.locator(".md-search-result__item a")
        found.first.wait_for(timeout=20_000)
        assert any("FloorSqrt" in text for text in found.all_inner_texts())
    assert wrong == []
