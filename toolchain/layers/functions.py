"""Functions and tensor methods that ``forward`` may use between modules, each with its lowering."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from runtime.ops import Add, Concat, Reshape
from toolchain.layers import shape
from toolchain.layers.base import Lowered, Site

BATCH = -1
"""What ``x.size(0)`` and ``x.shape[0]`` are during lowering, and what ``reshape`` takes for the batch."""


def add(site: Site, a: object, b: object) -> Lowered:
    """``a + b``."""
    return Lowered(site.emit(Add(), site.integers(a), site.integers(b)))


def concat(site: Site, tensors: object, dim: int = 0) -> Lowered:
    """``torch.cat`` along the channel axis."""
    if dim != 1 or not isinstance(tensors, (list, tuple)):
        raise site.error(f"cat must join a list of tensors along dim=1, not dim={dim}")
    return Lowered(site.emit(Concat(), *(site.integers(x) for x in tensors)))


def flatten(site: Site, x: object, start_dim: int = 0, end_dim: int = -1) -> Lowered:
    """``torch.flatten`` and ``Tensor.flatten``."""
    return shape.flatten(site, site.tensor(x), start_dim, end_dim)


def reshape(site: Site, x: object, *sizes: Any) -> Lowered:
    """``reshape`` and ``view`` that keep the batch as their first axis."""
    value = site.integers(x)
    dims = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else sizes
    if len(dims) < 2 or dims[0] != BATCH:
        raise site.error(f"reshape must keep the batch axis, as in x.reshape(x.shape[0], -1), not {dims}")
    rest = list(dims[1:])
    if rest.count(-1) == 1:
        known = math.prod(d for d in rest if d != -1)
        rest[rest.index(-1)] = site.type_of(site.tensor(x)).size // max(known, 1)
    return Lowered(site.emit(Reshape(tuple(rest)), value))


def attribute(site: Site, x: object, name: str) -> tuple[int, ...]:
    """``x.shape``."""
    if name != "shape":
        raise site.error(f"of a tensor's attributes only shape can be lowered, not {name!r}")
    return (BATCH, *site.type_of(site.tensor(x)).shape)


def size(site: Site, x: object, dim: int | None = None) -> Any:
    """``x.size()`` and ``x.size(dim)``."""
    dims = attribute(site, x, "shape")
    return dims if dim is None else item(site, dims, dim)


def item(site: Site, sequence: object, index: Any) -> Any:
    """An entry of a shape; tensors cannot be indexed."""
    if isinstance(sequence, Lowered):
        raise site.error("tensors cannot be indexed; only their shape can")
    try:
        return operator.getitem(sequence, index)
    except (IndexError, TypeError):
        raise site.error(f"an index must be one of the shape's axes, not {index!r:.80}") from None


FUNCTIONS: dict[Callable[..., Any] | str, Callable[..., Any]] = {
    operator.add: add,
    operator.iadd: add,
    torch.add: add,
    "add": add,
    torch.cat: concat,
    torch.concat: concat,
    torch.flatten: flatten,
    "flatten": flatten,
    torch.reshape: reshape,
    "reshape": reshape,
    "view": reshape,
    getattr: attribute,
    operator.getitem: item,
    "size": size,
}
"""From a function, or the name of a tensor method, to its lowering."""
