"""The C compilers of this machine, for tests that run with each."""

from __future__ import annotations

import sys

from exporters.c99.compilers import C_COMPILER, Compiler, identify
from exporters.tools import commands_on_path

ZIG = (sys.executable, "-P", "-m", "ziglang", "cc")

_FOUND = [identify(command) for command in (*commands_on_path(C_COMPILER), ZIG)]

COMPILERS: dict[str, Compiler] = {compiler.kind: compiler for compiler in reversed(_FOUND) if compiler}
"""One of each kind, by kind; the package ``ziglang`` is always among them."""
