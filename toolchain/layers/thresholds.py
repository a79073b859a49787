"""Threshold search: from per-channel real functions of an integer to integer thresholds.

The composition of batch norms and an activation, evaluated in float64, is a monotone step function
of the accumulator. Its steps are found by evaluating that very function on candidate integers, never by
solving a formula and rounding, so the thresholds agree with the float64 model on every integer, ties
included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from runtime.ops import Threshold
from runtime.types import Interval


class ChannelSign(nn.Module):
    """Multiplies each channel by +1 or -1: undoes a negation that the program has done."""

    def __init__(self, sign: Tensor) -> None:
        super().__init__()
        self.register_buffer("sign", sign)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sign.view((1, -1) + (1,) * (x.dim() - 2))


@torch.no_grad()
def evaluate(chain: Sequence[nn.Module], candidates: Tensor) -> Tensor:
    """The modules of ``chain``, one after the other, on integers (rows, channels), in float64."""
    values = candidates.double()
    for module in chain:
        values = module(values)
    return values


def falling(chain: Sequence[nn.Module], interval: Interval, channels: int) -> Tensor:
    """Which channels of a monotone ``chain`` decrease over ``interval``: bool, shape (channels,)."""
    ends = torch.tensor([[interval.lo], [interval.hi]]).expand(2, channels)
    low, high = evaluate(chain, ends)
    return low > high


def search_thresholds(
    chain: Sequence[nn.Module], interval: Interval, channels: int, top: int, lowest: int = 0
) -> Threshold:
    """The ``Threshold`` that equals ``chain``, less ``lowest``, on every integer of ``interval``.

    ``chain``: per-channel monotone modules ending in codes ``lowest..top``. For every channel and every
    code above the lowest, bisection finds the first integer, in the direction in which the channel grows,
    whose code is at least that. A threshold that is never reached lies one past the end of the interval.
    """
    direction = torch.where(falling(chain, interval, channels), -1, 1)
    codes = torch.arange(lowest + 1, top + 1)
    wanted = codes[:, None].expand(len(codes), channels)
    rising = direction > 0
    first = torch.where(rising, interval.lo, -interval.hi).expand(wanted.shape)
    last = torch.where(rising, interval.hi, -interval.lo).expand(wanted.shape) + 1
    for _ in range((interval.hi - interval.lo + 1).bit_length()):
        middle = (first + last) // 2
        reached = evaluate(chain, middle * direction) >= wanted
        last = torch.where(reached, middle, last)
        first = torch.where(reached, first, middle + 1)
    return Threshold((last * direction).T.contiguous().numpy(), direction.numpy())
