"""What this machine is among the targets, and which of them it can run."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from exporters.c99.targets import TARGETS, Target
from runtime.errors import InputError

HOST = "host"
"""Name that stands for the best target this machine runs."""

LEVELS = {
    "x86-64-v2": "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "x86-64-v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
"""Levels of x86-64 in rising order: the flags in ``/proc/cpuinfo`` that each adds (psABI, 3.1.1)."""

POPCOUNTS, LOOK_UPS, QUADS = BEYOND = (
    ("avx512_vpopcntdq", "avx512vpopcntdq"),
    ("avx512vbmi", "avx512vbmi"),
    ("avx512_vnni", "avx512vnni"),
)
"""Popcounts of vectors, shuffles of their bytes and sums of four products, which the highest target takes
for granted and its level does not: the flag in ``/proc/cpuinfo``, and the compilers' name."""

UNKNOWN = "x86-64-v2"
"""Level of x86-64 where the system does not say: what NumPy's own builds and today's systems need."""

CPUINFO = Path("/proc/cpuinfo")

PORTABLE = replace(
    TARGETS["x86-64-v2"],
    name="portable",
    summary="any machine: C without flags for one",
    gcc=(),
    zig=("", "baseline"),
)
"""Target of machines that have no row: words of 64 bits in plain C."""


@cache
def host_targets() -> dict[str, Target]:
    """The targets this machine runs, by name, the best one last."""
    return runnable(platform.machine().lower(), _cpu_flags())


def find_host_target(name: str = HOST) -> Target:
    """The target of that name, ``host`` for the best. Raises InputError for one that cannot run here."""
    known = host_targets()
    if name == HOST:
        return list(known.values())[-1]
    if name not in known:
        names = ", ".join((HOST, *known))
        raise InputError(
            f"on this machine the target of executor c99 must be one of {names}, not {name!r:.80}"
        )
    return known[name]


def runnable(machine: str, flags: Iterable[str] | None) -> dict[str, Target]:
    """Targets that a processor runs, by name, the best one last.

    ``machine``: its architecture as ``platform.machine`` says, in lower case. ``flags``: of the processor,
    None where unknown. Beside the flags of its row a target is tuned for this very processor, and has no
    triple for ``zig cc``, which then compiles for the system it runs on.
    """
    names: list[str] = []
    if machine in ("aarch64", "arm64"):
        names = ["arm64"]
    elif machine in ("x86_64", "amd64"):
        names = list(LEVELS)[: 1 + list(LEVELS).index(UNKNOWN)] if flags is None else _levels(set(flags))
    rows = {name: _native(TARGETS[name]) for name in names}
    if "x86-64-v4" in rows:
        rows["x86-64-v4"] = _beyond_level(rows["x86-64-v4"], set(flags or ()))
    return {PORTABLE.name: PORTABLE, **rows}


def _native(target: Target) -> Target:
    tuned = ("-mtune=native",) if target.name in LEVELS else ()
    return replace(target, gcc=(*target.gcc, *tuned), zig=("", target.zig[1]))


def _levels(flags: set[str]) -> list[str]:
    found = []
    for name, wanted in LEVELS.items():
        if not flags.issuperset(wanted.split()):
            break
        found.append(name)
    return found


def _beyond_level(target: Target, flags: set[str]) -> Target:
    """The highest target with those of its instructions that ``flags`` name, planned without the others."""
    costs, block, positions = target.costs, target.block, target.positions
    if POPCOUNTS[0] not in flags:
        lower = TARGETS["x86-64-v3"]
        costs, block, positions = replace(costs, word=lower.costs.word), lower.block, lower.positions
    if LOOK_UPS[0] not in flags:
        costs = replace(costs, look=0)
    if QUADS[0] not in flags:
        costs = replace(costs, quad=0)
    there = [name for flag, name in BEYOND if flag in flags]
    missing = {f"-m{name}" for flag, name in BEYOND if flag not in flags}
    triple, cpu = target.zig
    return replace(
        target,
        costs=costs,
        block=block,
        positions=positions,
        gcc=tuple(flag for flag in target.gcc if flag not in missing),
        zig=(triple, "+".join((cpu, *there))),
    )


def _cpu_flags() -> list[str] | None:
    """Flags of the first processor as Linux lists them, or None."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.split() for key, _, value in lines if key.strip() == "flags"), None)
