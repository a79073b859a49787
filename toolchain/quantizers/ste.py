"""The straight-through estimator: one value forward, another function's gradient backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, hard: Tensor, surrogate: Tensor) -> Tensor:
        return hard.view_as(hard)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def straight_through(hard: Tensor, surrogate: Tensor) -> Tensor:
    """``hard`` exactly, with the gradient of ``surrogate`` (both of one shape and dtype).

    Forward: ``y = hard``. Gradient: ``dy/dv = d surrogate/dv`` for everything the surrogate depends on.
    The usual ``surrogate + (hard - surrogate).detach()`` rounds, and would turn a code 3 into
    2.9999998; this does not.

    Source: Bengio, Leonard and Courville, arXiv 1308.3432.
    """
    return _StraightThrough.apply(hard.detach(), surrogate)
