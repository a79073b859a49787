"""``gatefold devices``."""

from __future__ import annotations

from dataclasses import asdict

import click

from toolchain.cli.common import emit, json_option, table
from toolchain.devices import DEVICES


@click.command("devices")
@json_option
def command(as_json: bool) -> None:
    """List the devices that reports can judge, with the source of each limit."""
    rows = [
        [name, d.kind, d.target, d.flash_bytes or "", d.ram_bytes or "", d.lut or "", d.source]
        for name, d in DEVICES.items()
    ]
    text = table(["device", "kind", "core", "flash bytes", "RAM bytes", "LUTs", "source"], rows)
    emit({"devices": {name: asdict(d) for name, d in DEVICES.items()}}, as_json, text)
