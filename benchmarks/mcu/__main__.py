"""Networks of microcontroller size: Gatefold's C against plain int8 C of the same shapes, emulated.

    python -m benchmarks.mcu [PROGRAM.gfold ...] [--device NAME ...] [--json]

Both are compiled by one compiler at one level, linked, and run under one emulator; every output is checked,
Gatefold's against the interpreter and int8's against its definition in NumPy. Instructions are counted,
cycles and milliseconds are estimated from them (docs/mcu.md). Needs the extra `mcu`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mcu.int8 import SEED, baseline
from exporters.c99.build import generate
from runtime.errors import GatefoldError, MismatchError
from runtime.ir import Program
from runtime.serialize import load
from toolchain.cli.evidence import vectors_beside
from toolchain.cost.model import macs_by_layer
from toolchain.cost.nodes import node_costs
from toolchain.devices import Device, find
from toolchain.mcu.build import build
from toolchain.mcu.cores import Core, find_core
from toolchain.mcu.emulate import Emulator
from toolchain.mcu.harness import Memory
from toolchain.mcu.image import measure_sizes
from toolchain.mcu.measure import Checks, measure
from toolchain.tables import Table, to_markdown

TRAINED = Path(__file__).parents[2] / "sample_models" / "trained"
PROGRAMS = ("digits-ternary", "fashion-or", "fashion-micro", "fashion-quaternion", "cifar-micro")
DEVICES = ("rp2040", "nano-33-ble", "stm32h743", "esp32-c3")
LEVELS = ("-Os", "-O2")


def rows(path: Path, devices: Sequence[Device]) -> Iterator[dict[str, Any]]:
    """Figures of one program: for each device and level, Gatefold's and int8's."""
    program = load(path)
    macs = macs_by_layer(node_costs(program))
    vectors = vectors_beside(path, program)
    checks = Checks.of(program, vectors and vectors.inputs)
    for device in devices:
        core, memory = find_core(device.target), Memory(device.flash_base, device.ram_base)
        source = generate(program, device.target, vectors=0)
        for level in LEVELS:
            found = measure(checks, source, core, memory, macs, optimize=level)
            speed = found.speed
            assert speed is not None
            yield _row(program, device, "gatefold", level, found.sizes, speed.instructions, speed.cycles)
            yield _int8(program, device, core, memory, level)


def _int8(program: Program, device: Device, core: Core, memory: Memory, level: str) -> dict[str, Any]:
    plain = baseline(program, device.target)
    image = build(plain.source, core, memory, level)
    (port,) = plain.source.inputs
    pixels = np.random.default_rng(SEED + 1).integers(-128, 128, port.type.shape)
    run = Emulator(image).run({port.name: pixels}, count=True)
    for name, wanted in plain.run(pixels).items():
        if (run.outputs[name].reshape(-1) != wanted.reshape(-1)).any():
            raise MismatchError(f"int8 {program.name} on {core.name}: {name!r} is not as defined")
    assert core.timing is not None
    spent = run.total
    return _row(
        program, device, "int8", level, measure_sizes(image), spent.instructions, spent.cycles(core.timing)
    )


def _row(
    program: Program,
    device: Device,
    code: str,
    level: str,
    sizes: Any,
    instructions: float,
    cycles: float,
) -> dict[str, Any]:
    macs = sum(node.macs for node in node_costs(program))
    return {
        "program": program.name,
        "device": device.name,
        "core": device.target,
        "code": code,
        "level": level,
        "flash": sizes.flash,
        "of it code": sizes.code,
        "ram": sizes.ram,
        "stack": sizes.stack,
        "instructions": round(instructions),
        "macs": macs,
        "per_mac": round(instructions / macs, 3),
        "estimated_ms": round(1000 * cycles / device.clock_hz, 2),
    }


def table(found: Sequence[dict[str, Any]]) -> Table:
    """One row per program, device and level: both side by side."""
    headers = [
        "program",
        "device",
        "level",
        "flash",
        "int8",
        "RAM",
        "int8",
        "instructions",
        "int8",
        "ratio",
        "per-MAC",
        "int8",
        "ms",
        "int8",
    ]
    pairs = zip(found[::2], found[1::2], strict=True)
    lines = [
        [
            ours["program"],
            ours["device"],
            ours["level"],
            *(f"{row[key]:,}" for key in ("flash", "ram", "instructions") for row in (ours, other)),
            f"{other['instructions'] / ours['instructions']:.1f}",
            *(f"{row[key]:,}" for key in ("per_mac", "estimated_ms") for row in (ours, other)),
        ]
        for ours, other in pairs
    ]
    return Table("Gatefold and plain int8", headers, lines, range(3, len(headers)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("programs", nargs="*", type=Path)
    parser.add_argument("--device", dest="devices", action="append")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args(arguments)
    paths = given.programs or [TRAINED / name / "program.gfold" for name in PROGRAMS]
    try:
        devices = [find(name) for name in given.devices or DEVICES]
        found = []
        for path in paths:
            for row in rows(path, devices):
                found.append(row)
                print(f"{row['program']} {row['device']} {row['code']} {row['level']}", file=sys.stderr)
    except GatefoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2) if given.as_json else to_markdown(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
