"""Straight-through estimators: one value forward, another function's gradient backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

SLACK = 2.0**-20
"""Widens the interval that a gradient passes, so that its ends are inside: latent weights are clamped to
-1 and 1, and would stay there for ever if their gradient were 0. Ends of 16 and more, which float32 could
not tell from such wider ones, move to the next float32 instead."""


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


def _beyond(end: float) -> float:
    """A float32 above ``end``."""
    return max(end + SLACK, float(np.nextafter(np.float32(end), np.float32(np.inf))))


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
        ends = -_beyond(-low), _beyond(high)
        passed = torch.ops.aten.hardtanh_backward(gradient, x, *ends)
        return None, passed if slope == 1 else passed.mul_(slope), None, None, None


def clipped_straight_through(hard: Tensor, x: Tensor, low: float, high: float, slope: float = 1) -> Tensor:
    """``hard`` exactly, with the gradient of ``slope * clip(x, low, high)``, which is never computed.

    Forward: ``y = hard``. Gradient: ``dy/dx = slope`` where ``low <= x <= high``, else 0.
    """
    return _ClippedStraightThrough.apply(hard.detach(), x, low, high, slope)
