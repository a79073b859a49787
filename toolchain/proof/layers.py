"""The modules of layers: what they compute, compared with the circuits that they were written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.graph import BUILD, MUX, Netlist
from exporters.netlist.rules.words import Nets
from runtime.errors import FormatError
from runtime.types import TensorType
from toolchain.proof.cones import closed, combinations, evaluate, resolve
from toolchain.proof.hierarchy import (
    PIPELINE,
    Cell,
    Module,
    Ports,
    Signal,
    Walk,
    WiringError,
    joined,
    multiplexed,
)

ADDER = "gf_full_adder"
"""The one cell that stays a module: its gates would hide that two circuits have the same adders."""


def bit_order(type_: TensorType) -> Nets:
    """Which bit of a port of a module every bit of the value ``type_`` is: there channels are the last
    axis."""
    places = np.arange(type_.size * type_.bits)
    if len(type_.shape) < 2:
        return places
    return np.moveaxis(places.reshape(*type_.shape[1:], type_.shape[0], type_.bits), -2, 0).reshape(-1)


def module_circuit(module: Module, modules: Mapping[str, Module], circuit: Circuit) -> tuple[Circuit, int]:
    """What ``module`` computes, with the ports of ``circuit``, and how many registers are on every path.

    Raises WiringError where it is no pipeline, or has other ports.
    """
    net, ports = Netlist(), (*circuit.inputs, *circuit.outputs)
    check_ports(module, [port.name for port in circuit.inputs], ["out"], [p.type for p in ports])
    inputs = {port: signals(net.inputs(len(nets))) for port, nets in module.inputs.items()}
    found = Walk(net, module, modules, inputs, lambda cell, given: _adder(net, cell, given)).outputs()
    age = joined(found["out"], f"the output of module {module.name}")
    if age.resets:
        raise WiringError(f"module {module.name} has registers with a reset")
    known = inputs | found
    sides = (
        tuple(_port(port, [signal.literal for signal in known[port.name]]) for port in side)
        for side in (circuit.inputs, circuit.outputs)
    )
    return Circuit(circuit.name, net, *sides), age.clocks


def signals(literals: Sequence[int]) -> list[Signal]:
    """``literals`` behind no register."""
    return [Signal(literal) for literal in literals]


def _port(port: Port, literals: Sequence[int]) -> Port:
    nets = np.array(literals, np.int64)[bit_order(port.type)]
    return Port(port.name, port.type, nets.reshape(port.nets.shape))


def check_ports(
    module: Module, inputs: Sequence[str], outputs: Sequence[str], types: Sequence[TensorType]
) -> None:
    """Raise WiringError where a module has other ports, besides its controls, or of other widths."""
    found = {
        port: len(nets) for port, nets in (module.inputs | module.outputs).items() if port not in PIPELINE
    }
    widths = [type_.size * type_.bits for type_ in types]
    if list(found.items()) != list(zip([*inputs, *outputs], widths, strict=True)):
        raise WiringError(f"module {module.name} has other ports than it should have")


def _adder(net: Netlist, cell: Cell, given: Ports) -> Ports:
    if cell.kind != ADDER:
        raise FormatError(f"a layer has an instance of {cell.kind}")
    operands = [signal for port in ("a", "b", "ci") for signal in given[port]]
    literals = [signal.literal for signal in operands]
    age = joined(operands, "a full adder")
    return {
        "s": [age._replace(literal=net.sum3(*literals))],
        "c": [age._replace(literal=net.carry(*literals))],
    }


def check_adder(modules: Mapping[str, Module]) -> None:
    """Raise WiringError where the full adder that modules are made of is none."""
    if ADDER not in modules:
        return
    net = Netlist()
    inputs = net.inputs(3)
    ports = dict(zip(("a", "b", "ci"), (signals([literal]) for literal in inputs), strict=True))
    found = Walk(net, modules[ADDER], modules, ports).outputs()
    wanted = [net.sum3(*inputs), net.carry(*inputs)]
    literals = [found[port][0].literal for port in ("s", "c")]
    values = evaluate(net, combinations(literal >> 1 for literal in inputs), [*wanted, *literals])
    if any((ours != theirs).any() for ours, theirs in zip(values[:2], values[2:], strict=True)):
        raise WiringError(f"{ADDER} does not add")


def same_gates(circuit: Circuit, found: Circuit) -> bool:
    """Whether ``circuit``, built in the netlist of ``found`` on its inputs, gives the same literals.

    Then they are equal, since equal literals of a netlist are. If not they may still be.
    """
    net, values = found.net, {0: 0}
    for ours, theirs in zip(circuit.inputs, found.inputs, strict=True):
        nodes = [literal >> 1 for literal in ours.literals]
        values |= dict(zip(nodes, theirs.literals, strict=True))

    def gate(kind: int, operands: tuple[int, ...]) -> int:
        build = multiplexed if kind == MUX else BUILD[kind]
        return build(net, *(values[literal >> 1] ^ (literal & 1) for literal in operands))

    return all(
        resolve(circuit.net, ours >> 1, values, gate, closed) ^ (ours & 1) == theirs
        for ours, theirs in zip(circuit.results, found.results, strict=True)
    )
