"""Whether a program fits a microcontroller: by its C for that core, measured where possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from exporters.c99.build import Source
from runtime.errors import ProgramError
from toolchain.devices import Device, Needs, Verdict, judge, running_energy
from toolchain.mcu.footprint import Generated, Generator
from toolchain.mcu.measure import LayerWork, Measurement, Speed, per_mac

ESTIMATED, MEASURED = "estimated", "measured"

Measure = Callable[[Device, Source], Measurement | None]
"""Builds and runs a program's C for a device; None where it cannot."""


def assess(generated: Generator, device: Device, needs: Needs, measure: Measure | None = None) -> Verdict:
    """The verdict on a program and a microcontroller.

    ``generated``: its C. ``needs``: of the program whatever the device; its flash and RAM are replaced by
    those of the C for the device's core.
    """
    try:
        made = generated(device.target)
    except ProgramError as error:
        flash, ram = needs.flash_bytes, needs.ram_bytes
        return Verdict(False, f"does not fit: {error}; {ESTIMATED}", flash, ram, None)
    source, guess = made.source, made.estimate
    found = measure(device, source) if measure else None
    exact = found.sizes if found else guess
    spent = (found and found.speed) or made.effort
    basis = MEASURED if found else ESTIMATED
    verdict = judge(device, replace(needs, flash_bytes=exact.flash, ram_bytes=exact.ram, basis=basis))
    return replace(
        verdict,
        source=MEASURED if found else ESTIMATED,
        estimated=_estimated_json(made, device),
        measured=found and _measured_json(found, made, device),
        energy=running_energy(device, spent.cycles) if spent else None,
    )


def _estimated_json(made: Generated, device: Device) -> dict[str, Any]:
    guess, effort = made.estimate, made.effort
    return {
        "target": made.source.target.name,
        "flash": guess.flash,
        "ram": guess.ram,
        **asdict(guess),
        "instructions": effort and round(effort.instructions),
        "cycles": effort and round(effort.cycles),
        "milliseconds": effort and round(effort.milliseconds(device.clock_hz), 3),
        "clock_hz": device.clock_hz,
    }


def _measured_json(found: Measurement, made: Generated, device: Device) -> dict[str, Any]:
    sizes, guess, effort, speed = found.sizes, made.estimate, made.effort, found.speed
    instructions = speed and speed.instructions
    counted = effort.instructions / instructions - 1 if effort and instructions else None
    parts = ["text", "rodata", "data", "bss", "library", "arena", "ports", "stack"]
    return {
        "target": found.core,
        "optimize": found.optimize,
        "flash": sizes.flash,
        "ram": sizes.ram,
        **{part: getattr(sizes, part) for part in parts},
        "stack_path": list(sizes.path),
        "deviation": {
            "flash": round(guess.flash / sizes.flash - 1, 5),
            "ram": round(guess.ram / sizes.ram - 1, 5),
            "instructions": counted and round(counted, 5),
        },
        "run": speed and _speed_json(speed, device),
        "not_run": found.why or None,
    }


def _speed_json(speed: Speed, device: Device) -> dict[str, Any]:
    return {
        "samples_checked": speed.checked + speed.counted,
        "samples_counted": speed.counted,
        "samples_from": "vectors.npz" if speed.real else "self-test",
        "instructions": _rounded(speed.instructions),
        "instructions_per_mac": _rounded(per_mac(speed.instructions, speed.macs), 4),
        "estimated_cycles": round(speed.cycles),
        "estimated_milliseconds": round(speed.milliseconds(device.clock_hz), 3),
        "cycles_from": speed.timing,
        "stack_seen": speed.stack,
        "layers": [_layer_json(layer) for layer in speed.layers],
    }


def _layer_json(layer: LayerWork) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "macs": layer.macs,
        "instructions": _rounded(layer.instructions),
        "instructions_per_mac": _rounded(layer.per_mac, 4),
        "estimated_cycles": round(layer.cycles),
    }


def _rounded(value: float | None, digits: int | None = None) -> float | None:
    return None if value is None else round(value, digits)
