"""The report: what a program costs, layer by layer, in total, and against devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runtime.ir import Program
from toolchain.cost.cells import WIRES, Cells, Circuits
from toolchain.cost.evidence import NOTHING_RUN, Evidence
from toolchain.cost.forms import WeightForms, weight_forms
from toolchain.cost.memory import MemoryPlan, plan
from toolchain.cost.nodes import Constants, NodeCost, node_costs
from toolchain.cost.outline import Outline
from toolchain.cost.skips import skip_table
from toolchain.devices import Logic, Needs, Verdict, find, judge
from toolchain.mcu.assess import Measure, assess
from toolchain.mcu.estimate import Estimate
from toolchain.mcu.footprint import Footprint, footprint, generator
from toolchain.synthesis.figures import Synthesis

CODE_BASE_BYTES = 128
CODE_OP_BYTES = 128
CODE_NODE_BYTES = 16
STACK_BYTES = 256
"""Where there is no C: call frames and the accumulators of one output position."""


def code_bytes(program: Program) -> int:
    """A guess at the machine code of a program that the C exporter refuses: a base, one routine per kind of
    op, one call per node."""
    kinds = {node.op.name for node in program.nodes}
    return CODE_BASE_BYTES + CODE_OP_BYTES * len(kinds) + CODE_NODE_BYTES * len(program.nodes)


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over all layers, and what only the whole has.

    ``arena_bytes``: of the planned arena of bit planes, whatever the device. ``footprint``: flash and RAM.
    """

    parameters: int
    nonzero: int
    macs: int
    bops: int
    constants: Constants
    circuits: Circuits
    arena_bytes: int
    footprint: Footprint

    @property
    def code_bytes(self) -> int:
        """Estimated code, part of ``flash_bytes``."""
        return self.footprint.bytes.code

    @property
    def flash_bytes(self) -> int:
        """Constants and code of the C for the footprint's target."""
        return self.footprint.bytes.flash

    @property
    def ram_bytes(self) -> int:
        """Arena, arrays of the caller and stack of the C for the footprint's target."""
        return self.footprint.bytes.ram

    @property
    def float32_bytes(self) -> int:
        """The same weights and biases as 32-bit floats."""
        return 4 * self.parameters

    @property
    def compression(self) -> float:
        """float32 bytes over the bytes of the constants (0 where there are none)."""
        return self.float32_bytes / self.constants.bytes if self.constants.bytes else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Costs of one program. ``forms``: of the linear layers, by name. ``devices``: verdict by device name.
    ``skip_cost``: plain JSON. ``outline``: how it is wired. ``synthesis``: what Yosys made of it, where it
    was asked. ``evidence``: what was run."""

    program: str
    layers: tuple[NodeCost, ...]
    forms: Mapping[str, WeightForms]
    total: Total
    memory: MemoryPlan
    devices: Mapping[str, Verdict]
    skip_cost: Mapping[str, Any]
    outline: Outline
    synthesis: Synthesis | None = None
    evidence: Evidence = NOTHING_RUN

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON; its keys are part of the interface."""
        return {
            "program": self.program,
            **self.outline.to_json(),
            "layers": [
                _layer_json(layer, self.forms.get(layer.name))
                | {
                    "operands": list(self.outline.operands[layer.name]),
                    "synthesis": self._synthesis(layer.name),
                }
                for layer in self.layers
            ],
            "total": _total_json(self.total) | {"synthesis": self.synthesis and self.synthesis.to_json()},
            "memory": {
                "peak": self.memory.peak,
                "live_bytes": self.memory.live_bytes,
                "buffers": [
                    {
                        "values": list(b.names),
                        "offset": b.offset,
                        "bytes": b.size,
                        "live": [b.birth, b.death],
                    }
                    for b in self.memory.buffers
                ],
            },
            "devices": {name: verdict.to_json() for name, verdict in self.devices.items()},
            "skip_cost": dict(self.skip_cost),
            **self.evidence.to_json(),
        }

    def _synthesis(self, name: str) -> dict[str, Any] | None:
        """Of the circuit that makes the value ``name``."""
        rows = self.synthesis.rows if self.synthesis else ()
        return next((row.to_json() for row in rows if row.stage == name), None)


