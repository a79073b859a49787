"""Naive circuits of ops, for the tests of the closed formulas: every gate that they count, and no other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporters.netlist.plain import PlainNetlist
from exporters.netlist.rules import BUILDERS
from exporters.netlist.rules.linear import linear
from exporters.netlist.rules.words import Nets
from runtime.ops import Op, Threshold
from runtime.types import IntArray, TensorType


@dataclass(frozen=True, slots=True)
class Circuit:
    """A netlist with its operand and result nets, and what they mean."""

    net: PlainNetlist
    operands: tuple[Nets, ...]
    result: Nets
    type: TensorType

    def run(self, *arrays: IntArray) -> IntArray:
        """Results (batch, *shape) for operands of shape (batch, *shape)."""
        samples = len(arrays[0])
        lanes = {}
        for nets, array in zip(self.operands, arrays, strict=True):
            flat = array.reshape(samples, -1)
            for column, word in enumerate(nets.reshape(-1, nets.shape[-1])):
                for plane, net in enumerate(word):
                    lanes[int(net)] = np.packbits((flat[:, column] >> plane & 1).astype(np.uint8))
        values = self.net.evaluate(lanes, samples)
        words = self.result.reshape(-1, self.result.shape[-1])
        planes = np.array([[np.unpackbits(values[n], count=samples) for n in word] for word in words])
        weights = [1 << p for p in range(self.type.bits)]
        if self.type.interval.signed:
            weights[-1] = -weights[-1]
        total = sum(planes[:, p].astype(np.int64) * w for p, w in enumerate(weights))
        return total.T.reshape(samples, *self.type.shape)


def build(op: Op, *types: TensorType, threshold: Threshold | None = None) -> Circuit:
    """The parallel circuit of ``op`` on operands of ``types``, its Threshold folded in if one is given."""
    net = PlainNetlist()
    operands = tuple(
        np.array(net.inputs(t.size * t.bits), np.int64).reshape(*t.shape, t.bits) for t in types
    )
    result = op.infer(*types)
    if threshold is None:
        nets = BUILDERS[type(op)](net, op, list(operands), list(types), result)
    else:
        result = threshold.infer(result)
        nets = linear(net, op, operands[0], types[0], result, threshold)
    return Circuit(net, operands, nets, result)
