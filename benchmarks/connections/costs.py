"""What a network of the study costs in hardware, and its connections alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from runtime.ir import Program
from toolchain.cost.cells import Cells, Circuits
from toolchain.cost.model import report
from toolchain.cost.skips import connections, skip_costs

ADDITIONS = ("linear", "or", "linear, quadratic")
"""The connections that are one addition an element in full precision: ``OrSkip`` clips a sum there. The
cost model has an area of a float32 adder, and none of float32 multipliers or dividers."""

PARTS = {"connection", "read"}
"""Modules of a residual network that belong to its connections: the join, and what reads a coded stream.
The norms that make codes for a connection do not: each takes the place of an activation."""


@dataclass(frozen=True, slots=True)
class Area:
    """Logic, or None where the cost model has no figure.

    ``ge``: gate equivalents with the registers. ``connections``: those of connections among them. ``lut6``:
    look-up tables of six inputs.
    """

    ge: float | None = None
    connections: float | None = None
    lut6: int | None = None

    @property
    def share(self) -> float | None:
        """Connections in percent of the whole."""
        return None if not self.ge or self.connections is None else 100 * self.connections / self.ge


@dataclass(frozen=True, slots=True)
class Cost:
    """``one_position``: circuits that compute one position of a layer at a time. ``parallel``: all at once.

    ``flash_bytes``, ``ram_bytes``: of the C for a Cortex-M4, estimated; of float32 networks the parameters
    alone, and None.
    """

    flash_bytes: int
    ram_bytes: int | None
    one_position: Area
    parallel: Area


def in_connection(layer: str) -> bool:
    """Whether the module of that dotted path belongs to a connection."""
    return not PARTS.isdisjoint(layer.split("."))


def program_cost(program: Program) -> Cost:
    """Cost of an integer program. Raises ProgramError for an op that has none."""
    found = report(program)
    ours = [layer.circuits for layer in found.layers if in_connection(layer.layer)]

    def area(of: Callable[[Circuits], Cells]) -> Area:
        whole = of(found.total.circuits)
        return Area(whole.ge, sum(of(circuits).ge for circuits in ours), whole.lut6)

    return Cost(
        found.total.flash_bytes,
        found.total.ram_bytes,
        area(lambda circuits: circuits.one_position),
        area(lambda circuits: circuits.parallel),
    )


def float32_cost(parameters: int, connection: str, programs: Iterable[Program]) -> Cost:
    """Cost of a float32 network: its parameters, and the adders of connections that only add.

    ``programs``: of networks with the same connection, of which the first tells where branches are joined.
    """
    program = next(iter(programs), None)
    if connection not in ADDITIONS or program is None:
        return Cost(4 * parameters, None, Area(), Area())
    joins = [join.type for join in connections(program) if in_connection(join.layer)]
    columns = [replace(type_, shape=(type_.channels, 1, 1)) for type_ in joins]
    alone = [
        sum(skip_costs(type_)["float32_add"].stored_ge for type_ in types) for types in (columns, joins)
    ]
    return Cost(4 * parameters, None, *(Area(connections=ge) for ge in alone))
