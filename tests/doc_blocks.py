"""The code blocks of the documentation, and what runs them.

Every block of a page runs in order in a folder of its own, which has this repository's folders as links.
A comment right above a block says where that is not so:

``<!-- not run: why -->``         the command lines are only checked against the commands they name
``<!-- run with: VERB --OPTION VALUE; ... -->``   what a test adds to a command, so that it takes seconds
``<!-- given: NAME = PATH, ... -->``   files of this repository that the block takes for granted
``<!-- numbers vary: why -->``    the output is compared without its numbers
``<!-- output varies: why -->``   the output is not compared
``<!-- own process: why -->``     Python that changes tables: the page runs once more, elsewhere
``<!-- file: PATH -->``           Python that is a module there, and not run
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from tests.compilers import ZIG
from toolchain.cli import main
from toolchain.cli.main import cli
from toolchain.config import parse_recipe
from toolchain.explore.space import parse_axes

ROOT = Path(__file__).parents[1]

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

DIRECTIVES = (
    *("not run", "run with", "given"),
    *("numbers vary", "output varies"),
    *("own process", "file"),
)

FENCE = re.compile(
    r"^(?P<comments>(?:<!--[^\n]*-->\n)*)```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"<!-- ([a-z ]+): (.*) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the page, the line of its first text, and what the comments above it say."""

    page: Path
    line: int
    language: str
    text: str
    directives: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(slots=True)
class Place:
    """Where the blocks of one page run: the folder, what Python ran and has, and outputs found wrong."""

    folder: Path
    ran: list[str] = field(default_factory=list)
    elsewhere: bool = False
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "documentation"})
    changed: dict[str, str] = field(default_factory=dict)


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page. A comment that is no directive is an error."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        comments = found["comments"].splitlines()
        matches = [COMMENT.fullmatch(comment) for comment in comments]
        line = text.count("\n", 0, found.start("text")) + 1
        assert all(matches), f"{page.name}:{line}: a comment that is no directive"
        directives = {match[1]: match[2] for match in matches if match}
        assert set(directives) <= set(DIRECTIVES), f"{page.name}:{line}: {directives}"
        yield Block(page, line, found["language"], found["text"], directives)


def make_place(folder: Path) -> Place:
    """A folder in which the folders of this repository are links."""
    for name in ("sample_models", "docs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    return Place(folder)


def run_block(block: Block, place: Place) -> None:
    """Run a block, or check it where it is not to be run. AssertionError says what is wrong."""
    for given in filter(None, block.directives.get("given", "").split(", ")):
        name, source = given.split(" = ")
        assert (ROOT / source).exists(), f"{block}: {source} is not there"
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).symlink_to(ROOT / source)
    assert block.language in RUNNERS, f"{block}: a block of {block.language or 'no language'}"
    RUNNERS[block.language](block, place)


# --- command lines -----------------------------------------------------------------------------------


