"""Devices by kind, those that fit first: how much of each resource is used, and what would make it fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from toolchain.cost import Report
from toolchain.devices import DEVICES, Device, Verdict, number, size, square_mm
from toolchain.report.comparison import CostComparison
from toolchain.report.html.blocks import Block, Devices, Judged, Meter, Numbers, Prose
from toolchain.report.html.svg import percent
from toolchain.tables import Table

KINDS = {"mcu": "Microcontrollers", "fpga": "FPGAs", "asic": "ASICs"}

RESOURCES: tuple[tuple[str, str, Callable[[Device], float], Callable[[float], str]], ...] = (
    ("flash_used", "flash", lambda device: device.flash_bytes, size),
    ("ram_used", "RAM", lambda device: device.ram_bytes, size),
    ("ram_used", "block memory", lambda device: device.bram_bits // 8, size),
    ("lut_used", "LUTs", lambda device: device.lut, number),
    ("area_used", "area", lambda device: device.area_mm2, square_mm),
)
"""Attribute of a verdict, the resource in words, its limit, and how both are written."""


def device_blocks(report: Report) -> list[Block]:
    """A table per kind of device that was judged."""
    if not report.devices:
        return [Prose("No device was judged.")]
    kinds: dict[str, dict[str, Verdict]] = {}
    for name, verdict in report.devices.items():
        kinds.setdefault(DEVICES[name].kind, {})[name] = verdict
    order = [*KINDS, *(kind for kind in kinds if kind not in KINDS)]
    return [_devices(kind, kinds[kind]) for kind in order if kind in kinds]


def _devices(kind: str, verdicts: Mapping[str, Verdict]) -> Devices:
    """One kind; what the verdicts rest on stands in the title where it is the same for all."""
    sources = {verdict.source for verdict in verdicts.values()}
    common = sources.pop() if len(sources) == 1 else ""
    judged = [_judged(DEVICES[name], verdict, common) for name, verdict in verdicts.items()]
    named = {name for device in judged for name in device.meters}
    resources = [name for _, name, _, _ in RESOURCES if name in named]
    title = KINDS.get(kind, kind) + (f", {common}" if common else "")
    return Devices(f"devices-{kind}", title, resources, sorted(judged, key=_fullest))


def comparison_devices(comparison: CostComparison) -> list[Block]:
    """Which program fits which device: one row per device."""
    verdicts = {label: entry.report.devices for label, entry in comparison.entries.items()}
    names = list(next(iter(verdicts.values())))
    rows = [
        [
            name,
            KINDS[DEVICES[name].kind],
            *("fits" if found[name].fits else "no" for found in verdicts.values()),
        ]
        for name in names
    ]
    table = Table("Which program fits which device", ("device", "kind", *verdicts), rows)
    return [Numbers("verdicts", table)] if rows else []


def _fullest(device: Judged) -> tuple[bool, float]:
    """What fits first, and of each the least used."""
    return not device.fits, max((meter.share for meter in device.meters.values()), default=0.0)


def _judged(device: Device, verdict: Verdict, common: str) -> Judged:
    meters = {}
    for attribute, name, limit_of, text in RESOURCES:
        used, limit = getattr(verdict, attribute), limit_of(device)
        if used is not None and limit:
            words = f"{text(used)} of {text(limit)} ({percent(used / limit)})"
            meters[name] = Meter(words, used / limit)
    return Judged(device.name, verdict.fits, meters, _remarks(verdict, common))


def _remarks(verdict: Verdict, common: str) -> list[str]:
    """The verdict without what the meters and the title say."""
    words = re.sub(r"^(does not fit|fits): ", "", verdict.verdict)
    parts = re.sub(r" \([^()]+ of [^()]+\)(?=: )", "", words).split("; ")
    return [part for part in parts if part != common and not part.endswith(" %)")]
