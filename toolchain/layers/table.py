"""Integer tables of real functions, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runtime.ops import Lookup


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, values: Tensor, slopes: Tensor, first: int) -> Tensor:
        # A NaN has no entry; training that went wrong ends at its next check, not here.
        index = (codes - first).int().clamp_(0, len(values) - 1)
        ctx.save_for_backward(index, slopes)
        return _entries(values, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        index, slopes = ctx.saved_tensors
        return gradient * _entries(slopes, index), None, None, None


def _entries(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]``, several times faster than indexing on a CPU, in the memory order of ``index``."""
    order = index.permute(0, 2, 3, 1) if index.dim() == 4 else index
    found = table.index_select(0, order.reshape(-1)).reshape(order.shape)
    return found.permute(0, 3, 1, 2) if index.dim() == 4 else found


class Table(nn.Module):
    """Integers ``round(function(code))`` for the codes ``first..last``, clipped to ``limits`` if there are.

    Gradient: that of ``function`` at the code.
    """

    values: Tensor
    slopes: Tensor

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        first: int,
        last: int,
        limits: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        codes = torch.arange(first, last + 1, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():  # a network may be built where gradients are off
            real = function(codes)
            (slopes,) = torch.autograd.grad(real.sum(), codes)
        values = real.detach().round()
        self.first = first
        self.register_buffer(
            "values", (values.clamp(*limits) if limits else values).float(), persistent=False
        )
        self.register_buffer("slopes", slopes.float(), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        return _LookedUp.apply(codes, self.values, self.slopes, self.first)

    def lookup(self) -> Lookup:
        """The table as an op."""
        return Lookup(self.values.cpu().numpy().astype(np.int64)[None], self.first)
