"""The HTML page: one file without scripts or outside resources, in light and dark. Needs jinja2."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jinja2

from toolchain.bench.collection import Collection
from toolchain.cost import Report
from toolchain.report.comparison import CostComparison
from toolchain.report.html.blocks import Document
from toolchain.report.html.measurements import collection_document
from toolchain.report.html.side_by_side import comparison_document
from toolchain.report.html.single import report_document

DOCUMENTS: dict[type, Callable[[Any], Document]] = {
    Report: report_document,
    CostComparison: comparison_document,
    Collection: collection_document,
}
"""How the document of each subject is made."""


def render(subject: Any) -> str:
    """The page of ``subject``."""
    return _template().render(document=DOCUMENTS[type(subject)](subject)) + "\n"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
