"""Circuits of truth tables: lookups, and many thresholds of one word."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import ARITY, STYLES, Netlist, Word, built
from exporters.netlist.resubstitution import resubstituted
from exporters.netlist.words import Gates, decision_diagram
from runtime.ops import Lookup
from runtime.types import TensorType

SEARCHED = range(7, 11)
"""Inputs of a table whose gates are worth a search. Smaller ones are no matter, larger ones take long."""


def truth_table(op: Lookup, row: int, x: TensorType, result: TensorType) -> NDArray[np.int64]:
    """Bit planes of one table row over the low bits of ``x``: (result bits, 2**k), where ``2**k`` values
    hold the interval of ``x``, so that its higher bits say nothing new. Unused codes repeat the last."""
    span = x.interval.hi - x.interval.lo
    codes = 1 << span.bit_length()
    steps = (np.arange(codes) - x.interval.lo % codes) % codes
    entries = op.table[row][np.minimum(steps, span) + (x.interval.lo - op.first)]
    planes: NDArray[np.int64] = (entries[None, :] >> np.arange(result.bits)[:, None]) & 1
    return planes


def for_gates(net: Gates) -> TypeGuard[Netlist]:
    """Whether gates of ``net`` are worth a search: look-up tables have any function of few bits at once."""
    return isinstance(net, Netlist) and net.style is STYLES["gates"]


def tabulated(net: Gates, select: Word, planes: NDArray[np.int64]) -> Word:
    """The functions ``planes`` (outputs, 2**inputs) of the word ``select``: shared multiplexers, and where
    gates count what a search makes of them."""
    if not for_gates(net) or len(select) not in SEARCHED:
        return decision_diagram(net, select, planes)
    found, outputs = _searched(np.packbits(planes.astype(np.uint8)).tobytes(), *planes.shape)
    place = [0, *(int(literal) for literal in select)]
    for kind, operands in zip(found.kinds[len(place) :], found.operands[len(place) :], strict=True):
        place.append(built(net, kind, operands[: ARITY[kind]], place))
    return [place[literal >> 1] ^ literal & 1 for literal in outputs]


@lru_cache(256)
def _searched(packed: bytes, outputs: int, entries: int) -> tuple[Netlist, tuple[int, ...]]:
    """Gates of the tables that ``packed`` holds, and the literals of their results."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=outputs * entries)
    net = Netlist()
    select = net.inputs(entries.bit_length() - 1)
    word = decision_diagram(net, select, bits.reshape(outputs, entries).astype(np.int64))
    found, literals = resubstituted(net, word)
    return found, tuple(literals)
