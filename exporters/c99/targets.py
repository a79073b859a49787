"""What the generated C is made for: the sizes of its integers, and what each kernel costs there.

To add a target, add a row to ``TARGETS``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Costs:
    """Estimated time of the kernels' inner steps, in instructions of the target or what takes as long.

    ``row``: to add one row of one block of lanes to the counters. ``entry``: to make a list entry of
    one weight that is not 0, or of an active input; ``scan``: what any weight takes, ``active``: any
    input. ``word``: one xor, and, popcount and addition of a word. ``patch``: to bring one word to its
    window. ``level``: to compare a sum with one limit, or to begin it; ``block``: the same of counters
    of a block of lanes. ``mac``: one multiply-accumulate on integers. ``unpack``: one weight of packed
    digits. ``gather``: to bring one integer to its window. ``item``: one weight of a list on integers,
    ``sum``: to begin and end it. ``pace``: of an instruction of ``lanes.SCALAR``. ``look``: to look up
    one vector of bytes and add it, 0 where a shuffle cannot. ``quad``: one multiply-accumulate on bytes
    where one instruction adds four, else 0. ``add``: to add or skip one integer for one bit of a
    weight, where that is quicker than to multiply it, else 0.
    """

    row: float
    entry: float
    scan: float
    word: float
    mac: float
    look: float = 0
    quad: float = 0
    add: float = 0
    active: float = 0.5
    patch: float = 3
    level: float = 2
    block: float = 0
    unpack: float = 4
    gather: float = 0
    item: float = 8
    sum: float = 12
    pace: float = 1


_SHARED: dict[str, float] = {
    "active": 8,
    "patch": 15,
    "level": 19,
    "block": 130,
    "unpack": 15,
    "gather": 48,
    "item": 15,
    "sum": 110,
}
"""Costs without vectors that differ little from core to core: means of what was counted on four."""


_AVR_CYCLES = Costs(
    row=30,
    entry=5,
    scan=20,
    word=46,
    mac=61,
    active=100,
    patch=33,
    level=243,
    block=500,
    unpack=52,
    gather=322,
    item=55,
    sum=540,
    pace=4,
)
"""Cycles, fitted to what simavr counted of five kernels in 13 networks: integers of 16 and 32 bits take two
and four registers of 32, so that indices and addresses cost more than data."""


def _scalar(row: float, entry: float, scan: float, word: float, mac: float, **more: float) -> Costs:
    return Costs(row, entry, scan, word, mac, **(_SHARED | more))


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of machine.

    ``unit``, ``lane``, ``word``: bits of the integers of ``gatefold_kernels.h``. ``block``, ``positions``:
    outputs and positions whose popcounts are taken side by side. ``address``: bits of an address; the code
    of a program, its constants and its arena have to fit. ``harvard``: whether constants lie in an address
    space of their own. ``table_bytes``: largest table of moved rows that
    is worth its memory. ``index``: bits of an index that a shuffle takes, 4 or 6. ``gcc``: flags of GCC and
    Clang. ``zig``: triple and CPU for ``zig cc``. ``paired``: whether one instruction adds two products of
    16 bits. ``narrow``: bits of another ``lane``, and ``Costs.row`` with it, for programs whose maps leave
    wide vectors empty.
    """

    name: str
    summary: str
    unit: int
    lane: int
    word: int
    address: int
    table_bytes: int
    costs: Costs
    block: int = 1
    positions: int = 1
    index: int = 4
    gcc: tuple[str, ...] = ()
    zig: tuple[str, str] = ("", "")
    narrow: tuple[int, float] | None = None
    optimize: str = "-O3"
    embedded: bool = False
    paired: bool = False
    harvard: bool = False

    @property
    def lane_units(self) -> int:
        """Units of one lane block."""
        return self.lane // self.unit

    @property
    def object_bytes(self) -> int:
        """The largest array: a difference of two addresses within it has to be a ``ptrdiff_t``."""
        return (1 << (min(self.address, 48) - 1)) - 1

    @property
    def standard(self) -> str:
        """The C that a compiler has to be told: address spaces of their own are GNU's."""
        return "gnu99" if self.harvard else "c99"

    @property
    def vectors(self) -> bool:
        """Whether one operation treats more lanes than a unit has."""
        return self.lane > self.unit

    @property
    def widths(self) -> tuple[Target, ...]:
        """The target with each of its widths of a lane."""
        if self.narrow is None:
            return (self,)
        lane, row = self.narrow
        return self, replace(self, lane=lane, costs=replace(self.costs, row=row), narrow=None)

    @property
    def align(self) -> int:
        """Alignment of the arena and of everything in it, in bytes: values may be of 8 bytes, and C for a
        machine that does not mind where they lie may be run on one that does."""
        return 8


