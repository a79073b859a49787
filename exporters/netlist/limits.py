"""How large a circuit may be that is built here: known before anything is built."""

from __future__ import annotations

import numpy as np

from exporters.netlist.stages import Stage, Stages
from runtime.errors import TooLargeError
from runtime.ops import Conv2d, Dense

STAGE_BITS = 1_000_000
"""Most bits that one position of a stage may add up: a minute and 1 GB."""

PROGRAM_BITS = 500_000
"""Most bits that one position of every stage may add up together."""

FLAT_BITS = 1_000_000
"""Most bits that all positions of all stages may add up, in one circuit."""


def summed_bits(stage: Stage) -> int:
    """Bits that one position of ``stage`` works on: nonzero weights times the bits of what they multiply,
    of an op without weights the bits it reads."""
    op, types = stage.local.op, stage.local.types
    if isinstance(op, Conv2d | Dense):
        return int(np.count_nonzero(op.weights.codes)) * types[0].bits
    return sum(type_.size * type_.bits for type_ in types)


def flat_bits(parts: Stages) -> int:
    """Bits that all positions of all stages add up."""
    return sum(summed_bits(stage) * stage.positions for stage in parts.circuits)


def check_stage(stage: Stage) -> None:
    """Raise TooLargeError where one position of ``stage`` is beyond the limit."""
    bits = summed_bits(stage)
    if bits > STAGE_BITS:
        raise TooLargeError(
            f"a circuit may add up at most {STAGE_BITS:,} bits, and one position of {stage.value!r} has "
            f"{bits:,}; `gatefold report` counts its gates without building them"
        )


def check_program(parts: Stages, limit: int | None = None) -> None:
    """Raise TooLargeError where the circuits of one position of every stage are beyond the limit."""
    bits = sum(map(summed_bits, parts.circuits))
    _check(parts, bits, PROGRAM_BITS if limit is None else limit, "one position of every op")


def check_flat(parts: Stages) -> None:
    """Raise TooLargeError where all positions in one circuit are beyond the limit."""
    _check(parts, flat_bits(parts), FLAT_BITS, "all positions of all ops")


def _check(parts: Stages, bits: int, limit: int, what: str) -> None:
    if bits > limit:
        raise TooLargeError(
            f"the circuits of a program may add up at most {limit:,} bits, and {what} of "
            f"{parts.program.name!r} have {bits:,}; choose one with part"
        )
