"""What to watch in histogram-equalized training: where the codes are, and where the step goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from toolchain.layers import quantized_layers

FULL_BIN_SHARE = 0.5
"""More of a layer's codes than this in one bin: the histogram is no longer equalized."""

FULL_BINARY_SHARE = 0.75
"""The same for two levels, where one bin always has half of the codes, and they are those of one sign."""

SWINGS = 4
SWING_SHARE = 0.05
"""A step oscillates when its last ``SWINGS`` changes alternate in sign, each above this share of it."""


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """One quantized layer after an epoch: its step, and how many weights have each code, lowest first.

    Pruned weights do not count. With a step for each component of quaternions, ``step`` is their mean.
    ``equalized``: whether the histogram is meant to be flat.
    """

    step: float
    histogram: tuple[int, ...]
    equalized: bool = True

    @property
    def fullest(self) -> float:
        """Share of the codes in the fullest bin; ``1 / levels`` is perfectly equalized."""
        return max(self.histogram) / sum(self.histogram)

    @property
    def imbalance(self) -> str | None:
        """What to tell of a histogram that is far from equalized; None of a good one."""
        if not self.equalized:
            return None
        if len(self.histogram) == 2:
            unbalanced = (
                "more than three quarters of the codes have one sign; step.zero_median=true balances them"
            )
            return unbalanced if self.fullest > FULL_BINARY_SHARE else None
        full = "more than half of the codes are in one bin; its step is off"
        return full if self.fullest > FULL_BIN_SHARE else None

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in a line of ``metrics.jsonl``."""
        return {"step": self.step, "histogram": list(self.histogram), "fullest": round(self.fullest, 4)}


def layer_health(model: nn.Module) -> dict[str, LayerHealth]:
    """The state of every quantized layer of ``model``, by its path."""
    return {
        path: LayerHealth(
            float(layer.step.mean()), tuple(int(n) for n in layer.histogram()), layer.density is None
        )
        for path, layer in quantized_layers(model).items()
    }


def oscillates(steps: Sequence[float]) -> bool:
    """Whether the last changes of a step alternate in sign and are all large."""
    recent = list(steps)[-(SWINGS + 1) :]
    changes = [after - before for before, after in pairwise(recent)]
    return (
        len(changes) == SWINGS
        and all(a * b < 0 for a, b in pairwise(changes))
        and all(abs(change) > SWING_SHARE * abs(recent[-1]) for change in changes)
    )


def find_warnings(
    layers: Mapping[str, LayerHealth], phase_history: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is wrong with the layers now and was not yet reported in this phase.

    ``phase_history``: the metrics lines of the phase's earlier epochs, oldest first.
    """
    reported = {message for line in phase_history for message in line["warnings"]}
    found = []
    for path, layer in layers.items():
        steps = [line["layers"][path]["step"] for line in phase_history] + [layer.step]
        if layer.imbalance:
            found.append(f"layer {path}: {layer.imbalance}")
        if oscillates(steps):
            found.append(
                f"layer {path}: the step oscillates; update it less often or lower the learning rate"
            )
    return [message for message in found if message not in reported]