def _x86(level: str, lane: int, costs: Costs, *flags: str, **more: Any) -> Target:
    name = f"x86-64-{level}"
    return Target(
        name,
        f"x86-64 processors of level {level[1:]}: vectors of {lane} bits",
        unit=8,
        lane=lane,
        word=64,
        address=64,
        table_bytes=20 * 1024,
        costs=costs,
        gcc=(f"-march={name}", *flags),
        zig=("x86_64-linux-gnu", f"x86_64_{level}"),
        paired=True,
        **more,
    )


def _mcu(name: str, summary: str, cpu: tuple[str, str], costs: Costs, *gcc: str) -> Target:
    return Target(
        name,
        summary,
        unit=32,
        lane=32,
        word=32,
        address=32,
        table_bytes=2 * 1024,
        costs=costs,
        gcc=gcc,
        zig=cpu,
        optimize="-Os",
        embedded=True,
    )


_THUMB = "thumb-freestanding-eabi"

_ROWS = (
    _x86("v2", 128, Costs(row=8, entry=0.5, scan=1.5, word=5, mac=0.9, look=2.0)),
    _x86("v3", 256, Costs(row=8, entry=0.5, scan=1.5, word=5, mac=0.5, look=2.0)),
    _x86(
        "v4",
        512,
        Costs(row=7, entry=0.5, scan=1.5, word=0.35, mac=0.3, look=1.9, quad=0.03, level=0.25),
        "-mprefer-vector-width=512",
        "-mavx512vpopcntdq",
        "-mavx512vbmi",
        "-mavx512vnni",
        block=32,
        positions=4,
        index=6,
        narrow=(256, 5),
    ),
    Target(
        "arm64",
        "64-bit Arm processors with Neon",
        unit=8,
        lane=128,
        word=64,
        address=64,
        table_bytes=20 * 1024,
        costs=Costs(row=8, entry=0.5, scan=1.5, word=7, mac=0.6),
        gcc=("-march=armv8-a",),
        zig=("aarch64-linux-gnu", "generic"),
    ),
    _mcu(
        "cortex-m0plus",
        "Arm Cortex-M0+",
        (_THUMB, "cortex_m0plus"),
        _scalar(19, 4, 9, 32, 7),
        "-mcpu=cortex-m0plus",
        "-mthumb",
    ),
    _mcu(
        "cortex-m3",
        "Arm Cortex-M3",
        (_THUMB, "cortex_m3"),
        _scalar(12, 8, 1.5, 22, 2.5, active=6),
        "-mcpu=cortex-m3",
        "-mthumb",
    ),
    _mcu(
        "cortex-m4",
        "Arm Cortex-M4",
        (_THUMB, "cortex_m4"),
        _scalar(12, 8, 1.5, 22, 2.5, active=6),
        "-mcpu=cortex-m4",
        "-mthumb",
    ),
    _mcu(
        "cortex-m7",
        "Arm Cortex-M7",
        (_THUMB, "cortex_m7"),
        _scalar(12, 8, 1.5, 22, 2.5, active=6),
        "-mcpu=cortex-m7",
        "-mthumb",
    ),
    _mcu(
        "rv32imc",
        "32-bit RISC-V with multiplication and compressed instructions",
        ("riscv32-freestanding-none", "generic_rv32+m+c"),
        _scalar(13, 4, 9, 24, 4),
        "-march=rv32imc",
        "-mabi=ilp32",
    ),
    _mcu(
        "rv32ec",
        "32-bit RISC-V with 16 registers and no multiplication",
        ("riscv32-freestanding-none", "generic_rv32-i+e+c"),
        _scalar(20, 4, 9, 36, 23, add=6, gather=67),
        "-march=rv32ec",
        "-mabi=ilp32e",
    ),
    Target(
        "avr",
        "8-bit AVR, for avr-gcc",
        unit=8,
        lane=8,
        word=8,
        address=16,
        table_bytes=512,
        costs=_AVR_CYCLES,
        gcc=("-mmcu=atmega328p",),
        zig=("avr-freestanding-eabi", "atmega328p"),
        optimize="-Os",
        embedded=True,
        harvard=True,
    ),
)

TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}
"""Every target by name."""

DEFAULT = "x86-64-v3"


def find_target(name: str) -> Target:
    """The target of that name. Raises InputError listing the known ones."""
    if name not in TARGETS:
        raise InputError(f"target must be one of {', '.join(TARGETS)}, not {name!r:.80}")
    return TARGETS[name]
