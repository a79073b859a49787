"""What the verbs share: options, plain-text tables, JSON output, progress."""

from __future__ import annotations

import json
import shlex
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from runtime.errors import InputError, MissingToolError
from runtime.files import atomic_write
from runtime.packed.executor import KERNELS
from toolchain.tables import Table, terminal_width, to_text

program_argument = click.argument("program", type=click.Path(path_type=Path), metavar="PROGRAM")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the data set's files are [default: $GATEFOLD_DATA, else the user cache].",
)
set_option = click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change any key of the recipe, as in train.",
)
PARALLEL = click.IntRange(1, 256)
"""Threads or processes at once; more than any machine has would take its memory instead."""

seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


def print_or_write(text: str, output: Path | None) -> None:
    """Print ``text``; with an ``output`` write it there instead, at once or not at all, and say so."""
    if output is None:
        click.echo(text.rstrip())
        return
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {output.stat().st_size:,} bytes")


def data_option(help_: str) -> Callable[[Any], Any]:
    """``--data NAME``."""
    return click.option("--data", metavar="NAME", help=help_)


def executor_option(default: str) -> Callable[[Any], Any]:
    """``--executor NAME``; see ``gatefold executors``."""
    return click.option(
        "--executor",
        metavar="NAME",
        default=default,
        show_default=True,
        help="Which executor runs it (`gatefold executors` lists them).",
    )


def tuning_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """``--kernel`` and ``--threads``, for executors that have such options; None where not given."""
    kernel = click.option(
        "--kernel",
        type=click.Choice(KERNELS),
        help="Which kernel `packed` prefers for layers with weights [default: auto].",
    )
    threads = click.option("--threads", type=PARALLEL, help="Threads of the executor [default: one].")
    return kernel(threads(verb))


PLACES = frozenset({"out", "resume", "data_dir", "as_json", "show", "workers", "storage"})
"""Options that say where and how something is made, not what."""


def command_line(**places: str) -> str:
    """The present command as it was typed, without ``PLACES``; ``places`` replace arguments by name."""
    context = click.get_current_context()
    words = ["gatefold", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is not ParameterSource.COMMANDLINE or name in PLACES:
            continue
        value = places.get(name, context.params[name])
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif getattr(parameter, "is_flag", False):
            words.append(parameter.opts[0])
        else:
            joined = value if parameter.multiple else [_joined(value)]
            words += [word for item in joined for word in (parameter.opts[0], str(item))]
    return shlex.join(words)


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def emit(value: Any, as_json: bool, text: str) -> None:
    """Print ``value`` as JSON, or ``text``."""
    click.echo(json.dumps(value, indent=2, allow_nan=False) if as_json else text)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns as wide as the terminal: text to the left, numbers to the right."""
    return to_text(Table.of(headers, rows), terminal_width())


def tell_download(file: str, done: int, total: int) -> None:
    """Follow a download on standard error: a line per file, redrawn as it grows on a terminal."""
    terminal = sys.stderr.isatty()
    if terminal or done >= total:
        line = f"{file}: {100 * done // total:3d} % of {total:,} bytes"
        click.echo(f"\r{line}" if terminal else line, nl=done >= total, err=True)


@contextmanager
def progress_bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, shown only on a terminal; yields the function that advances it."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar.update


PATIENCE_S = 2.0
"""Seconds after which a command that seemed short says what it is doing."""


@contextmanager
def late_status() -> Iterator[Callable[[str], None]]:
    """Yields the function that says what is being done, on standard error, once it has taken two seconds.

    A terminal gets one line that is redrawn; anything else a line for each new stage.
    """
    start, terminal, shown = time.monotonic(), sys.stderr.isatty(), ""

    def tell(text: str) -> None:
        nonlocal shown
        if time.monotonic() - start < PATIENCE_S:
            return
        stage = text if terminal else text.partition(": ")[0]
        if stage != shown:
            click.echo(f"\r\x1b[K{stage}" if terminal else stage, nl=not terminal, err=True)
            shown = stage

    try:
        yield tell
    finally:
        if terminal and shown:
            click.echo("\r\x1b[K", nl=False, err=True)


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Turn a missing optional package into one line that says what to install."""
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).split(".")[0]
        raise MissingToolError(f"{purpose} needs {package}: pip install 'gatefold[{name}]'") from error


def read_arrays(path: Path) -> NDArray[Any] | Mapping[str, NDArray[Any]]:
    """The array of a .npy file, or those of an .npz by name. Raises InputError."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path} is not an intact .npy or .npz file of plain numbers; write it with numpy.save"
        ) from None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the first array to a .npy, or all of them to an .npz, atomically. Raises InputError."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **dict(arrays))
        else:
            np.save(file, next(iter(arrays.values())))


def tell(line: str) -> None:
    """Say what is being done, on a terminal."""
    if sys.stderr.isatty():
        click.echo(line, err=True)
