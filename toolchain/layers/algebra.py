"""Number systems of weights: real, and quaternions that multiply from the left (arXiv 2308.06780).

A layer stores its weights as ``blocks`` arrays of one shape, stacked along the output axis, and computes
with the real matrix they stand for. Channels of quaternion layers are blocked: ``[all r | all i | all j |
all k]``, which flattening keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from runtime.errors import InputError
from runtime.weights import HAMILTON


@cache
def _signs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(16, 4): which component, with which sign, each block of the Hamilton matrix is, row by row."""
    signs = torch.zeros(16, 4)
    for block, (component, sign) in enumerate(term for row in HAMILTON for term in row):
        signs[block, component] = sign
    return signs.to(device, dtype)


def hamilton(stacked: Tensor) -> Tensor:
    """The real matrix of four component arrays: (out, in / 4, ...) to (out, in, ...), differentiable.

    Rows are output r, i, j, k; columns input r, i, j, k; a weight multiplies from the left:
    ``[[r, -i, -j, -k], [i, r, -k, j], [j, k, r, -i], [k, -j, i, r]]``. As a product with a matrix of signs
    it is exact in every dtype, and mixed precision converts the components, not their copies.
    """
    outputs, inputs, *kernel = stacked.shape
    blocks = _signs(stacked.dtype, stacked.device) @ stacked.reshape(4, -1)
    apart = blocks.reshape(4, 4, outputs // 4, inputs, *kernel)
    return apart.transpose(1, 2).reshape(outputs, 4 * inputs, *kernel)


@torch.no_grad()
def kaiming(weight: Tensor) -> None:
    """PyTorch's own initialization: uniform within ``1 / sqrt(fan_in)``."""
    bound = 1 / math.sqrt(weight[0].numel())
    weight.uniform_(-bound, bound)


@torch.no_grad()
def polar(stacked: Tensor) -> None:
    """Random quaternions of random phase (arXiv 2308.06780).

    Magnitude ``m``: chi with 4 degrees of freedom, times ``1 / sqrt(8 n k^2)`` for ``n`` quaternion input
    channels and ``k^2`` taps. Phase ``t``: uniform in [-pi, pi]. Axis ``u``: three uniforms in [-1, 1],
    normalized. ``w = m cos t + m sin t (u1 i + u2 j + u3 k)``; so r has three times the variance of i, j,
    k.
    """
    components = stacked.unflatten(0, (4, -1))
    magnitude = torch.randn_like(components).square_().sum(0).sqrt_() / math.sqrt(8 * stacked[0].numel())
    phase = torch.empty_like(magnitude).uniform_(-math.pi, math.pi)
    axis = torch.empty_like(components[1:]).uniform_(-1, 1)
    axis /= axis.norm(dim=0)
    components[0] = magnitude * phase.cos()
    components[1:] = magnitude * phase.sin() * axis


@dataclass(frozen=True, slots=True)
class Algebra:
    """A number system: ``blocks`` component arrays, the real matrix they stand for, and their start."""

    name: str
    blocks: int
    expand: Callable[[Tensor], Tensor]
    initialize: Callable[[Tensor], None]

    def stored_shape(self, shape: tuple[int, ...], owner: str) -> tuple[int, ...]:
        """Shape of the stored weights for a real matrix (out, in, ...).

        Raises InputError, naming ``owner``, unless ``blocks`` divides both widths.
        """
        for what, width in zip(("outputs", "inputs"), shape, strict=False):
            if width % self.blocks:
                raise InputError(
                    f"{what} of a {owner} must be a multiple of {self.blocks}, not {width}; "
                    "widths count real channels, r, i, j and k together"
                )
        return (shape[0], shape[1] // self.blocks, *shape[2:])


REAL = Algebra("real", 1, lambda weight: weight, kaiming)
QUATERNION = Algebra("quaternion", 4, hamilton, polar)
ALGEBRAS = {algebra.name: algebra for algebra in (REAL, QUATERNION)}
