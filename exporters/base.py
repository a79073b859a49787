"""The table of exporters, and what every one of them shares: options, errors, atomic writing.

To add a back end: a package with a function ``render(program, **options)`` that returns the bytes of
each file by suffix, or by path within a folder, and a row in ``EXPORTERS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from exporters.c99.targets import DEFAULT as DEFAULT_TARGET
from exporters.c99.targets import TARGETS
from runtime.errors import InputError, MissingToolError
from runtime.files import atomic_write
from runtime.folders import atomic_folder
from runtime.ir import Program
from runtime.session import EXECUTORS, ExecutorRow, Session

Render = Callable[..., Mapping[str, bytes]]
"""``render(program, **options)``: the contents of the files to write, by suffix or path within a folder."""


MANIFEST = ".gatefold"
"""A file of every exported folder: the names of all its files."""

BUILT = (
    "*.o",
    "*.a",
    "*_selftest",
    "*.vvp",
    "obj",
    "sim.log",
    "*_ice40.json",
    "*_ecp5.json",
    "*_xilinx.edif",
)
"""What the Makefiles of exported folders make there."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an exporter, as data: a command line builds ``--name`` from it.

    No ``choices``: any text.
    """

    name: str
    choices: tuple[str, ...]
    default: str
    summary: str


@dataclass(frozen=True, slots=True)
class ExporterRow:
    """One exporter: where its ``render`` is, what it needs installed, and the executors it brings.

    ``suffix``: of the main file; further files are written beside it under their own suffixes. Without one
    the exporter writes a folder.
    """

    target: str
    summary: str
    suffix: str
    requires: tuple[str, ...] = ()
    extra: str = ""
    options: tuple[Option, ...] = ()
    executors: Mapping[str, ExecutorRow] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Why the exporter cannot run here and what to install, or None."""
        return ExecutorRow(self.target, self.summary, self.requires, self.extra).missing()

    def load(self) -> Render:
        """The exporter's function. Its packages must be there."""
        module, name = self.target.split(":")
        loaded: Render = getattr(importlib.import_module(module), name)
        return loaded


_ONNX_PACKAGES = ("onnx", "onnxruntime", "ml_dtypes")

EXPORTERS: dict[str, ExporterRow] = {
    "onnx": ExporterRow(
        target="exporters.onnx.build:render",
        summary="ONNX with standard operators and integer arithmetic",
        suffix=".onnx",
        requires=("onnx", "ml_dtypes"),
        extra="onnx",
        options=(
            Option(
                "profile",
                ("portable", "modern"),
                "portable",
                "portable: opset 21, weights as base-3/base-5 bytes; modern: opset 25, INT2/INT4 weights",
            ),
        ),
        executors={
            "onnx": ExecutorRow(
                "exporters.onnx.executor:OnnxExecutor",
                "the portable ONNX file in ONNX Runtime on CPU",
                _ONNX_PACKAGES,
                "onnx",
            ),
            "onnx-modern": ExecutorRow(
                "exporters.onnx.executor:OnnxModernExecutor",
                "the modern ONNX file in ONNX Runtime on CPU",
                _ONNX_PACKAGES,
                "onnx",
            ),
            "onnx-reference": ExecutorRow(
                "exporters.onnx.executor:OnnxReferenceExecutor",
                "the portable ONNX file in the reference evaluator of onnx: slow, a second opinion",
                ("onnx", "ml_dtypes"),
                "onnx",
            ),
        },
    ),
    "verilog": ExporterRow(
        target="exporters.verilog.build:render",
        summary="a folder of Verilog-2001 with testbench, synthesis scripts and constraints",
        suffix="",
        options=(
            Option(
                "pipeline",
                ("layers", "levels", "depth", "combinational"),
                "layers",
                "where registers are: behind every layer; where more than --levels gates would be in a "
                "row; where they leave the shortest paths within --depth clocks; nowhere",
            ),
            Option("levels", (), "", "most gates between registers, with --pipeline levels"),
            Option("depth", (), "", "most clocks from input to output, with --pipeline depth"),
            Option("part", (), "", "one position of one value or layer alone [default: the network]"),
            Option(
                "style",
                ("auto", "gates", "lut6"),
                "auto",
                "what is to be few: gates, or tables of 6 inputs; auto: the latter with tables 6",
            ),
            Option(
                "tables",
                ("none", "4", "6"),
                "none",
                "cover the logic with look-up tables of so many inputs, which synthesis keeps",
            ),
            Option("name", (), "", "the top module, made from the program's name if empty"),
        ),
        executors={
            "verilog": ExecutorRow(
                "exporters.verilog.executor:VerilogExecutor",
                "the exported pipeline in Verilator or Icarus Verilog, with bubbles; small networks",
                check="exporters.verilog.simulators:missing",
            ),
        },
    ),
    "c99": ExporterRow(
        target="exporters.c99.build:render",
        summary="a folder of freestanding C99 for processors and microcontrollers",
        suffix="",
        options=(
            Option(
                "target",
                tuple(TARGETS),
                DEFAULT_TARGET,
                "machine whose word sizes and costs choose kernels",
            ),
            Option("layout", ("plain", "arduino", "zephyr"), "plain", "how the files lie in the folder"),
            Option("name", (), "", "prefix of every symbol, made from the program's name if empty"),
            Option(
                "prefer",
                ("auto", "lanes", "columns", "nibbles", "words", "listed", "quads", "integers"),
                "auto",
                "kernel to take wherever it can compute a layer, in place of the cheapest",
            ),
        ),
        executors={
            "c99": ExecutorRow(
                "exporters.c99.executor:C99Executor",
                "the generated C, compiled for this machine",
                check="exporters.c99.compilers:missing",
            ),
        },
    ),
    "netlist": ExporterRow(
        target="exporters.netlist.folder:render",
        summary="a folder of circuits as BLIF and AIGER",
        suffix="",
        options=(
            Option("format", ("blif", "aiger", "both"), "both", "language of the circuits"),
            Option("part", (), "", "one value or layer alone [default: every one]"),
            Option("channel", (), "", "one output channel of the part alone"),
            Option("style", ("gates", "lut6"), "gates", "what is to be few: gates, or tables of 6 inputs"),
            Option("whole", ("no", "yes"), "no", "yes: all positions of all layers in one circuit"),
        ),
        executors={
            "netlist": ExecutorRow(
                "exporters.netlist.executor:NetlistExecutor",
                "the optimized gates, 64 samples a word",
            ),
        },
    ),
}


