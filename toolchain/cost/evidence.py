"""What was run for a report beside its formulas: activity, verification, speed; and which file it is of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from toolchain.bench import Bench
from toolchain.compare import Comparison
from toolchain.cost.activity import Activity


@dataclass(frozen=True, slots=True)
class Origin:
    """A program's file: its path as it was given, its size, the SHA-256 of its content, and the version of
    Gatefold that reports on it."""

    path: str
    bytes: int
    sha256: str
    version: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Executors against the interpreter; ``source``: where the samples are from."""

    source: str
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """The ``verify`` report, and ``source``."""
        return {"source": self.source} | self.comparison.to_json()


@dataclass(frozen=True, slots=True)
class Evidence:
    """None where something was not asked for."""

    origin: Origin | None = None
    activity: Activity | None = None
    verification: Verification | None = None
    speed: Bench | None = None

    def to_json(self) -> dict[str, Any]:
        """By field, null where there is none."""
        return {
            "origin": self.origin and asdict(self.origin),
            "activity": self.activity and self.activity.to_json(),
            "verification": self.verification and self.verification.to_json(),
            "speed": self.speed and self.speed.to_json(),
        }


NOTHING_RUN = Evidence()
"""Of a report that is formulas alone."""
