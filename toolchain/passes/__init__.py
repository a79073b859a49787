"""Passes: program to program, same results on every input, verified after each.

A pass is a frozen dataclass; its fields are its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runtime.ir import Program
from toolchain.passes.dead_channels import DeadChannels
from toolchain.passes.dead_code import DeadCode
from toolchain.passes.fast_hamilton import FastHamilton
from toolchain.passes.fold_negation import FoldNegation
from toolchain.passes.pool_after_threshold import PoolAfterThreshold

Pass = Callable[[Program], Program]

DEFAULT_PASSES: tuple[Pass, ...] = (DeadCode(), DeadChannels(), FoldNegation(), PoolAfterThreshold())
"""What ``lower`` applies, in order: uses are counted after dead code is gone."""


def run_passes(program: Program, passes: Iterable[Pass] = DEFAULT_PASSES) -> Program:
    """``program`` after each of ``passes`` in turn."""
    for apply in passes:
        program = apply(program)
    return program


__all__ = [
    "DEFAULT_PASSES",
    "DeadChannels",
    "DeadCode",
    "FastHamilton",
    "FoldNegation",
    "Pass",
    "PoolAfterThreshold",
    "run_passes",
]
