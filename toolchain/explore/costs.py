"""What a program costs in the circuit that it is judged by, and whether that is within the limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runtime.ir import Program
from toolchain.cost import Report, report
from toolchain.cost.cells import Cells
from toolchain.cost.model import logic_of
from toolchain.devices import Device, Needs, Verdict, find, judge

PARALLEL = "parallel"

Measure = Callable[[Report, Cells, bool], int]


def _clocks(found: Report, _cells: Cells, parallel: bool) -> int:
    """One position at a time, each layer of weights takes as many clocks as it has positions."""
    if parallel:
        return 1
    return sum(math.prod(layer.type.shape[1:]) for layer in found.layers if layer.macs)


MEASURES: dict[str, Measure] = {
    "gates": lambda _found, cells, _parallel: math.ceil(cells.ge),
    "lut4": lambda _found, cells, _parallel: cells.lut4,
    "lut6": lambda _found, cells, _parallel: cells.lut6,
    "registers": lambda _found, cells, _parallel: cells["register"],
    "clocks": _clocks,
    "flash": lambda found, _cells, _parallel: found.total.flash_bytes,
    "ram": lambda found, _cells, _parallel: found.total.ram_bytes,
    "weights": lambda found, _cells, _parallel: found.total.nonzero,
    "macs": lambda found, _cells, _parallel: found.total.macs,
}
"""What of a program is measured: gate equivalents, look-up tables and registers of the circuit, clocks that
it takes for an image, bytes of flash and RAM of its C, weights that are not zero, multiplications."""

OBJECTIVES = {"gates": "gates", "luts": "lut6", "bytes": "flash", "latency": "clocks"}
"""The measure that each objective makes small; ``luts`` are those of the first FPGA that is to fit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed. ``devices``: those that must fit. ``most``: bounds of rows of ``MEASURES``."""

    devices: tuple[str, ...]
    most: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """``measures``: a value for each row of ``MEASURES``. ``verdicts``: one line by device, and by limit
    that does not hold. ``excess``: how far the worst of the limits is exceeded, as a share of it; at most 0
    where all hold."""

    measures: Mapping[str, int]
    verdicts: Mapping[str, str]
    excess: float

    @property
    def fits(self) -> bool:
        """Whether all limits hold."""
        return self.excess <= 0

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def cost_of(program: Program, folding: str, limits: Limits) -> Cost:
    """The cost of ``program``, with the circuit that the row ``folding`` of ``FOLDINGS`` says."""
    parallel = folding == PARALLEL
    found = report(program, limits.devices)
    circuits = found.total.circuits
    cells = circuits.parallel if parallel else circuits.one_position
    measures = {name: measure(found, cells, parallel) for name, measure in MEASURES.items()}
    verdicts, shares = {}, []
    for device in map(find, limits.devices):
        verdict = _judge_parallel(device, found) if parallel else found.devices[device.name]
        verdicts[device.name] = verdict.verdict
        shares.append(_share(device, verdict, measures["registers"]))
    for name, most in limits.most.items():
        shares.append(measures[name] / most)
        if measures[name] > most:
            verdicts[name] = f"{name} {measures[name]:,} of {most:,}"
    return Cost(measures, verdicts, max(shares, default=0.0) - 1)


def _judge_parallel(device: Device, found: Report) -> Verdict:
    """The verdict with the parallel circuit in place of that of one position; it has no activations to
    keep."""
    if device.kind == "mcu":
        return found.devices[device.name]
    logic = logic_of(found.total.circuits.parallel)
    return judge(device, Needs(0, 0, 0, logic, logic, found.memory.peak))


def _share(device: Device, verdict: Verdict, registers: int) -> float:
    """The largest share of any of the device's resources that is used; above 1 where it does not fit."""
    pairs = [
        (verdict.flash_used, device.flash_bytes),
        (verdict.ram_used, device.ram_bytes or device.bram_bits // 8),
        (verdict.lut_used, device.lut),
        (registers, device.ff),
        (verdict.area_used, device.area_mm2),
    ]
    share = max(used / limit for used, limit in pairs if used is not None and limit)
    return share if verdict.fits else max(share, math.nextafter(1, 2))
