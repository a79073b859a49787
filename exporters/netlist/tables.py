"""Truth tables of lookups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.ops import Lookup
from runtime.types import TensorType


def truth_table(op: Lookup, row: int, x: TensorType, result: TensorType) -> NDArray[np.int64]:
    """Bit planes of one table row over the low bits of ``x``: (result bits, 2**k), where ``2**k`` values
    hold the interval of ``x``, so that its higher bits say nothing new. Unused codes repeat the last."""
    span = x.interval.hi - x.interval.lo
    codes = 1 << span.bit_length()
    steps = (np.arange(codes) - x.interval.lo % codes) % codes
    entries = op.table[row][np.minimum(steps, span) + (x.interval.lo - op.first)]
    planes: NDArray[np.int64] = (entries[None, :] >> np.arange(result.bits)[:, None]) & 1
    return planes
