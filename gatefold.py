"""Gatefold folds trained neural networks into gates: the public API on one page.

``import gatefold`` needs NumPy alone; each name below is imported when it is first used.

Examples:
    >>> program = gatefold.load("program.gfold")
    >>> scores = gatefold.Session(program, "packed").run(images)["scores"]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporters import export
    from exporters import open_session as Session
    from runtime.ir import Builder, Program
    from runtime.serialize import load, save
    from toolchain.compare import verify
    from toolchain.cost import report
    from toolchain.lowering import lower

_EXPORTS = {
    "Builder": "runtime.ir:Builder",
    "Program": "runtime.ir:Program",
    "Session": "exporters:open_session",
    "export": "exporters:export",
    "load": "runtime.serialize:load",
    "lower": "toolchain.lowering:lower",
    "report": "toolchain.cost:report",
    "save": "runtime.serialize:save",
    "verify": "toolchain.compare:verify",
}

__all__ = ["Builder", "Program", "Session", "export", "load", "lower", "report", "save", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'gatefold' has no attribute {name!r}")
    module, attribute = _EXPORTS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
