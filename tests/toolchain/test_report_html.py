"""The HTML report in a real browser: quiet, self-contained, reachable, readable, true to the JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from runtime.errors import MissingToolError
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Or, Threshold
from runtime.serialize import load
from runtime.types import BIT
from runtime.weights import Weights
from tests.browser import browser
from toolchain.cli.evidence import Wanted, gather
from toolchain.cost import Report, report
from toolchain.devices import DEVICES
from toolchain.report import FORMATS, compare_costs

TRAINED = Path(__file__).parents[2] / "sample_models" / "trained"
SAMPLES = ("fashion-micro", "mnist-lut-small", "fashion-resnet-mux")
HOSTILE = "\"><img src=x onerror=alert(1)></script><script>alert(2)</script>&amp;' {{7*7}}"
CHECKS = Path(__file__).with_name("page_checks.js").read_text()

MISSING = r"^the HTML report needs jinja2: pip install 'gatefold\[html\]', or choose another format$"

Open = Callable[..., Page]


def ask(page: Page, check: str, *arguments: str) -> Any:
    """What a check of ``page_checks.js`` says."""
    return page.evaluate(f"{CHECKS.strip()}.{check}({', '.join(map(json.dumps, arguments))})")


def hostile() -> Program:
    """A network whose every name is markup."""
    b = Builder(HOSTILE)
    x = b.input(f"input {HOSTILE}", (4, 3, 3), BIT)
    b.at_layer(f"layer {HOSTILE}")
    conv = Conv2d(Weights(np.ones((4, 4, 1, 1), np.int8), 3))
    bits = b.add(Threshold(np.ones((4, 1), np.int64), np.ones(4, np.int64)), b.add(conv, x), name="bits")
    b.at_layer(f"skip {HOSTILE}")
    skip = b.add(Or(), bits, x, name="skip")
    program = b.build((skip,), {f"key {HOSTILE}": HOSTILE, "accuracy": 0.5, "dataset": HOSTILE})
    nodes = tuple(replace(n, result=n.result if n.result != "skip" else HOSTILE) for n in program.nodes)
    return replace(program, nodes=nodes, outputs=(HOSTILE,))


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Of the samples, the last one with everything that is run; of the hostile program all but that."""
    found = {}
    for name in SAMPLES:
        path = TRAINED / name / "program.gfold"
        program = load(path)
        costs = report(program, DEVICES)
        wanted = Wanted(activity=True, verify=name == "mnist-lut-small")
        evidence = gather(path, program, wanted, costs.total.macs, lambda _: None)
        found[name] = replace(costs, evidence=evidence)
    return found | {"hostile": report(hostile(), DEVICES)}


@pytest.fixture(scope="module")
def files(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by name: of the reports, and of a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    micro = load(TRAINED / "fashion-micro" / "program.gfold")
    pairs = [("micro.gfold", micro), ("hostile.gfold", hostile())]
    subjects: dict[str, Any] = {
        **reports,
        "comparison": compare_costs(pairs, ["rp2040", "ice40up5k"]),
    }
    for name, subject in subjects.items():
        (folder / f"{name}.html").write_text(FORMATS["html"](subject), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in subjects}


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """One page of one browser: opening them takes longer than what is asked of them."""
    with browser() as chromium:
        yield chromium.new_page()


@pytest.fixture
def visit(tab: Page, files: dict[str, Path]) -> Iterator[Open]:
    """Open a page by name. Whatever the browser says, asks of a network or stumbles over fails the test."""
    heard: list[str] = []
    urls = {path.as_uri() for path in files.values()}
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": lambda message: heard.append(f"console {message.type}: {message.text}"),
        "pageerror": lambda error: heard.append(f"error: {error}"),
        "dialog": lambda dialog: heard.append(f"dialog: {dialog.message}"),
        "request": lambda request: request.url in urls or heard.append(f"request: {request.url}"),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)

    def call(name: str, width: int = 1280, scheme: Any = "light") -> Page:
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(color_scheme=scheme)
        tab.goto(files[name].as_uri())
        return tab

    yield call
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert not heard


PAGES = (*SAMPLES, "hostile", "comparison")


