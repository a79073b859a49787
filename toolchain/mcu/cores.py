"""Processor cores of microcontrollers: how they are emulated and what an instruction takes.

To add one, add a row to ``CORES`` under the name of its row in ``exporters.c99.targets.TARGETS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from exporters.c99.targets import TARGETS, Target
from runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Machine:
    """What unicorn emulates, by the names of its constants.

    ``arch``, ``modes``: ``UC_ARCH_...``, ``UC_MODE_...``. ``model``: ``UC_CPU_...``, "" for the default.
    ``stack``: name of the stack register's constant. ``thumb``: bit 0 of a code address is set.
    """

    arch: str
    modes: tuple[str, ...]
    model: str
    stack: str
    thumb: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Estimated cycles: of a plain instruction 1, and what others take more.

    ``load``, ``store``: more for each word loaded or stored. ``taken``: more for a branch that is taken.
    ``multiply``, ``divide``: more for one. ``factor``: on the sum, for cores that issue several
    instructions at once. ``source``: where the figures are from.
    """

    load: float
    store: float
    taken: float
    multiply: float
    divide: float
    source: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Core:
    """One core. ``machine``, ``timing``: None where something else than unicorn runs it, which knows its
    cycles. ``call_bytes``: what a call itself pushes on the stack. ``aligned``: whether an access must be
    aligned to its size. ``compiler``: a row of ``toolchain.mcu.toolsets.TOOLSETS``."""

    name: str
    machine: Machine | None
    timing: Timing | None
    decoder: str = ""
    call_bytes: int = 0
    aligned: bool = True
    flags: tuple[str, ...] = ()
    compiler: str = "zig"

    @property
    def target(self) -> Target:
        """The row of the exporter's table."""
        return TARGETS[self.name]


def _cortex(name: str, model: str, timing: Timing, aligned: bool = False) -> Core:
    machine = Machine(
        "UC_ARCH_ARM", ("UC_MODE_THUMB", "UC_MODE_MCLASS"), f"UC_CPU_ARM_{model}", "UC_ARM_REG_SP", True
    )
    return Core(name, machine, timing, "thumb", aligned=aligned)


_RISCV = Machine("UC_ARCH_RISCV", ("UC_MODE_RISCV32",), "UC_CPU_RISCV32_SIFIVE_E31", "UC_RISCV_REG_SP")

_M4_CYCLES = {"load": 0.5, "store": 0, "taken": 2, "multiply": 0, "divide": 6}

_ROWS = (
    _cortex(
        "cortex-m0plus",
        "CORTEX_M0",
        Timing(1, 1, 1, 0, 0, "Arm Cortex-M0+ TRM DDI0484, table 3-1, single-cycle multiplier"),
        aligned=True,
    ),
    _cortex(
        "cortex-m3",
        "CORTEX_M3",
        Timing(**_M4_CYCLES, source="Arm Cortex-M3 TRM DDI0337, table 3-1; half of the loads pipelined"),
    ),
    _cortex(
        "cortex-m4",
        "CORTEX_M4",
        Timing(**_M4_CYCLES, source="Arm Cortex-M4 TRM DDI0439, table 3-1; half of the loads pipelined"),
    ),
    _cortex(
        "cortex-m7",
        "CORTEX_M7",
        Timing(
            **_M4_CYCLES,
            source="as Cortex-M4, times 3.42 / 5.01: Arm's CoreMark/MHz of the Cortex-M4 and Cortex-M7",
            factor=3.42 / 5.01,
        ),
    ),
    Core(
        "rv32imc",
        _RISCV,
        Timing(1, 0, 2, 0, 16, "a four-stage in-order core: a load 2 cycles, a taken branch 3; a guess"),
        "riscv",
    ),
    Core(
        "rv32ec",
        _RISCV,
        Timing(1, 0, 2, 0, 0, "a two-stage in-order core: a load 2 cycles, a taken branch 3; a guess"),
        "riscv",
    ),
    Core(
        "avr",
        None,
        None,
        "avr",
        call_bytes=2,
        aligned=False,
        flags=("-mmcu=atmega328p",),
        compiler="avr-gcc",
    ),
)

CORES = MappingProxyType({row.name: row for row in _ROWS})
"""Every core by name."""


def find_core(name: str) -> Core:
    """The core of that name. Raises InputError listing the known ones."""
    if name not in CORES:
        raise InputError(f"a microcontroller's target must be one of {', '.join(CORES)}, not {name!r:.80}")
    return CORES[name]
