"""What Yosys made of Verilog, module by module: gates in a netlist, registers as wires that are counted.

In a pipeline where every path to a bit has as many registers, that bit is at every clock what the wires
would give for the inputs so many clocks before. So registers can be taken for wires, once they have been
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporters.netlist.graph import XOR, Netlist
from runtime.errors import FormatError
from toolchain.synthesis.blif import statements

CLOCK, RESET, ENABLE = CONTROLS = "clk", "rst", "ce"
"""Ports that control registers, by the names that they have in every module."""

IN_VALID, OUT_VALID = "in_valid", "out_valid"
"""Ports of a pipeline that say when there is a sample, and its result."""

PIPELINE = (*CONTROLS, IN_VALID, OUT_VALID)
"""Ports that are no values."""

_REGISTERS = {"$_DFFE_PP_": 0, "$_SDFFE_PP0P_": 1}
"""Registers of Yosys's library and how many resets each counts for: with an enable; also with a synchronous
reset to 0 that needs no enable. All at the rising edge, all controls active when 1."""


def multiplexed(net: Netlist, select: int, low: int, high: int) -> int:
    """``high if select else low``; the carry of three bits where ``select`` says whether two of them
    differ: a carry without a sum is written so."""
    if net.kinds[select >> 1] == XOR:
        p, q, _ = net.operands[select >> 1]
        for differ, same, other in ((select, low, high), (select ^ 1, high, low)):
            for a, b in ((p, q), (q, p)):
                if a >> 1 == same >> 1:
                    return net.carry(same, b ^ ((a ^ same ^ differ) & 1), other)
    return net.mux(select, low, high)


_WIRE = ".names"

_GATES: dict[str, tuple[str, Callable[..., int]]] = {
    _WIRE: ("A", lambda net, a: a),
    "$_NOT_": ("A", lambda net, a: a ^ 1),
    "$_AND_": ("AB", Netlist.and_),
    "$_OR_": ("AB", Netlist.or_),
    "$_XOR_": ("AB", Netlist.xor),
    "$_MUX_": ("SAB", multiplexed),
}
"""Gates of Yosys's library: ports of operands, the output is ``Y``, and what builds them in a netlist."""


class WiringError(Exception):
    """A module that is no pipeline: paths with different numbers of registers, loops, another clock."""


class Signal(NamedTuple):
    """A bit: ``literal`` of a netlist, behind ``clocks`` registers, of which ``resets`` have a reset."""

    literal: int
    clocks: int = 0
    resets: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A gate, a register or an instance of the module ``kind``. ``nets`` by the names of the bits of its
    ports."""

    kind: str
    nets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Module:
    """``inputs`` and ``outputs``: names of the bits of every port, the lowest first, in the order of their
    declaration."""

    name: str
    inputs: Mapping[str, Sequence[str]]
    outputs: Mapping[str, Sequence[str]]
    cells: tuple[Cell, ...]


Ports = Mapping[str, Sequence[Signal]]
"""Signals of the bits of ports by name."""

Call = Callable[[Cell, Ports], Ports]
"""Outputs of an instance of another module for its inputs."""


def read_modules(text: str) -> dict[str, Module]:
    """The modules of what Yosys's ``write_blif -icells -gates`` wrote, by name. Raises FormatError."""
    found = {}
    for body in text.split(".model ")[1:]:
        rows = list(statements(f".model {body}"))
        inputs, outputs = (
            _ports(bit for words, _ in rows if words[:1] == [side] for bit in words[1:])
            for side in (".inputs", ".outputs")
        )
        name = body.split(maxsplit=1)[0]
        found[name] = Module(name, inputs, outputs, tuple(_cells(rows)))
    return found


def _ports(bits: Iterable[str]) -> dict[str, list[str]]:
    ports: dict[str, list[str]] = {}
    for bit in bits:
        ports.setdefault(bit.partition("[")[0], []).append(bit)
    return ports


def _cells(rows: Iterable[tuple[list[str], list[str]]]) -> Iterator[Cell]:
    """``.names`` are further names of a net, or say what constants are."""
    for words, cover in rows:
        if words[:1] in ([".gate"], [".subckt"]):
            yield Cell(words[1], dict(word.split("=", 1) for word in words[2:]))
        elif words[:1] == [".names"] and len(words) > 2:
            if cover != ["1 1"]:
                raise FormatError("Yosys wrote a function where another name of a net was expected")
            yield Cell(_WIRE, {"A": words[1], "Y": words[2]})


