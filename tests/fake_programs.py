"""Programs that stand in for real ones, as shell scripts."""

from __future__ import annotations

from pathlib import Path

GCC_VERSION = "gcc (Fake 1.0) 9.1.0\nCopyright (C) 2019 Free Software Foundation, Inc."
CLANG_VERSION = "Ubuntu clang version 18.1.3 (1ubuntu1)\nTarget: x86_64-pc-linux-gnu"


def write_program(path: Path, script: str = "exit 0") -> Path:
    """An executable shell script at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def write_compiler(path: Path, script: str = "exit 1", version: str = GCC_VERSION) -> Path:
    """A compiler that says ``version`` and answers everything else with ``script``."""
    return write_program(path, f"if [ \"$1\" = --version ]; then echo '{version}'; exit 0; fi\n{script}")
