"""Slow second opinions: circuits evaluated cell by cell, BLIF and AIGER read back."""

from __future__ import annotations

from itertools import product

import numpy as np

from exporters.netlist.cells import Cell
from exporters.netlist.circuit import Circuit
from exporters.netlist.simulate import Lanes, Simulator, from_lanes, to_lanes

FUNCTIONS = {
    "and": lambda a, b: (a & b,),
    "or": lambda a, b: (a | b,),
    "xor": lambda a, b: (a ^ b,),
    "not": lambda a: (~a,),
    "mux": lambda s, low, high: ((low & ~s) | (high & s),),
    "half_adder": lambda a, b: (a ^ b, a & b),
    "full_adder": lambda a, b, c: (a ^ b ^ c, (a & b) | (c & (a ^ b))),
    "register": lambda a: (a,),
}


def literals_in(circuit: Circuit) -> list[int]:
    return [literal for port in circuit.inputs for literal in port.literals]


def simulated(circuit: Circuit, lanes: Lanes) -> Lanes:
    return Simulator(circuit.net, literals_in(circuit), circuit.results).run(lanes)


def run_cells(circuit: Circuit, cells: tuple[Cell, ...], lanes: Lanes) -> Lanes:
    """Every cell in order; a wire that nothing drives yet is a KeyError."""
    zero = np.zeros(lanes.shape[1], np.uint64)
    values = {0: zero, 1: ~zero} | dict(zip(literals_in(circuit), lanes, strict=True))
    for cell in cells:
        found = FUNCTIONS[cell.kind](*(values[literal] for literal in cell.inputs))
        for literal, value in zip(cell.outputs, found, strict=True):
            assert literal not in values
            values[literal] = value
    return np.array([values[literal] for literal in circuit.results], np.uint64).reshape(-1, len(zero))


def run_arrays(circuit: Circuit, *arrays: np.ndarray) -> np.ndarray:
    """The only output for operands (samples, *shape)."""
    samples = len(arrays[0])
    flat = [a.reshape(samples, -1) for a in arrays]
    lanes = [to_lanes(a, port.type.bits) for a, port in zip(flat, circuit.inputs, strict=True)]
    (port,) = circuit.outputs
    found = from_lanes(
        simulated(circuit, np.concatenate(lanes)), port.type.bits, port.type.interval.signed, samples
    )
    return found.reshape(samples, *port.type.shape)


def read_blif(text: str) -> tuple[list[str], list[str], dict[str, tuple[list[str], list[str]]]]:
    """Inputs, outputs, and the cover of every net: its inputs and the rows that are 1. No latches."""
    inputs, outputs, covers, current = [], [], {}, ""
    for line in text.splitlines():
        words = line.split()
        if words[0] == ".inputs":
            inputs = words[1:]
        elif words[0] == ".outputs":
            outputs = words[1:]
        elif words[0] == ".names":
            current = words[-1]
            assert current not in covers
            covers[current] = (words[1:-1], [])
        elif not words[0].startswith("."):
            covers[current][1].append("" if len(words) == 1 else words[0])
    return inputs, outputs, covers


def run_blif(text: str, lanes: Lanes) -> Lanes:
    inputs, outputs, covers = read_blif(text)
    values = dict(zip(inputs, lanes, strict=True))
    zero = np.zeros(lanes.shape[1], np.uint64)
    for name, (sources, rows) in covers.items():
        total = zero
        for row in rows:
            term = ~zero
            for source, mark in zip(sources, row, strict=True):
                if mark != "-":
                    term = term & (values[source] if mark == "1" else ~values[source])
            total = total | term
        values[name] = total
    return np.array([values[name] for name in outputs])


def run_aiger(data: bytes, lanes: Lanes) -> Lanes:
    """The binary format, without latches."""
    head, rest = data.split(b"\n", 1)
    top, inputs, latches, outputs, ands = map(int, head.split()[1:])
    assert (latches, top) == (0, inputs + ands)
    lines = rest.split(b"\n", outputs)
    wanted, body = [int(line) for line in lines[:outputs]], lines[outputs]
    zero, place = np.zeros(lanes.shape[1], np.uint64), 0
    values = [zero, *lanes]

    def value(literal: int) -> Lanes:
        return ~values[literal >> 1] if literal & 1 else values[literal >> 1]

    def delta() -> int:
        nonlocal place
        found, shift = 0, 0
        while True:
            byte = body[place]
            place += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    for i in range(ands):
        left = 2 * (inputs + 1 + i)
        first = left - delta()
        second = first - delta()
        assert left > first >= second
        values.append(value(first) & value(second))
    return np.array([value(literal) for literal in wanted])


def every_input(bits: int) -> Lanes:
    """Lanes of all values of ``bits`` bits, repeated to at least one word."""
    rows = np.array(list(product((0, 1), repeat=bits)), np.int64)[:, ::-1]
    return to_lanes(np.resize(rows, (max(64, len(rows)), bits)), 1)
