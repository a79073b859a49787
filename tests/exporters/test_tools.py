"""Finding external programs and running them: overrides, one-line errors, a limit on time."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from exporters.tools import Tool, commands_on_path, overriding_command, require_tool, run_command
from runtime.errors import GatefoldError, MissingToolError
from tests.fake_programs import write_program

SIMULATOR = Tool("a simulator", ("simulate", "vsim"), "GATEFOLD_SIMULATOR", "install simulate")


def test_the_first_name_on_the_path_is_taken(tmp_path: Path) -> None:
    second = write_program(tmp_path / "vsim")
    environ = {"PATH": str(tmp_path)}
    assert require_tool(SIMULATOR, "test", environ) == (str(second),)
    first = write_program(tmp_path / "simulate")
    assert require_tool(SIMULATOR, "test", environ) == (str(first),)
    assert commands_on_path(SIMULATOR, environ) == ((str(first),), (str(second),))


def test_a_missing_program_says_who_needs_it_and_what_to_install() -> None:
    with pytest.raises(MissingToolError) as caught:
        require_tool(SIMULATOR, "verify", {"PATH": ""})
    assert str(caught.value) == "verify needs a simulator: install simulate"


def test_the_environment_overrides_the_path(tmp_path: Path) -> None:
    write_program(tmp_path / "simulate")
    other = write_program(tmp_path / "with space" / "other")
    for text in (str(other), f"'{other}' -q 'two words'", f"  '{other}' "):
        command = require_tool(SIMULATOR, "test", {"PATH": str(tmp_path), SIMULATOR.variable: text})
        assert command == (str(other), *(("-q", "two words") if "-q" in text else ()))


def test_a_relative_override_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_program(tmp_path / "bin" / "mine")
    monkeypatch.chdir(tmp_path)
    assert overriding_command(SIMULATOR, {SIMULATOR.variable: "bin/mine -x"}) == (str(program), "-x")


@pytest.mark.parametrize("text", ["no-such-program -q", "/", "'unclosed", "''"])
def test_an_override_that_is_no_program(text: str) -> None:
    with pytest.raises(MissingToolError) as caught:
        overriding_command(SIMULATOR, {"PATH": "", SIMULATOR.variable: text})
    assert str(caught.value) == (
        f"GATEFOLD_SIMULATOR must be the command of a simulator, not {text!r}: "
        "it starts with no program; correct or unset it"
    )


def test_an_empty_override_is_none() -> None:
    assert overriding_command(SIMULATOR, {SIMULATOR.variable: "  "}) is None


def test_a_program_runs_in_its_folder_with_its_output_logged(tmp_path: Path) -> None:
    program = write_program(tmp_path / "tool", 'pwd; echo "$COLOR $LC_ALL" >&2; exit 3')
    (tmp_path / "work").mkdir()
    outcome = run_command([str(program)], tmp_path / "work", "working", 30, {"COLOR": "red"}, "tool.log")
    assert (outcome.code, outcome.output) == (3, f"{tmp_path / 'work'}\nred C\n")
    assert (tmp_path / "work" / "tool.log").read_text() == outcome.output


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(GatefoldError) as caught:
        run_command([str(tmp_path / "text")], tmp_path, "working", 30)
    assert str(caught.value) == f"working failed: cannot start {tmp_path / 'text'}: Exec format error"


def hanging_program(folder: Path) -> Path:
    """A program that waits for a child that hangs; it says the child's number in the file ``child``."""
    return write_program(folder / "hang", f"sleep 300 & echo $! > {folder / 'child'}; wait")


def assert_ends(folder: Path) -> None:
    child = int((folder / "child").read_text())
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} still runs")


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return re.split(r"\) ", state)[-1][0] != "Z"


@pytest.mark.parametrize("told", [True, False], ids=["told of its end", "looking for its end"])
def test_a_program_that_hangs_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:
        monkeypatch.setattr("os.pidfd_open", lambda _process: os.close(-1))  # OSError: an older kernel
    with pytest.raises(GatefoldError, match=r"^working took more than 1\.5 seconds; it was stopped$"):
        run_command([str(hanging_program(tmp_path))], tmp_path, "working", 1.5)
    assert_ends(tmp_path)


def test_ctrl_c_ends_the_program_too(tmp_path: Path) -> None:
    program, child, waiting = hanging_program(tmp_path), tmp_path / "child", threading.get_ident()

    def interrupt() -> None:
        while not (child.is_file() and child.read_text()):
            time.sleep(0.01)
        time.sleep(0.1)  # by now it is waited for
        signal.pthread_kill(waiting, signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run_command([str(program)], tmp_path, "working", 30)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert_ends(tmp_path)
