"""Threshold, alone; ``exporters.onnx.fused`` joins it with the convolution it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from exporters.onnx.graph import BOOL, Form, Graph
from runtime.ir import Node
from runtime.ops import Op, Threshold
from runtime.types import IntArray, Interval


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A Threshold as ascending steps: ``#{k : x >= steps[c, k]}``, subtracted from K where ``falling``.

    ``steps``: (channels, K) int64, within ``[lo, hi + 1]`` of the operand, which changes no count.
    ``falling``: (channels,) bool.
    """

    steps: IntArray
    falling: NDArray[np.bool_]

    @staticmethod
    def of(op: Threshold, operand: Interval) -> Steps:
        """``x <= t`` is ``not (x >= t + 1)``, so a falling row is turned round."""
        falling = op.direction < 0
        rising = np.where(falling[:, None], op.thresholds[:, ::-1] + 1, op.thresholds)
        return Steps(np.clip(rising, operand.lo, operand.hi + 1), falling)

    @property
    def count(self) -> int:
        """K, the number of steps of a channel."""
        return int(self.steps.shape[1])


def threshold(graph: Graph, node: Node) -> tuple[str, Form]:
    """One comparison a step, in a carrier that also holds the step past the operand's end."""
    (x,) = node.operands
    interval = graph.types[x].interval
    steps = Steps.of(cast(Threshold, node.op), interval)
    form = graph.arithmetic(interval, Interval.of([int(steps.steps.min()), int(steps.steps.max())]))
    return count_reached(graph, graph.read(x, form), form, steps, len(node.type.shape))


def count_reached(graph: Graph, tensor: str, form: Form, steps: Steps, rank: int) -> tuple[str, Form]:
    """How many steps ``tensor`` has reached: BOOL for one step, else the sum of the comparisons."""
    flips = None
    if steps.falling.any():
        flips = graph.per_channel(steps.falling, BOOL, rank, "falling")
    total, result = "", graph.arithmetic(Interval(0, steps.count))
    for k in range(steps.count):
        level = graph.per_channel(steps.steps[:, k], form, rank, f"step{k + 1}")
        reached = graph.emit("GreaterOrEqual", tensor, level)
        if flips:
            reached = graph.emit("Xor", reached, flips)
        if steps.count == 1:
            return reached, BOOL
        one = graph.cast(reached, result.dtype)
        total = graph.emit("Add", total, one) if total else one
    return total, result


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {Threshold: threshold}
