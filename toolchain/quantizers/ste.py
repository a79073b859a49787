"""Straight-through estimators: one value forward, another function's gradient backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SLACK = 2.0**-20
"""Widens the interval that a gradient passes, so that its ends are inside: latent weights are clamped to
-1 and 1, and would stay there for ever if their gradient were 0."""


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


class _ClippedStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hard: Tensor, x: Tensor, low: float, high: float, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.clip = (low, high, slope)
        return hard.view_as(hard)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        low, high, slope = ctx.clip
        passed = torch.ops.aten.hardtanh_backward(gradient, x, low - SLACK, high + SLACK)
        return None, passed if slope == 1 else passed.mul_(slope), None, None, None


def clipped_straight_through(hard: Tensor, x: Tensor, low: float, high: float, slope: float = 1) -> Tensor:
    """``hard`` exactly, with the gradient of ``slope * clip(x, low, high)``, which is never computed.

    Forward: ``y = hard``. Gradient: ``dy/dx = slope`` where ``low <= x <= high``, else 0.
    """
    return _ClippedStraightThrough.apply(hard.detach(), x, low, high, slope)
