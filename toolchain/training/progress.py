"""How a training run tells whoever started it where it is. The loop itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One step of progress.

    ``epoch`` of ``epochs`` counts over all phases, from 1; ``batch`` of ``batches`` is the number of
    batches done in it. At the end of an epoch ``metrics`` is its line of ``metrics.jsonl``; a warning
    comes as ``message``.
    """

    phase: str
    epoch: int
    epochs: int
    batch: int
    batches: int
    message: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """The default: no one is listening."""