@pytest.mark.parametrize("name", PAGES)
def test_figures_and_structure(name: str, visit: Open) -> None:
    page = visit(name)
    figures = ask(page, "figures")
    assert [f for f in figures if not (f["seen"] and f["told"] and f["inside"])] == []
    assert len(figures) >= (5 if name == "comparison" else 6)
    found = ask(page, "structure")
    levels = found["headings"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    assert (found["twice"], found["dangling"], found["foreign"]) == ([], [], 0)


@pytest.mark.parametrize("name", PAGES)
def test_text_is_readable_in_light_and_dark(name: str, visit: Open) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page = visit(name, scheme=scheme)
        ask(page, "open")
        found = ask(page, "contrast")
        assert found["seen"] > 5
        assert found["low"] == []
        papers.append(ask(page, "paper"))
    assert papers[0] != papers[1]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(name: str, visit: Open) -> None:
    page = visit(name)
    ask(page, "open")
    for width in (1280, 700, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert ask(page, "overflow") <= 0


@pytest.mark.parametrize("name", PAGES)
def test_everything_is_reached_with_the_keyboard_and_seen_to_be(name: str, visit: Open) -> None:
    page = visit(name, width=360)
    ask(page, "open")
    assert ask(page, "unreachable") == []
    wanted = ask(page, "reachable")
    for _ in range(wanted):
        page.keyboard.press("Tab")
        assert ask(page, "focused")
    assert ask(page, "reached") == wanted > 1


def test_the_first_key_skips_to_the_content(visit: Open) -> None:
    page = visit("fashion-micro")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_names_with_markup_are_text(visit: Open) -> None:
    page = visit("hostile")
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.title().startswith(HOSTILE)
    texts = page.locator("svg text, svg title").all_text_contents()
    for name in (f"layer {HOSTILE}", f"skip {HOSTILE}", f"input {HOSTILE}"):
        assert name in texts or any(text.startswith(name[:12]) for text in texts)
    ask(page, "open")
    assert [f"metadata: key {HOSTILE}", HOSTILE] in ask(page, "table", "origin")
    assert HOSTILE in {row[0] for row in ask(page, "table", "layers")}


def test_numbers_are_those_of_the_json(visit: Open, reports: dict[str, Report]) -> None:
    for name in SAMPLES:
        page, data = visit(name), reports[name].to_json()
        ask(page, "open")
        head, *rows, total = ask(page, "table", "layers")
        shown = [dict(zip(head, row, strict=True)) for row in (*rows, total)]
        for row, layer in zip(shown, [*data["layers"], data["total"]], strict=True):
            assert row["MACs"] == f"{layer['macs']:,}"
            assert row["BOPs"] == f"{layer['bops']:,}"
            assert row["GE parallel"] == f"{layer['gates']['ge']:,.0f}"
        _, *buffers = ask(page, "table", "buffers")
        assert [row[1:3] for row in buffers] == [
            [f"{b['offset']:,}", f"{b['bytes']:,}"] for b in data["memory"]["buffers"]
        ]
        _, *values = ask(page, "table", "activities")
        assert [(row[0], row[1]) for row in values] == [
            (value, f"{100 * found['nonzero']:.1f} %")
            for value, found in data["activity"]["values"].items()
        ]
        verdicts = [
            row for kind in ("mcu", "fpga", "asic") for row in ask(page, "table", f"devices-{kind}")
        ]
        fits = {row[0]: row[1] for row in verdicts if row[0] != "device"}
        assert fits == {device: "yes" if v["fits"] else "no" for device, v in data["devices"].items()}
        assert data["origin"]["sha256"] in {row[1] for row in ask(page, "table", "origin")}


def test_executors_that_were_run_are_shown(visit: Open, reports: dict[str, Report]) -> None:
    page = visit("mnist-lut-small")
    found = reports["mnist-lut-small"].to_json()["verification"]
    assert found["ok"]
    rows = {row[0]: row[1:] for row in ask(page, "table", "verified")[1:]}
    assert rows["packed"] == [f"{found['executors']['packed']['samples']}", "0", "equal bit for bit"]
    assert "give the same bits on 64 samples" in page.locator(".lead").inner_text()


def test_one_file_without_scripts_or_addresses(files: dict[str, Path]) -> None:
    for path in files.values():
        text = path.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"<script|<link|<img|https?:|url\(|@import", text)


def test_without_jinja_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("toolchain.report.html")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingToolError, match=MISSING):
        FORMATS["html"](report(hostile()))
