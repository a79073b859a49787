"""Mapped netlists as Yosys writes them: what they consist of, and their longest path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from runtime.errors import FormatError

LUT, WIRE, CONSTANT = "LUT", "", "constant"


@dataclass(frozen=True, slots=True)
class MappedCell:
    """``kind``: of the library, ``LUT``, or ``WIRE`` for another name of a net. One output each."""

    kind: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Mapped:
    """The cells of one flat module, registers included."""

    cells: tuple[MappedCell, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many of each kind there are, wires and constants aside."""
        return Counter(cell.kind for cell in self.cells if cell.kind not in (WIRE, CONSTANT))

    @property
    def registers(self) -> int:
        """Flip-flops of any kind."""
        return sum(count for kind, count in self.counts.items() if is_register(kind))

    @property
    def memories(self) -> int:
        """Block memories of any kind."""
        return sum(count for kind, count in self.counts.items() if "RAM" in kind or kind.startswith("$mem"))

    @property
    def depth(self) -> int:
        """Cells on the longest path between inputs or registers and outputs or registers."""
        by_output = {cell.output: cell for cell in self.cells if not is_register(cell.kind)}
        graph = {name: [i for i in c.inputs if i in by_output] for name, c in by_output.items()}
        depth: dict[str, int] = {}
        try:
            for name in TopologicalSorter(graph).static_order():
                own = by_output[name].kind not in (WIRE, CONSTANT)
                depth[name] = own + max((depth[i] for i in graph[name]), default=0)
        except CycleError:
            raise FormatError("a mapped netlist must have no loop without a register") from None
        return max(depth.values(), default=0)


def is_register(kind: str) -> bool:
    """Whether cells of ``kind`` are flip-flops of Yosys's own kinds."""
    return kind.startswith(("$_DFF", "$_SDFF", "$_ALDFF", "$_DLATCH"))


def read_blif(text: str) -> Mapped:
    """Cells of a flat BLIF file. Raises FormatError for what Yosys does not write."""
    return Mapped(tuple(_cells(statements(text))))


def without_cells(text: str, covers: Mapping[str, tuple[str, ...]]) -> str:
    """A BLIF file with the function of every cell in its place."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in (".subckt", ".gate") and words[1] in covers:
            pins = dict(word.split("=", 1) for word in words[2:])
            output = pins.pop("Y")
            lines += [" ".join([".names", *(pins[pin] for pin in sorted(pins)), output]), *covers[words[1]]]
        else:
            lines.append(line)
    return "\n".join([*lines, ""])


def ports(text: str) -> tuple[list[str], list[str]]:
    """Names of the inputs and of the outputs of a BLIF file."""
    found = {words[0]: words[1:] for words, _ in statements(text) if words}
    return found.get(".inputs", []), found.get(".outputs", [])


def statements(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Words of every directive, and the rows below it."""
    words: list[str] = []
    rows: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("."):
            yield words, rows
            words, rows = line.split(), []
        elif line and not line.startswith("#"):
            rows.append(line)
    yield words, rows


def _cells(statements: Iterable[tuple[list[str], list[str]]]) -> Iterator[MappedCell]:
    for words, rows in statements:
        if not words or words[0] in (".model", ".inputs", ".outputs", ".end"):
            continue
        if words[0] == ".names":
            yield _names(words[1:], rows)
        elif words[0] == ".latch":
            yield MappedCell("$_DFF_", (words[1],), words[2])
        elif words[0] in (".subckt", ".gate"):
            yield _instance(words[1], dict(word.split("=", 1) for word in words[2:]))
        else:
            raise FormatError(f"a mapped netlist must be flat, without {words[0]!r:.40}")


def _names(nets: list[str], rows: list[str]) -> MappedCell:
    *inputs, output = nets
    if not inputs:
        return MappedCell(CONSTANT, (), output)
    kind = WIRE if len(inputs) == 1 and rows == ["1 1"] else LUT
    return MappedCell(kind, tuple(inputs), output)


def _instance(kind: str, pins: dict[str, str]) -> MappedCell:
    output = next((pin for pin in ("Y", "Q", "O") if pin in pins), "")
    return MappedCell(kind, tuple(net for pin, net in pins.items() if pin != output), pins.get(output, ""))
