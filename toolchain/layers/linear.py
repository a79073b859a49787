"""HEQ convolution, dense layer and classifier: integer weight codes times integer activation codes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Conv2d, Dense
from runtime.types import ELEMENT_LIMIT
from runtime.weights import Weights, code_step
from toolchain.layers.base import SCORES, Lowered, LowerRule, Site
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import (
    STEP_RULES,
    codes,
    heq,
    histogram,
    median,
    step_of,
    straight_through,
    top_level,
)

Pair = int | tuple[int, int]


def pair_of(value: Pair) -> tuple[int, int]:
    """``value`` for rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class HEQLayer(PhasedModule):
    """What HEQ layers share: latent weights, one step per layer, and codes.

    ``weight``: latent weights, kept within [-1, 1] by ``clamp_latent``; initialized uniformly within
    ``sqrt(3 / fan_in)``. ``step``: scalar buffer, from the rule on the initial weights at first.
    ``levels``: odd, 3..127, or even, 2..64. ``rule``: a row of ``STEP_RULES``. ``zero_median``: whether an
    update of the step first shifts the latent weights to a median of 0 (an open question of the paper).
    Raises InputError for bad options, a dimension below 1, or more than ``ELEMENT_LIMIT`` weights, before
    anything is allocated.
    """

    step: Tensor
    zero_median: bool = False

    def __init__(self, shape: tuple[int, ...], levels: int, rule: str) -> None:
        super().__init__()
        self._check_shape(shape)
        top_level(levels)
        if rule not in STEP_RULES:
            raise InputError(f"step rule must be one of {', '.join(STEP_RULES)}, not {rule!r}")
        self.levels = levels
        self.rule = rule
        bound = min(1.0, math.sqrt(3 / math.prod(shape[1:])))
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.register_buffer("step", torch.tensor(1.0))
        self.update_step()

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        offender = f"{list(shape)} of {type(self).__name__}"
        if min(shape) < 1:
            raise InputError(f"weights must have dimensions of at least 1, not {offender}; check the sizes")
        if math.prod(shape) > ELEMENT_LIMIT:
            raise InputError(
                f"weights may have at most {ELEMENT_LIMIT} elements, not {offender}; use smaller sizes"
            )

    @torch.no_grad()
    def update_step(self) -> None:
        """Set the step from the present latent weights; the trainer says how often (paper: every epoch)."""
        if self.zero_median:
            self.weight.sub_(median(self.weight))
        self.step.fill_(step_of(self.weight, self.levels, self.rule))

    @torch.no_grad()
    def clamp_latent(self) -> None:
        """Clip the latent weights to [-1, 1], where their gradient lives; call it after every update."""
        self.weight.clamp_(-1, 1)

    def codes(self) -> Tensor:
        """Integer codes of the weights: int8, shape of ``weight``."""
        return codes(self.weight, self.step, self.levels).to(torch.int8)

    def histogram(self) -> Tensor:
        """How often each code occurs: int64, shape (levels,)."""
        return histogram(self.codes(), self.levels)

    def effective_weight(self) -> Tensor:
        """The weights ``forward`` uses: codes, or in full precision what they round, unclipped."""
        if self.quantized:
            return heq(self.weight, self.step, self.levels)
        return self.weight * (code_step(self.levels) / self.step)

    def constant(self) -> Weights:
        """The codes as a constant of the program."""
        return Weights(self.codes().cpu().numpy(), self.levels)

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, levels={self.levels}, rule={self.rule!r}"


class HEQConv2d(HEQLayer):
    """Two-dimensional convolution with HEQ weights, zero padding and no bias.

    Forward: ``conv(x, q)`` with integer codes ``q``; the scale is left to the batch norm that follows.
    Input: (N, in, H, W) integer codes in a float tensor. Output: exact integers as long as the dtype
    holds them (2**24 in float32, 2**53 in float64). Source: arXiv 2501.04517.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        *,
        dilation: Pair = 1,
        groups: int = 1,
        levels: int = 3,
        rule: str = "quantile-span",
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise InputError(
                f"groups must divide the channels, not {groups} with {in_channels} and {out_channels}"
            )
        super().__init__((out_channels, in_channels // groups, *pair_of(kernel_size)), levels, rule)
        self.stride = pair_of(stride)
        self.padding = pair_of(padding)
        self.dilation = pair_of(dilation)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        weight = self.effective_weight()
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)


class HEQLinear(HEQLayer):
    """Dense layer with HEQ weights and no bias.

    Forward: ``x @ q.T`` with integer codes ``q``. Input: (N, in) integer codes in a float tensor.
    Source: arXiv 2501.04517.
    """

    def __init__(
        self, in_features: int, out_features: int, levels: int = 3, rule: str = "quantile-span"
    ) -> None:
        super().__init__((out_features, in_features), levels, rule)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight())


class HEQClassifier(HEQLinear):
    """The last layer: integer scores, times one learnable positive scale that makes them logits.

    Forward: ``scores = x @ q.T + round(bias / scale)``, ``logits = scores * scale`` with
    ``scale = exp(log_scale)``. The latent ``bias`` is in units of logits; gradients pass the rounding
    straight through, so ``dlogits/dbias = 1``. The scale is one multiplication after all integer work:
    it changes no decision and is no part of a program.

    Input: (N, in) integer codes 0..``input_max``; ``input_max`` only sets the initial scale, at which
    random codes give logits of the order of 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        levels: int = 3,
        rule: str = "quantile-span",
        input_max: int = 1,
    ) -> None:
        if input_max < 1:
            raise InputError(f"input_max must be at least 1, the largest code of an input, not {input_max}")
        super().__init__(in_features, out_features, levels, rule)
        scale = 1 / (top_level(levels) * input_max * math.sqrt(in_features))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.zeros(out_features))

    @property
    def scale(self) -> Tensor:
        """What one unit of a score is worth in logits; positive."""
        return self.log_scale.exp()

    def effective_bias(self) -> Tensor:
        """The bias ``forward`` uses, in units of scores: an integer, or unrounded in full precision."""
        bias = self.bias / self.scale.detach()
        return straight_through(bias.round(), bias) if self.quantized else bias

    def bias_codes(self) -> Tensor:
        """The integer bias: int64, shape (out,)."""
        return (self.bias / self.scale).detach().round().long()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # logits keep their precision in mixed training
            scores = super().forward(x.to(self.weight.dtype)) + self.effective_bias()
            return scores * self.scale


def lower_conv(site: Site, module: HEQConv2d, x: Lowered) -> Lowered:
    """``Conv2d`` on the codes."""
    op = Conv2d(
        module.constant(),
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
    )
    return Lowered(site.emit(op, site.integers(x)))


def lower_linear(site: Site, module: HEQLinear, x: Lowered) -> Lowered:
    """``Dense`` on the codes."""
    return Lowered(site.emit(Dense(module.constant()), site.integers(x)))


def lower_classifier(site: Site, module: HEQClassifier, x: Lowered) -> Lowered:
    """``Dense`` on the codes with the integer bias; the scale stays behind."""
    bias = module.bias_codes().cpu().numpy().astype(np.int64)
    scores = site.emit(Dense(module.constant(), bias), site.integers(x), name=SCORES)
    return Lowered(scores, logits=True)


LAYERS: dict[type[nn.Module], LowerRule] = {
    HEQConv2d: lower_conv,
    HEQLinear: lower_linear,
    HEQClassifier: lower_classifier,
}
