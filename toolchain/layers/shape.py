"""Modules of torch that move values or do nothing in evaluation."""

from __future__ import annotations

import math

from torch import nn

from runtime.ops import Reshape
from toolchain.layers.base import Lowered, LowerRule, Site


def flatten(site: Site, x: Lowered, start: int = 1, end: int = -1) -> Lowered:
    """``Reshape`` that merges axes ``start..end``; the batch axis must stay alone."""
    value = site.integers(x)
    shape = site.type_of(x).shape
    rank = len(shape) + 1
    start, end = (axis + rank if axis < 0 else axis for axis in (start, end))
    if not 1 <= start <= end < rank:
        raise site.error(f"flatten must keep the batch axis; use start_dim=1, not {start}")
    merged = math.prod(shape[start - 1 : end])
    target = (*shape[: start - 1], merged, *shape[end:])
    return x if target == shape else Lowered(site.emit(Reshape(target), value))


def lower_flatten(site: Site, module: nn.Flatten, x: Lowered) -> Lowered:
    """``Reshape``."""
    return flatten(site, site.tensor(x), module.start_dim, module.end_dim)


def lower_nothing(site: Site, _module: nn.Module, x: Lowered) -> Lowered:
    """The operand itself."""
    return site.tensor(x)


LAYERS: dict[type[nn.Module], LowerRule] = {
    nn.Flatten: lower_flatten,
    nn.Identity: lower_nothing,
    nn.Dropout: lower_nothing,
    nn.Dropout2d: lower_nothing,
}
