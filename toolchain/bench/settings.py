"""What to measure, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.bench.contenders import FP32, INT8


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure, and how long. ``seconds``: for each batch size; with ``layers``, once more."""

    against: tuple[str, ...] = (FP32, INT8)
    batches: tuple[int, ...] = (1,)
    threads: int = 1
    kernel: str = "auto"
    repeats: int = 100
    seconds: float = 10.0
    layers: bool = False
    data: str | None = None