def _costs_json(cost: NodeCost | Total) -> dict[str, Any]:
    return {
        "parameters": cost.parameters,
        "nonzero": cost.nonzero,
        "macs": cost.macs,
        "bops": cost.bops,
        "gates": cost.circuits.parallel.to_json(),
        "gates_one_position": cost.circuits.one_position.to_json(),
        "lut4": cost.circuits.parallel.lut4,
        "lut4_one_position": cost.circuits.one_position.lut4,
        "lut6": cost.circuits.parallel.lut6,
        "lut6_one_position": cost.circuits.one_position.lut6,
        "weight_bytes": cost.constants.weight_bytes,
        "threshold_bytes": cost.constants.threshold_bytes,
        "lookup_bytes": cost.constants.lookup_bytes,
        "bias_bytes": cost.constants.bias_bytes,
    }


def _layer_json(layer: NodeCost, forms: WeightForms | None) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "layer": layer.layer,
        "shape": list(layer.type.shape),
        "bits": layer.type.bits,
        **_costs_json(layer),
        "activation_bytes": layer.activation_bytes,
        "forms": forms and forms.to_json(),
    }


def _total_json(total: Total) -> dict[str, Any]:
    return _costs_json(total) | {
        "arena_bytes": total.arena_bytes,
        "code_bytes": total.code_bytes,
        "flash_bytes": total.flash_bytes,
        "ram_bytes": total.ram_bytes,
        "target": None if total.footprint.refused else total.footprint.target,
        "refused": total.footprint.refused or None,
        "footprint": asdict(total.footprint.bytes),
        "float32_bytes": total.float32_bytes,
        "compression": round(total.compression, 2),
    }


def logic_of(cells: Cells) -> Logic:
    """What a circuit of ``cells`` takes of a device."""
    return Logic({4: cells.lut4, 6: cells.lut6}, cells["register"], cells.ge)


def macs_by_layer(layers: Iterable[NodeCost]) -> dict[str, int]:
    """Multiply-accumulates by the layer, or by the name of a node without one."""
    macs: Counter[str] = Counter()
    for node in layers:
        macs[node.layer or node.name] += node.macs
    return dict(macs)


def report(program: Program, devices: Iterable[str] = (), measure: Measure | None = None) -> Report:
    """Cost of ``program``, and whether it fits each named device.

    ``measure``: builds and runs the program for a microcontroller, whose verdict then rests on that, and
    otherwise on an estimate. Raises InputError for an unknown device, ProgramError for an op that has no
    cost, and as ``measure`` does.
    """
    chosen = [find(name) for name in devices]
    layers, memory = node_costs(program), plan(program)
    constants = sum((layer.constants for layer in layers), Constants())
    guess = Estimate(constants.bytes, code_bytes(program), memory.arena_bytes, 0, STACK_BYTES)
    generated = generator(program)
    total = Total(
        *(
            sum(getattr(layer, key) for layer in layers)
            for key in ("parameters", "nonzero", "macs", "bops")
        ),
        constants=constants,
        circuits=sum((layer.circuits for layer in layers), WIRES),
        arena_bytes=memory.arena_bytes,
        footprint=footprint(generated, guess),
    )
    needs = Needs(
        guess.flash,
        guess.ram,
        total.arena_bytes,
        logic_of(total.circuits.one_position),
        logic_of(total.circuits.parallel),
        memory.peak,
    )
    verdicts = {
        device.name: assess(generated, device, needs, measure) if device.target else judge(device, needs)
        for device in chosen
    }
    forms = weight_forms(program, layers)
    skips, outline = skip_table(program, layers), Outline.of(program)
    return Report(program.name, layers, forms, total, memory, verdicts, skips, outline)
