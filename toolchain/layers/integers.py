"""Integer arithmetic on float tensors, as the ops of a program do it."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def rounded_quotient(a: Tensor, b: Tensor) -> Tensor:
    """``RoundDiv`` of integers: halves away from zero. ``b``: above 0; broadcasts to the shape of ``a``.

    float32 is exact while dividends are below 2**24, divisors at most 2**17 and quotients at most 127 (in
    attention: 512 tokens), float64 up to dividends of 2**52: a quotient that is no integer lies further
    below the next one than they round.
    """
    return a.abs().add_((b / 2).floor_()).div_(b).floor_().mul_(a.sign())
