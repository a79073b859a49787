"""Random circuits and layers for tests."""

from __future__ import annotations

import numpy as np

from exporters.netlist.circuit import Circuit, Port, input_port
from exporters.netlist.graph import STYLES, Netlist
from exporters.netlist.rules.linear import linear
from runtime.ops import Dense, Threshold
from runtime.types import BIT, Interval, TensorType
from runtime.weights import Weights
from tests.programs import random_codes


def random_circuit(seed: int, inputs: int = 8, gates: int = 60) -> tuple[Circuit, list[str]]:
    """Gates on random literals, constants and equal operands included; and what was asked for."""
    rng = np.random.default_rng(seed)
    net = Netlist()
    port = input_port(net, "in0", TensorType((inputs,), BIT))
    literals = [0, 1, *port.literals]
    asked = []
    arity = {"and": 2, "or": 2, "xor": 2, "not": 1, "mux": 3, "half_adder": 2, "full_adder": 3}
    for _ in range(gates):
        cell = str(rng.choice(list(arity)))
        operands = [int(rng.choice(literals)) ^ int(rng.integers(2)) for _ in range(arity[cell])]
        asked.append(cell)
        literals += net.pair(cell, *operands) if "adder" in cell else [net.gate(cell, *operands)]
    outputs = [literal ^ int(rng.integers(2)) for literal in literals[-12:]]
    result = Port("out", TensorType((12,), BIT), np.array(outputs)[:, None])
    return Circuit("random", net, (port,), (result,)), asked


def random_layer(
    seed: int, inputs: int, outputs: int, levels: int = 3, interval: Interval = BIT
) -> tuple[Dense, Threshold, TensorType]:
    """A dense layer and thresholds within its reach."""
    rng = np.random.default_rng(seed)
    op = Dense(Weights(random_codes(rng, (outputs, inputs), levels), levels))
    x = TensorType((inputs,), interval)
    reach = op.infer(x).interval
    values = np.sort(rng.integers(reach.lo, reach.hi + 1, (outputs, 3)))
    return op, Threshold(values, np.ones(outputs, np.int64)), x


def layer_circuit(op: Dense, threshold: Threshold, x: TensorType, style: str = "gates") -> Circuit:
    net = Netlist(STYLES[style])
    port = input_port(net, "in0", x)
    result = threshold.infer(op.infer(x))
    nets = linear(net, op, port.nets, x, result, threshold)
    return Circuit("layer", net, (port,), (Port("out", result, nets),))
