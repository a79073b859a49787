"""Batch normalization: the only place, besides the classifier's scale, where real numbers occur."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.types import ELEMENT_LIMIT
from toolchain.layers.base import Lowered, LowerRule, Site


class BatchNorm(nn.Module):
    """Batch normalization of (N, C) or (N, C, H, W), per channel.

    Training: ``F.batch_norm``. Evaluation: ``(x - mean) * (weight / sqrt(var + eps)) + bias`` as separately
    rounded elementwise steps. Each step is monotone in ``x``, so their composition is one well-defined
    monotone function of the accumulator, the same for every tensor shape (a fused kernel may round
    differently for each). That function is what the threshold search evaluates in float64.

    Raises InputError for channels outside 1..``ELEMENT_LIMIT``.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        if not 1 <= channels <= ELEMENT_LIMIT:
            raise InputError(f"BatchNorm channels must be within 1..{ELEMENT_LIMIT}, not {channels}")
        self.channels = channels
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def slope(self) -> Tensor:
        """``weight / sqrt(var + eps)`` of evaluation mode, shape (C,)."""
        return self.weight / torch.sqrt(self.running_var + self.eps)

    def intercept(self) -> Tensor:
        """Value of evaluation mode at 0, shape (C,)."""
        return self.bias - self.running_mean * self.slope()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
        shape = (1, -1) + (1,) * (x.dim() - 2)
        centred = x - self.running_mean.view(shape)
        return centred * self.slope().view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}"


def lower_batch_norm(site: Site, module: BatchNorm, x: Lowered) -> Lowered:
    """Nothing is emitted: the norm waits for the activation that turns it into thresholds."""
    channels = site.type_of(site.unscaled(x)).channels
    if channels != module.channels:
        raise site.error(f"BatchNorm has {module.channels} channels, its operand has {channels}")
    values = torch.stack([module.running_mean, module.slope(), module.bias])
    if not bool(torch.isfinite(values).all()):
        raise site.error("BatchNorm must have finite statistics and a positive variance; retrain the model")
    return Lowered(x.value, (*x.pending, module))


LAYERS: dict[type[nn.Module], LowerRule] = {BatchNorm: lower_batch_norm}
