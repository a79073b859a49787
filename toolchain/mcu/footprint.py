"""What a program takes on a microcontroller before anything is compiled: its C and the estimate of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from exporters.c99.build import Source, generate
from runtime.errors import ProgramError
from runtime.ir import Program
from toolchain.mcu.estimate import Estimate, estimate
from toolchain.mcu.speed import Effort, effort

DEFAULT_TARGET = "cortex-m4"
"""The target whose C the totals of a report are of: a core of microcontrollers with room for a network."""


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """The C of a program for one target, and what it is expected to take.

    ``effort``: None on a core that is not run.
    """

    source: Source
    estimate: Estimate
    effort: Effort | None


Generator = Callable[[str], Generated]
"""The C of one program for a target by name. Raises ProgramError where the exporter makes none."""


def generator(program: Program) -> Generator:
    """Makes the C of ``program`` for each target when it is first asked for, and then keeps it."""

    @cache
    def made(target: str) -> Generated:
        source = generate(program, target, vectors=0)
        return Generated(source, estimate(source), effort(source))

    return made


@dataclass(frozen=True, slots=True)
class Footprint:
    """Flash and RAM of a program, estimated. ``target``: whose C they are of.

    ``refused``: why there is no C for that target, or "". ``bytes`` are then the weights as the file packs
    them, the planned arena, and a guess at the code.
    """

    target: str
    bytes: Estimate
    refused: str = ""

    @property
    def basis(self) -> str:
        """What the figures are of, for people."""
        if self.refused:
            return "weights and arena, and a guess at the code"
        return f"C for {self.target}"


def footprint(generated: Generator, guess: Estimate, target: str = DEFAULT_TARGET) -> Footprint:
    """The estimate of the C for ``target``; ``guess``, and why, where the exporter refuses the program."""
    try:
        return Footprint(target, generated(target).estimate)
    except ProgramError as error:
        return Footprint(target, guess, str(error))