class Walk:
    """The bits of one module, found from what its inputs are. ``call``: needed where it has instances."""

    def __init__(
        self,
        net: Netlist,
        module: Module,
        modules: Mapping[str, Module],
        inputs: Ports,
        call: Call | None = None,
    ) -> None:
        self._net, self._module, self._modules, self._call = net, module, modules, call
        self._controls = {port: signals[0] for port, signals in inputs.items() if port in CONTROLS}
        self._signals = {"$false": Signal(0), "$true": Signal(1)}
        for port, signals in inputs.items():
            self._signals |= dict(zip(module.inputs[port], signals, strict=True))
        self._drivers = {
            cell.nets[bit]: cell for cell in module.cells for bit in self._made(cell) if bit in cell.nets
        }

    def outputs(self) -> dict[str, list[Signal]]:
        """The outputs by port. Raises WiringError, and FormatError for cells that are not known."""
        for bits in self._module.outputs.values():
            self._find(bits)
        return {port: [self._signals[bit] for bit in bits] for port, bits in self._module.outputs.items()}

    def _made(self, cell: Cell) -> Iterable[str]:
        """Names of the bits that a cell gives."""
        if known := self._modules.get(cell.kind):
            return (bit for bits in known.outputs.values() for bit in bits)
        return ("Q",) if "Q" in cell.nets else ("Y",)

    def _find(self, nets: Sequence[str]) -> None:
        """Place all cells that ``nets`` depend on, what they read first."""
        stack, opened = self._missing(nets), set[int]()
        while stack:
            cell = stack[-1]
            made = set(self._made(cell))
            missing = self._missing([net for bit, net in cell.nets.items() if bit not in made])
            if not missing:
                self._place(stack.pop())
            elif id(cell) in opened:
                raise WiringError(f"module {self._module.name} has a loop of gates or registers")
            else:
                opened.add(id(cell))
                stack += missing

    def _missing(self, nets: Iterable[str]) -> list[Cell]:
        missing = {}
        for net in nets:
            if net not in self._signals:
                if net not in self._drivers:
                    raise WiringError(f"module {self._module.name} reads {net}, which nothing drives")
                missing[id(self._drivers[net])] = self._drivers[net]
        return list(missing.values())

    def _place(self, cell: Cell) -> None:
        if known := self._modules.get(cell.kind):
            assert self._call is not None, "a circuit has no instances"
            if any(bit not in cell.nets for bits in known.inputs.values() for bit in bits):
                raise WiringError(f"an instance of {cell.kind} has an open input")
            given = {
                port: [self._signals[cell.nets[bit]] for bit in bits] for port, bits in known.inputs.items()
            }
            for port, signals in self._call(cell, given).items():
                for bit, signal in zip(known.outputs[port], signals, strict=True):
                    if bit in cell.nets:
                        self._signals[cell.nets[bit]] = signal
        elif cell.kind in _REGISTERS:
            self._signals[cell.nets["Q"]] = self._register(cell)
        else:
            self._signals[cell.nets["Y"]] = self._gate(cell)

    def _gate(self, cell: Cell) -> Signal:
        if cell.kind not in _GATES:
            raise FormatError(f"Yosys made a cell {cell.kind} that is not known here")
        ports, function = _GATES[cell.kind]
        operands = [self._signals[cell.nets[port]] for port in ports]
        literal = function(self._net, *(signal.literal for signal in operands))
        age = joined(operands, f"a gate of module {self._module.name}")
        return Signal(literal, age.clocks, age.resets)

    def _register(self, cell: Cell) -> Signal:
        resets = _REGISTERS[cell.kind]
        for control, port in ((CLOCK, "C"), (ENABLE, "E"), *[(RESET, "R")] * resets):
            if self._signals[cell.nets[port]] != self._controls.get(control):
                raise WiringError(
                    f"a register of module {self._module.name} takes another bit as {control}"
                )
        data = self._signals[cell.nets["D"]]
        return Signal(data.literal, data.clocks + 1, data.resets + resets)


def joined(signals: Iterable[Signal], where: str) -> Signal:
    """How old what depends on ``signals`` is; its literal means nothing.

    A constant behind registers is one as soon as these have taken it, so it must not have more of them than
    what it meets. Raises WiringError where ages differ.
    """
    found = list(signals)
    ages = {signal[1:] for signal in found if signal.literal > 1}
    if len(ages) > 1:
        clocks = " and ".join(str(age[0]) for age in sorted(ages))
        raise WiringError(f"{where} reads bits behind {clocks} registers at once")
    settled = max((signal.clocks for signal in found if signal.literal < 2), default=0)
    age = Signal(0, *ages.pop()) if ages else Signal(0, settled)
    if settled > age.clocks:
        raise WiringError(
            f"{where} reads a constant behind {settled} registers, and bits behind {age.clocks}"
        )
    return age
