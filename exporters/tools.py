"""External programs: found on the path or named by an environment variable, run within a time limit."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import GatefoldError, MissingToolError, TimeLimitError

PROBE_TIMEOUT = 60.0
"""Seconds a program may take to say its version, read from a slow disk."""

LOG_BYTES = 1 << 20
"""Most bytes of a program's output that are looked at."""

Command = tuple[str, ...]
"""A program by absolute path and the arguments it always gets."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An external program. ``what`` it is, with its article. ``names``: looked for on the path in order.

    ``variable``: of the environment, with a command to take instead. ``install``: what to do without one.
    """

    what: str
    names: tuple[str, ...]
    variable: str
    install: str

    @property
    def missing(self) -> str:
        """What a user reads where there is none."""
        return f"needs {self.what}: {self.install}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. ``code``: 0 where all is well. ``output``: its beginning, both streams."""

    code: int
    output: str


def overriding_command(tool: Tool, environ: Mapping[str, str] | None = None) -> Command | None:
    """The command in ``tool.variable``, such as ``ccache gcc``, or None where it is not set.

    Raises MissingToolError where it starts with no program.
    """
    environ = os.environ if environ is None else environ
    text = environ.get(tool.variable, "").strip()
    if not text:
        return None
    try:
        words = [text] if Path(text).is_file() else shlex.split(text, posix=sys.platform != "win32")
    except ValueError:
        words = []
    program = _absolute(words[0], environ) if words else None
    if program is None:
        raise MissingToolError(
            f"{tool.variable} must be the command of {tool.what}, not {text!r:.200}: "
            "it starts with no program; correct or unset it"
        )
    return (program, *words[1:])


def commands_on_path(tool: Tool, environ: Mapping[str, str] | None = None) -> tuple[Command, ...]:
    """Every program of ``tool.names`` that is on the path, in their order."""
    environ = os.environ if environ is None else environ
    found = (_absolute(name, environ) for name in tool.names)
    return tuple((program,) for program in found if program is not None)


def find_tool(tool: Tool, environ: Mapping[str, str] | None = None) -> Command | None:
    """The command of ``tool``: the overriding one, else the first on the path, else None.

    Raises MissingToolError where the overriding one starts with no program.
    """
    return overriding_command(tool, environ) or next(iter(commands_on_path(tool, environ)), None)


def require_tool(tool: Tool, user: str, environ: Mapping[str, str] | None = None) -> Command:
    """The command of ``tool``: the overriding one, else the first on the path.

    Raises MissingToolError saying that ``user`` needs it, and what to install.
    """
    found = find_tool(tool, environ)
    if found is None:
        raise MissingToolError(f"{user} {tool.missing}")
    return found


def _absolute(program: str, environ: Mapping[str, str]) -> str | None:
    """Absolute path of an executable; programs run in folders of their own."""
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    return str(Path(found).absolute()) if found else None


def run_command(
    command: Sequence[str],
    folder: Path,
    what: str,
    timeout: float,
    settings: Mapping[str, str] | None = None,
    log: str = "output.log",
) -> Outcome:
    """Run ``command`` in ``folder``, with its output in the file ``log`` and its temporary files there.

    ``settings`` are added to the environment. After ``timeout`` seconds, and on Ctrl-C, the program ends
    with every process it started. Raises GatefoldError, which says ``what`` was done, where it cannot
    start, TimeLimitError where it takes too long.
    """
    environ = os.environ | {"LC_ALL": "C", "TMPDIR": str(folder)} | dict(settings or {})
    path = folder / log
    try:
        with path.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise GatefoldError(
            f"{what} failed: cannot start {command[0]}: {error.strerror or error}"
        ) from None
    try:
        code = _wait(process, timeout)
    except subprocess.TimeoutExpired:
        raise TimeLimitError(f"{what} took more than {timeout:g} seconds; it was stopped") from None
    finally:
        if process.returncode is None:
            _kill(process)
    with path.open("rb") as file:
        return Outcome(code, file.read(LOG_BYTES).decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    """The exit code. Raises TimeoutExpired.

    ``Popen.wait`` with a timeout looks every 50 ms; where the system can say that a process has ended, it
    is heard at once.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # of an older kernel
            handle = os.pidfd_open(process.pid)
            try:
                ended = select.poll()
                ended.register(handle, select.POLLIN)
                if not ended.poll(1000 * timeout):
                    raise subprocess.TimeoutExpired(process.args, timeout)
            finally:
                os.close(handle)
            return process.wait()
    return process.wait(timeout)


def answer(command: Command, settings: Mapping[str, str] | None = None) -> str | None:
    """What a program says of itself, or None where it does not run, fails or says nothing."""
    try:
        with tempfile.TemporaryDirectory(prefix="gatefold-") as folder:
            outcome = run_command(command, Path(folder), "asking for the version", PROBE_TIMEOUT, settings)
    except (GatefoldError, OSError):
        return None
    return outcome.output if outcome.code == 0 and outcome.output.strip() else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and its children, which share its process group."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