def executors() -> dict[str, ExecutorRow]:
    """Every executor by name: those of the runtime, then those the exporters bring."""
    table = dict(EXECUTORS)
    for row in EXPORTERS.values():
        table.update(row.executors)
    return table


def open_session(program: Program, executor: str = "packed") -> Session:
    """A session of ``program`` on any executor of ``executors()``. Raises as ``Session`` does."""
    return Session(program, executor, executors())


def checked_options(name: str, row: ExporterRow, given: Mapping[str, str]) -> dict[str, str]:
    """``given`` completed with defaults. Raises InputError for an unknown option or choice."""
    known = {option.name: option for option in row.options}
    for key, value in given.items():
        if key not in known:
            wanted = ", ".join(known) or "none"
            raise InputError(f"options of exporter {name} are: {wanted}; not {key!r}")
        if known[key].choices and value not in known[key].choices:
            raise InputError(f"{key} must be one of {', '.join(known[key].choices)}, not {value!r}")
    return {key: given.get(key, option.default) for key, option in known.items()}


def export(
    program: Program,
    to: str,
    path: str | Path,
    table: Mapping[str, ExporterRow] | None = None,
    force: bool = False,
    **options: str,
) -> Path:
    """Write ``program`` in the language ``to``; returns the path of the main file, or of the folder.

    Each file replaces its predecessor only when it is complete. A folder has to be new; with ``force`` one
    that holds nothing but an earlier export is replaced. Raises InputError for an unknown
    exporter, option or choice, or a place that cannot be written, and MissingToolError when a package
    is not installed.
    """
    rows = EXPORTERS if table is None else table
    if to not in rows:
        raise InputError(f"exporter must be one of {', '.join(rows)}, not {to!r}")
    row = rows[to]
    settled = checked_options(to, row, options)
    if why := row.missing():
        raise MissingToolError(f"exporter {to} {why}")
    main = Path(path)
    contents = row.load()(program, **settled)
    if not row.suffix:
        _write_folder(main, contents, force, f"an exported {to}")
        return main
    for suffix, content in contents.items():
        place = main if suffix == row.suffix else main.with_suffix(suffix)
        with atomic_write(place) as temporary:
            temporary.write_bytes(content)
    return main


def _write_folder(path: Path, contents: Mapping[str, bytes], force: bool, kind: str) -> None:
    """Write a folder and, so that another export can replace it, what it consists of."""
    files = dict(contents)
    files[MANIFEST] = "".join(f"{place}\n" for place in sorted(contents)).encode()
    known, built = {*map(Path, files)}, set[str]()
    if force and path.is_dir():
        known, built = known | _earlier(path), _built(path)
        _check_replaced(path, known, built, kind)
    names = {place.parts[0] for place in known} | built
    with atomic_folder(path, force, names, kind) as folder:
        for place, content in files.items():
            file = folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _earlier(path: Path) -> set[Path]:
    """Files of an earlier export to the folder ``path``."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return set()
    lines = manifest.read_text(encoding="utf-8", errors="replace").splitlines()
    return {Path(line) for line in lines if line} | {Path(MANIFEST)}


def _built(path: Path) -> set[str]:
    """What the Makefile of an exported folder has made there."""
    names = (entry.name for entry in path.iterdir())
    return {name for name in names if any(fnmatch(name, pattern) for pattern in BUILT)}


def _check_replaced(path: Path, known: Collection[Path], built: Collection[str], kind: str) -> None:
    """Raise InputError where ``path`` holds what no export wrote and no Makefile of one made."""
    for found in sorted(path.rglob("*")):
        place = found.relative_to(path)
        if place.parts[0] in built or place in known:
            continue
        if found.is_symlink() or not found.is_dir():
            raise InputError(
                f"--force replaces only {kind} folder, and {path} holds {str(place)!r:.80}; "
                "give another with -o"
            )