def command_lines(text: str) -> list[str]:
    """Lines, of which those that end in a backslash go on; comments left out."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for line in joined if shlex.split(line, comments=True)]


def run_shell(block: Block, place: Place) -> None:
    """Run every line; or check them."""
    for line in command_lines(block.text):
        if "not run" in block.directives:
            check_line(block, line, place)
        else:
            run_line(block, line, place)


def run_line(block: Block, line: str, place: Place) -> str:
    """What a command prints on standard output."""
    words = shlex.split(line, comments=True)
    if words[0] == "gatefold":
        return run_gatefold(block, [*expanded(line, place)[1:], *added_to(words[1], block)], place)
    if words[0] not in ("make", "ls"):
        assert words[0] == "pip", f"{block}: {words[0]} is not run, which a comment must say"
        check_line(block, line, place)
        return ""
    words += added_to(words[0], block)
    done = subprocess.run(words, cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}: {line}\n{done.stdout}{done.stderr}"
    return done.stdout


def expanded(line: str, place: Place) -> list[str]:
    """The words of a line as a shell makes them, braces and patterns included."""
    assert not re.search(r"[;|&<>`$]", line.partition(" #")[0]), f"{line}: more than one command"
    command = ["bash", "-c", f"printf '%s\\0' {line}"]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def added_to(verb: str, block: Block) -> list[str]:
    """What the test adds to a command."""
    parts = (shlex.split(part) for part in block.directives.get("run with", "").split(";"))
    return [word for part in parts if part and part[0] == verb for word in part[1:]]


def run_gatefold(block: Block, arguments: list[str], place: Place) -> str:
    """Standard output of the command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(place.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    assert not code, f"{block}: gatefold {shlex.join(arguments)}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue()


def check_line(block: Block, line: str, place: Place) -> None:
    """Check each command of a line that is not run."""
    for part in re.split(r" && ", line):
        words = shlex.split(part, comments=True)
        program = Path(words[0]).name
        assert program in CHECKS, f"{block}: nothing checks {program}"
        CHECKS[program](words[1:], place)


def check_click(group: click.Group) -> Callable[[list[str], Place], None]:
    """Checks options and arguments of a verb against its click command, without running it."""

    def check(words: list[str], place: Place) -> None:
        context = click.Context(group)
        name, verb, rest = group.resolve_command(context, list(words))
        assert verb
        verb.make_context(name, rest, parent=context)

    return check


def check_pip(words: list[str], place: Place) -> None:
    """The extras it names are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in re.findall(r"(?:gatefold|\.)\[([\w,]+)\]", " ".join(words)):
        assert set(name.split(",")) <= set(extras), name


def check_python(words: list[str], place: Place) -> None:
    """The module or script is there, and somewhere in it every option."""
    if words[0] == "-m":
        spec = find_spec(words[1])
        assert spec, words[1]
        assert spec.origin
        source = Path(spec.origin)
    else:
        source = ROOT / words[0]
    files = source.parent.glob("*.py") if source.name == "__init__.py" else [source]
    text = "".join(file.read_text() for file in files)
    for option in (word.partition("=")[0] for word in words[1:] if word.startswith("--")):
        assert option in text or option[2:].replace("-", "_") in text, f"{source.name} has no {option}"


def check_make(words: list[str], place: Place) -> None:
    """The target exists: what would be done can be said."""
    subprocess.run(["make", "-n", *words], cwd=place.folder, capture_output=True, check=True)


def check_torchrun(words: list[str], place: Place) -> None:
    """What it starts is a command line."""
    CHECKS["gatefold"](words[words.index("gatefold") + 1 :], place)


def check_mkdocs(words: list[str], place: Place) -> None:
    """Against its own command line."""
    from mkdocs.__main__ import cli as mkdocs

    check_click(mkdocs)(words, place)


CHECKS: dict[str, Callable[[list[str], Place], None]] = {
    "gatefold": check_click(cli),
    "make": check_make,
    "mkdocs": check_mkdocs,
    "pip": check_pip,
    "pytest": lambda words, place: None,
    "python": check_python,
    "python3": check_python,
    "torchrun": check_torchrun,
}
"""What checks a command that is not run."""


# --- consoles ----------------------------------------------------------------------------------------


def run_console(block: Block, place: Place) -> None:
    """Run what stands behind each ``$`` and compare the output below it."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert parts[0] == "", f"{block}: a console begins with `$ `"
    found = []
    for part in parts[1:]:
        line, _, expected = part.partition("\n")
        if "not run" in block.directives:
            check_line(block, line, place)
            continue
        out = run_line(block, line, place)
        found.append(f"$ {line}\n{out}")
        if "output varies" not in block.directives and not agrees(expected, out, block):
            place.changed[block.text] = "".join(found)
    if block.text in place.changed:
        place.changed[block.text] = "".join(found)


def agrees(expected: str, found: str, block: Block) -> bool:
    """Whether an output is the one that is shown, in which a line of three dots stands for any lines."""
    shape = without_numbers if "numbers vary" in block.directives else str
    pieces = (re.escape(shape(piece)) for piece in expected.split("...\n"))
    return re.fullmatch("(?:.*\n)*".join(pieces), shape(found)) is not None


def without_numbers(text: str) -> str:
    """``text`` with numbers, and the room they take in tables, all alike."""
    return re.sub(r"[ -]*-[ -]*| {2,}", " ", re.sub(r"\d[\d,.]*", "0", text))


# --- other languages ---------------------------------------------------------------------------------


def run_python(block: Block, place: Place) -> None:
    """Run Python after what stood before it on the page; of what is not run, the imports."""
    if "not run" in block.directives:
        imports = [
            node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        exec(compile(ast.Module(imports, []), str(block), "exec"), {})
    elif "file" in block.directives:
        file = place.folder / block.directives["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
    elif "own process" in block.directives:
        place.ran.append(block.text)
        place.elsewhere = True
    else:
        place.ran.append(block.text)
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        with contextlib.chdir(place.folder), contextlib.redirect_stdout(io.StringIO()):
            exec(code, place.names)


def run_elsewhere(place: Place) -> None:
    """Where a block asks for it, all Python of the page in a process that finds modules in the folder."""
    if not place.elsewhere:
        return
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(place.ran)],
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run_toml(block: Block, place: Place) -> None:
    """A recipe is one that can be trained, a space one that can be explored; other TOML is TOML."""
    table = tomllib.loads(block.text)
    if "model" in table:
        parse_recipe(table, str(block))
    elif "options" in table:
        parse_axes(table, str(block))


def run_c(block: Block, place: Place) -> None:
    """Compile C without a warning."""
    source = place.folder / "block.c"
    source.write_text("#include <stddef.h>\n#include <stdint.h>\n" + block.text)
    command = [*ZIG, "-std=c99", "-Wall", "-Wextra", "-Werror", "-I.", "-c", source, "-o", os.devnull]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}\n{done.stderr}"


RUNNERS: dict[str, Callable[[Block, Place], None]] = {
    "sh": run_shell,
    "console": run_console,
    "python": run_python,
    "toml": run_toml,
    "c": run_c,
    "text": lambda block, place: None,
}
"""What runs a block of each language; ``text`` is a formula or a figure."""
