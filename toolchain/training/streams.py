"""What to watch in quotient streams: features that died, and features that explode.

A product never leaves 0: with a gate that can be 0, or is not bounded, such as a rectifier, training fails
(arXiv 2506.00992). The paper's gate avoids both, except for a stream that is pushed to its lower end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.layers import QuotientConnection

PROBED_IMAGES = 256
"""Images that the streams are looked at with, after every epoch."""

STUCK_SHARE = 0.5
"""More of a stream's features than this at its lower end: it carries little."""

LOWER_END = 1e-6
"""A real feature below this counts as 0; the paper's gates stay far above."""

HUGE = 1e4
"""A larger feature has exploded; ``alpha**(blocks + 1)`` of the paper's networks stays below 2,300."""


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """One quotient connection's result: ``stuck``, the share of features at the lower end; ``largest``.

    A stream of 1 is 1 in ``largest``; infinite or NaN where it overflowed.
    """

    stuck: float
    largest: float

    @property
    def dead(self) -> bool:
        """Whether most features carry nothing."""
        return self.stuck > STUCK_SHARE

    @property
    def exploded(self) -> bool:
        """Whether features are larger than any gate of the paper makes them."""
        return not self.largest < HUGE

    def to_json(self) -> dict[str, Any]:
        """The stream's entry in a line of ``metrics.jsonl``: null for what is not finite."""
        return {
            key: float(f"{value:.4g}") if math.isfinite(value) else None
            for key, value in asdict(self).items()
        }


FAILURES = {
    "dead": "more than half of its features are at 0 or the smallest code, where products stay; "
    "use the gate q, or a lower learning rate",
    "exploded": "features grow without bound, as products do; use the gate q, or a smaller alpha",
}
"""What is told of a stream, by the property of ``StreamHealth`` that says so."""


@torch.no_grad()
def stream_health(model: nn.Module, pixels: Tensor) -> dict[str, StreamHealth]:
    """The state of every quotient stream of ``model`` on ``pixels`` (N, C, H, W), by connection's path.

    ``model`` is evaluated at its precision and gets its former mode back.
    """
    connections = {path: m for path, m in model.named_modules() if isinstance(m, QuotientConnection)}
    if not connections:
        return {}
    found: dict[str, StreamHealth] = {}
    hooks = [
        module.register_forward_hook(partial(_look, found, path)) for path, module in connections.items()
    ]
    training = model.training
    try:
        model.eval()(pixels)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _look(
    found: dict[str, StreamHealth], path: str, module: QuotientConnection, _: object, stream: Tensor
) -> None:
    scale = module.scale
    if module.logarithmic:
        stuck, largest = stream <= module.limits()[0], 2.0 ** (float(stream.max()) / 2**scale.phi)
    else:
        end = 1 if module.quantized else LOWER_END * scale.unit
        stuck, largest = stream <= end, float(stream.max()) / scale.unit
    found[path] = StreamHealth(float(stuck.float().mean()), largest)


def stream_warnings(
    streams: Mapping[str, StreamHealth], phase_history: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is wrong with the streams now and was not yet reported in this phase, as ``find_warnings``.

    Of the streams with one failure only the first is named, as the others inherit it, and only once,
    whichever it is in later epochs.
    """
    reported = [message for line in phase_history for message in line["warnings"]]
    found = []
    for failure, message in FAILURES.items():
        paths = [path for path, stream in streams.items() if getattr(stream, failure)]
        if paths and not any(line.endswith(message) for line in reported):
            found.append(f"stream {paths[0]}: {message}")
    return found
