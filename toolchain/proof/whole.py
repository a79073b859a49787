"""A whole program as circuits that call each other, and its top module compared with that.

A circuit that is proved by itself is here an unknown function: on equal bits it gives equal bits. Then
program and top module are equal where the bits of their outputs are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exporters.netlist.circuit import Circuit
from exporters.netlist.graph import INPUT, Netlist
from exporters.netlist.rules.words import Nets
from exporters.netlist.stages import Stages, Wires
from runtime.ir import Program
from toolchain.proof.cones import Bools, evaluate, evaluated
from toolchain.proof.exhaustive import random_values
from toolchain.proof.hierarchy import (
    CLOCK,
    ENABLE,
    IN_VALID,
    OUT_VALID,
    PIPELINE,
    Cell,
    Module,
    Ports,
    Signal,
    Walk,
    WiringError,
    joined,
)
from toolchain.proof.layers import bit_order, check_ports, signals

SAMPLES = 1024
"""Inputs tried where bits are not the same, in search of one that shows it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A module that is proved to be the circuit of the stage ``value`` behind ``latency`` registers."""

    value: str
    latency: int


class Calls:
    """Circuits as functions in one netlist: what they give are new inputs of it."""

    def __init__(self, circuits: Mapping[str, Circuit]) -> None:
        self.net = Netlist()
        self.circuits = circuits
        self._known: dict[tuple[str, tuple[int, ...]], list[int]] = {}

    def __call__(self, value: str, operands: tuple[int, ...]) -> list[int]:
        """The results of the circuit of ``value``, by the literals of all its inputs."""
        key = (value, operands)
        if key not in self._known:
            self._known[key] = self.net.inputs(len(self.circuits[value].results))
        return self._known[key]

    def run(self, given: Mapping[int, Bools], literals: Sequence[int]) -> list[Bools]:
        """Values of ``literals`` where the inputs of the program have those ``given``, by node,
        and all others are 0."""
        zeros = np.zeros_like(next(iter(given.values())))
        inputs = [node for node, kind in enumerate(self.net.kinds) if kind == INPUT]
        values = dict.fromkeys([0, *inputs], zeros) | dict(given)
        for (value, operands), results in self._known.items():  # in order: operands come first
            circuit = self.circuits[value]
            bits = evaluated(self.net, values, operands)
            ports = [literal >> 1 for port in circuit.inputs for literal in port.literals]
            found = evaluate(circuit.net, dict(zip(ports, bits, strict=True)), circuit.results)
            values |= {literal >> 1: bit for literal, bit in zip(results, found, strict=True)}
        return evaluated(self.net, values, literals)


def program_values(parts: Stages, calls: Calls) -> dict[str, Nets]:
    """Literals of the values of a program by name, ``(*shape, bits)``: every position of every step."""
    values = {}
    for spec in parts.program.inputs:
        literals = calls.net.inputs(spec.type.size * spec.type.bits)
        values[spec.name] = np.array(literals, np.int64).reshape(*spec.type.shape, spec.type.bits)
    for step in parts.steps:
        if isinstance(step, Wires):
            values[step.value] = step.move([values[name] for name in step.operands])
            continue
        gathered = [nets.reshape(step.positions, -1) for nets in step.gather(values)]
        rows = np.concatenate(gathered, axis=1).tolist()
        made = np.array([calls(step.value, tuple(row)) for row in rows], np.int64)
        values[step.value] = step.scatter(
            made.reshape(step.positions, *step.result.shape, step.result.bits)
        )
    return values


class Top:
    """The top module in the netlist of ``calls``. ``parts``: the modules that it has instances of, by
    name."""

    def __init__(self, modules: Mapping[str, Module], name: str, parts: Mapping[str, Part], calls: Calls):
        self._modules, self._module = modules, modules[name]
        self._parts, self._calls = parts, calls
        self._controls = {
            port: signals(calls.net.inputs(1)) for port in PIPELINE if port in self._module.inputs
        }

    def outputs(self, program: Program, values: Mapping[str, Nets], latency: int) -> dict[str, list[int]]:
        """Literals of the outputs of ``program`` by name, where its inputs have their ``values``.

        Raises WiringError where they are not behind ``latency`` registers, the valid bit is not, or there
        are other ports.
        """
        types, own = program.types, self._module
        names = [spec.name for spec in program.inputs], list(program.outputs)
        ports = [[port for port in side if port not in PIPELINE] for side in (own.inputs, own.outputs)]
        if [len(side) for side in names] != [len(side) for side in ports]:
            raise WiringError(f"module {own.name} has other ports than the program has values")
        check_ports(own, *ports, [types[name] for side in names for name in side])
        inputs = self._controls | {
            port: signals(values[name].reshape(-1).tolist())
            for port, name in zip(ports[0], names[0], strict=True)
        }
        found = Walk(self._calls.net, own, self._modules, inputs, self._call).outputs()
        if latency:
            self._check_valid(found[OUT_VALID], latency)
        for port in ports[1]:
            _check_age(found[port], Signal(0, latency), f"output {port}")
        return {
            name: [signal.literal for signal in found[port]]
            for port, name in zip(ports[1], names[1], strict=True)
        }

    def _check_valid(self, found: list[Signal], latency: int) -> None:
        (given,) = self._controls[IN_VALID]
        if found != [Signal(given.literal, latency, latency)]:
            raise WiringError(
                f"{OUT_VALID} is not {IN_VALID} behind {latency} registers that are all reset"
            )

    def _call(self, cell: Cell, operands: Ports) -> Ports:
        if cell.kind not in self._parts:
            raise WiringError(f"module {self._module.name} has an instance of {cell.kind}")
        part = self._parts[cell.kind]
        circuit = self._calls.circuits[part.value]
        for port in (CLOCK, ENABLE):
            if operands.get(port, self._controls.get(port)) != self._controls.get(port):
                raise WiringError(f"an instance of {cell.kind} takes another bit as {port}")
        bits = [operands[port.name][place] for port in circuit.inputs for place in bit_order(port.type)]
        age = joined(bits, f"an instance of {cell.kind}")
        results = self._calls(part.value, tuple(signal.literal for signal in bits))
        (out,) = circuit.outputs
        made = [Signal(0)] * len(results)
        for place, literal in zip(bit_order(out.type).tolist(), results, strict=True):
            made[place] = Signal(literal, age.clocks + part.latency, age.resets)
        return {out.name: made}


def _check_age(signals: Sequence[Signal], wanted: Signal, what: str) -> None:
    """Raise WiringError where a bit is not as old as ``wanted``, or a constant is not settled by then."""
    for signal in signals:
        old = signal.clocks <= wanted.clocks if signal.literal < 2 else signal[1:] == wanted[1:]
        if not old:
            raise WiringError(
                f"a bit of {what} is behind {signal.clocks} registers, not {wanted.clocks}"
                + (", and is reset" if signal.resets else "")
            )


def shown_difference(
    program: Program, values: Mapping[str, Nets], calls: Calls, pairs: Sequence[tuple[int, int]]
) -> dict[str, list[int]] | None:
    """A random input, its elements by name, for which a pair of literals differs; None: none was found."""
    rng, given, inputs = np.random.default_rng(0), dict[int, Bools](), {}
    for spec in program.inputs:
        type_, nets = spec.type, values[spec.name].reshape(-1, spec.type.bits)
        array = random_values(type_, SAMPLES, rng).reshape(SAMPLES, -1)
        inputs[spec.name] = array
        for element, row in enumerate(nets.tolist()):
            given |= {
                literal >> 1: (array[:, element] >> bit & 1).astype(bool) for bit, literal in enumerate(row)
            }
    flat = [literal for pair in pairs for literal in pair]
    found = np.array(calls.run(given, flat)).reshape(len(pairs), 2, SAMPLES)
    differing = np.flatnonzero((found[:, 0] != found[:, 1]).any(axis=0))
    if not len(differing):
        return None
    return {name: array[differing[0]].tolist() for name, array in inputs.items()}
