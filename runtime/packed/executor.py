"""The ``packed`` executor: plans made when a batch size is first seen, then run on memory that stays."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numpy as np

from runtime.errors import InputError
from runtime.ir import Program
from runtime.packed.arena import Arena
from runtime.packed.plan import AUTO, Bound, Plan, Row, plan_batch, stages_of
from runtime.types import IntArray

KERNELS = (AUTO, "xor-count", "bit-sliced", "blas")
"""What the option ``kernel`` may be. A layer that the wanted kernel cannot run gets the best other one."""

MAX_BATCH = 1024
"""Most samples of one run."""

PLANS = 16
"""Plans that are kept, and views on memory for each thread."""


class _Local(threading.local):
    """What one thread keeps: its memory, and the plans bound to it by batch size, oldest first."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.bound: dict[int, Bound] = {}


class PackedExecutor:
    """Executor ``packed``: equal to the interpreter bit for bit.

    ``kernel``: one of ``KERNELS``, for layers with weights. ``threads``: parts of a batch that run at once.
    BLAS has threads of its own, which the environment sets (``OPENBLAS_NUM_THREADS``).
    """

    KERNELS = KERNELS

    def __init__(self, program: Program, *, kernel: str = AUTO, threads: int = 1) -> None:
        if kernel not in KERNELS:
            raise InputError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        self._program, self._stages, self._threads = program, stages_of(program), threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._local = _Local()
        self.plan = lru_cache(maxsize=PLANS)(lambda batch: plan_batch(program, self._stages, kernel, batch))

    def describe(self, batch: int = 1) -> tuple[Row, ...]:
        """What runs at one batch size: one row a stage."""
        plan: Plan = self.plan(batch)
        return plan.rows

    def chunk(self, budget: int) -> int:
        """The largest batch, a power of two, whose values and working memory fit ``budget`` bytes."""
        batch = MAX_BATCH
        while batch > 1 and self.plan(batch).peak_bytes > budget:
            batch //= 2
        return batch

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for integer inputs of shape ``(batch, *type.shape)``."""
        batch = len(next(iter(inputs.values())))
        if not batch:
            return {
                n: np.empty((0, *self._program.types[n].shape), np.int64) for n in self._program.outputs
            }
        parts = min(batch, self._threads)
        if self._pool is None or parts == 1:
            return self._run(inputs)
        edges = [batch * i // parts for i in range(parts + 1)]
        slices = [{n: a[i:j] for n, a in inputs.items()} for i, j in pairwise(edges)]
        results = list(self._pool.map(self._run, slices))
        return {name: np.concatenate([r[name] for r in results]) for name in self._program.outputs}

    def _run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return self.bound(len(next(iter(inputs.values())))).run(inputs)

    def bound(self, batch: int) -> Bound:
        """The plan of a batch size on this thread's memory, bound anew when that has moved."""
        local, plan = self._local, self.plan(batch)
        memory = local.arena.reserve(plan.arena_bytes)
        bound = local.bound.pop(batch, None)
        if bound is None or bound.memory is not memory:
            local.bound = {size: b for size, b in local.bound.items() if b.memory is memory}
            bound = plan.bind(memory)
        local.bound[batch] = bound
        while len(local.bound) > PLANS:
            del local.bound[next(iter(local.bound))]
        return bound
