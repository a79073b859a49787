"""What layers with weights that can be pruned share: the mask, and how much each weight matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers.algebra import REAL, Algebra

MASK = "mask"
"""Last part of a mask's name in a state dict."""


def _of_weight(magnitude: Tensor, _algebra: Algebra) -> Tensor:
    return magnitude


def _of_quaternion(magnitude: Tensor, algebra: Algebra) -> Tensor:
    components = magnitude.unflatten(0, (algebra.blocks, -1))
    together = components.square().mean(0, keepdim=True).sqrt()
    return together.expand_as(components).reshape(magnitude.shape)


def _of_channel(magnitude: Tensor, algebra: Algebra) -> Tensor:
    components = magnitude.unflatten(0, (algebra.blocks, -1))
    others = [axis for axis in range(components.dim()) if axis != 1]
    together = components.square().mean(others, keepdim=True).sqrt()
    return together.expand_as(components).reshape(magnitude.shape)


GRANULARITIES: dict[str, Callable[[Tensor, Algebra], Tensor]] = {
    "weight": _of_weight,
    "quaternion": _of_quaternion,
    "channel": _of_channel,
}
"""What is pruned as one: a weight (one component of a quaternion), a whole quaternion, an output channel
(of real numbers, or of quaternions). Scores are root mean squares over it."""


class Prunable(nn.Module):
    """A layer whose weights can be pruned.

    ``weight``: (out, in, ...) real, or the four component arrays of quaternions stacked to
    (out, in / 4, ...). ``mask``: None until pruned, then bool of the same shape, False where pruned, and
    part of the state. ``algebra``: what the weights are.
    """

    algebra: Algebra = REAL
    weight: nn.Parameter
    mask: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(MASK, None)

    @torch.no_grad()
    def set_mask(self, mask: Tensor) -> None:
        """Prune the weights where ``mask`` is False; they stay 0. Raises InputError for another shape."""
        if mask.shape != self.weight.shape or mask.dtype != torch.bool:
            raise InputError(
                f"a mask must be torch.bool of shape {list(self.weight.shape)}, not {mask.dtype} of "
                f"shape {list(mask.shape)}"
            )
        self.mask = mask.to(self.weight.device, copy=True)
        self.weight.mul_(self.mask)

    def masked(self, weight: Tensor) -> Tensor:
        """``weight`` with zeros where pruned; pruned weights get no gradient."""
        return weight if self.mask is None else weight * self.mask

    def survivors(self) -> Tensor:
        """How many weights are not pruned: a scalar int64."""
        kept = torch.ones_like(self.weight, dtype=torch.bool) if self.mask is None else self.mask
        return kept.sum()

    @torch.no_grad()
    def scores(self, granularity: str = "weight") -> Tensor:
        """How much each weight matters, of the weight's shape, for a row of ``GRANULARITIES``."""
        if granularity not in GRANULARITIES:
            raise InputError(f"granularity must be one of {', '.join(GRANULARITIES)}, not {granularity!r}")
        return GRANULARITIES[granularity](self.masked(self.weight).abs(), self.algebra)


def prunable_layers(model: nn.Module) -> dict[str, Prunable]:
    """The layers of ``model`` with weights that can be pruned, by dotted path, in the order of
    definition."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Prunable)}


def mask_layer(path: str, layer: Prunable, mask: Tensor) -> None:
    """``layer.set_mask(mask)``. Raises InputError that starts with the layer's ``path``."""
    try:
        layer.set_mask(mask)
    except InputError as error:
        raise InputError(f"layer {path}: {error}") from None


def adopt_masks(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make room in ``model`` for the masks among ``state``, and none for others; contents stay to be
    loaded.

    Masks of layers that ``model`` does not have are left for ``load_state_dict`` to complain about.
    """
    for path, layer in prunable_layers(model).items():
        name = f"{path}.{MASK}" if path else MASK
        layer.mask = torch.ones_like(layer.weight, dtype=torch.bool) if name in state else None
