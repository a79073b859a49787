"""Place and route with nextpnr: Fmax and utilization of a circuit on an FPGA.

The circuit stands between registers: its inputs come from one long shift register and its outputs end in a
signature register, so that three pins are enough whatever its width. Both registers are part of the counts.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporters.netlist.circuit import Circuit
from exporters.tools import Command, Tool, require_tool, run_command
from exporters.verilog.module import module_text
from runtime.errors import GatefoldError
from toolchain.synthesis.figures import Placement
from toolchain.synthesis.map import CELLS_V, TOP
from toolchain.synthesis.yosys import TIMEOUT, Yosys, python_command


@dataclass(frozen=True, slots=True)
class Target:
    """``family``: of nextpnr. ``synth``: Yosys's command. ``options``: of nextpnr. ``logic`` and
    ``registers``: what it calls them."""

    family: str
    synth: str
    options: tuple[str, ...]
    logic: str
    registers: str


def _ice40(*options: str) -> Target:
    return Target("ice40", f"synth_ice40 -top {TOP} -json top.json", options, "ICESTORM_LC", "SB_DFF")


def _ecp5(*options: str) -> Target:
    return Target("ecp5", f"synth_ecp5 -top {TOP} -json top.json", options, "TRELLIS_COMB", "TRELLIS_FF")


TARGETS: dict[str, Target] = {
    "ice40up5k": _ice40("--up5k", "--package", "sg48"),
    "ice40hx8k": _ice40("--hx8k", "--package", "ct256"),
    "ecp5-25f": _ecp5("--25k", "--package", "CABGA381"),
}
"""Devices that can be placed, by their names in the device table."""


Place = Callable[[Circuit, str, Path], Placement]
"""Places and routes a circuit of a name, in a folder."""


def require_nextpnr(device: str, user: str) -> Command:
    """The command of nextpnr for ``device``. Raises MissingToolError saying what to install."""
    family = TARGETS[device].family
    name = f"nextpnr-{family}"
    tool = Tool(
        name, (name, f"yowasp-{name}"), f"GATEFOLD_NEXTPNR_{family.upper()}", f"pip install yowasp-{name}"
    )
    module = f"yowasp_nextpnr_{family}"
    if importlib.util.find_spec(module):
        run = f"import sys; from {module} import run_nextpnr_{family} as run; sys.exit(run(sys.argv[1:]))"
        return python_command(run)
    return require_tool(tool, user)


def placer(device: str, yosys: Yosys, user: str, timeout: float = TIMEOUT) -> Place:
    """A function that places circuits on ``device``. Raises MissingToolError where nextpnr is missing."""
    nextpnr = require_nextpnr(device, user)
    target = TARGETS[device]

    def place(circuit: Circuit, name: str, folder: Path) -> Placement:
        text = CELLS_V.read_text(encoding="utf-8") + module_text(circuit, "logic") + harness(circuit)
        (folder / "top.v").write_text(text, encoding="utf-8")
        yosys.run(
            f"read_verilog top.v\n{target.synth}\n", folder, f"synthesizing {name} for {device}", timeout
        )
        options = (*target.options, "--json", "top.json", "--report", "report.json", "--quiet")
        free = (
            ("--pcf-allow-unconstrained",) if target.family == "ice40" else ("--lpf-allow-unconstrained",)
        )
        what = f"placing {name} on {device}"
        outcome = run_command((*nextpnr, *options, *free, "--timing-allow-fail"), folder, what, timeout)
        if outcome.code:
            errors = [line for line in outcome.output.splitlines() if "ERROR" in line]
            raise GatefoldError(f"{what} failed: {errors[0] if errors else 'no message'}")
        return _read(json.loads((folder / "report.json").read_text(encoding="utf-8")), device, circuit)

    return place


def _read(report: dict[str, dict[str, dict[str, float]]], device: str, circuit: Circuit) -> Placement:
    logic = report["utilization"][TARGETS[device].logic]
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    return Placement(
        device,
        round(min(clocks), 2) if clocks else 0.0,
        int(logic["used"]),
        int(logic["available"]),
        sum(len(port.literals) for port in (*circuit.inputs, *circuit.outputs)),
    )


def harness(circuit: Circuit) -> str:
    """Module ``top`` with the pins ``clk``, ``d`` and ``q`` around the module ``logic``."""
    read = sum(len(port.literals) for port in circuit.inputs)
    made = sum(len(port.literals) for port in circuit.outputs)
    ports, start = [], 0
    for port in circuit.inputs:
        ports.append(f".{port.name}(shift[{start + len(port.literals) - 1}:{start}])")
        start += len(port.literals)
    start = 0
    for port in circuit.outputs:
        ports.append(f".{port.name}(found[{start + len(port.literals) - 1}:{start}])")
        start += len(port.literals)
    turned = f"{{signature[{made - 2}:0], signature[{made - 1}]}}" if made > 1 else "signature"
    shifted = f"{{shift[{read - 2}:0], d}}" if read > 1 else "d"
    return f"""module {TOP} (input wire clk, input wire d, output wire q);
    reg [{read - 1}:0] shift;
    reg [{made - 1}:0] signature;
    wire [{made - 1}:0] found;
    logic u ({", ".join(ports)});
    always @(posedge clk) begin
        shift <= {shifted};
        signature <= {turned} ^ found;
    end
    assign q = signature[{made - 1}];
endmodule
"""
