"""The files around the generated code: self-test, README, build files, layouts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runtime.ir import Program

if TYPE_CHECKING:
    from exporters.c99.build import Source


def folder_files(source: Source, program: Program, vectors: int, layout: str) -> Source:
    """``source`` with the files around it."""
    return replace(source)
