"""Every executor, of which those that compile do so quickly: most of a test would pass in the optimizer.

Networks on the compiler's highest level are in ``test_networks.py`` and ``exporters/c99/test_executor.py``.
A simulator of gates takes a minute for the smallest network: what it gets is chosen for it, in
``test_executors.py`` and ``exporters/verilog``.
"""

from __future__ import annotations

from dataclasses import replace

from exporters import executors
from exporters.c99.executor import C99Executor
from runtime.ir import Program


class QuickC99(C99Executor):
    """The generated C at ``-O1``."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, optimize="-O1")


COMPILED = ("c99",)
"""Executors that compile, which takes longer than all else: of many programs they get one made of all."""

SIMULATED = "verilog"
"""The executor that simulates gates."""

UNSIMULATED = {name: row for name, row in executors().items() if name != SIMULATED}
"""All others."""

QUICK = UNSIMULATED | {"c99": replace(executors()["c99"], target=f"{__name__}:QuickC99")}
"""The table of executors."""

BUILT = ("netlist", "verilog")
"""Executors that build a circuit first: seconds for small networks, minutes or a refusal for others."""

NETWORKS = {name: row for name, row in QUICK.items() if name not in BUILT}
"""For tests of many networks. Ops and small networks are compared on all of ``QUICK``."""
