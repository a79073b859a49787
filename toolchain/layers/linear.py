"""HEQ convolution, dense layer and classifier: integer weight codes times integer activation codes.

Weights are real or quaternions (``toolchain.layers.algebra``), and can be pruned.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Conv2d, Dense
from runtime.weights import Weights, code_step
from toolchain.layers.algebra import QUATERNION, REAL
from toolchain.layers.base import SCORES, Lowered, LowerRule, Site
from toolchain.layers.precision import PhasedModule
from toolchain.layers.prunable import Prunable
from toolchain.layers.sizes import Pair, check_shape, pair_of
from toolchain.quantizers import (
    STEP_RULES,
    codes,
    heq,
    histogram,
    median,
    sparse_step,
    sparse_steps,
    step_of,
    straight_through,
    top_level,
)

STEPS = ("layer", "component", "channel")
"""One step for a layer, one for each component array of its quaternions, or one for each output channel."""


class HEQLayer(PhasedModule, Prunable):
    """What HEQ layers share: latent weights, their steps, and codes.

    ``weight``: latent weights, kept within [-1, 1] by ``clamp_latent``; initialized uniformly within
    ``min(1, sqrt(3 / fan_in))``, quaternions as their paper does. ``step``: buffer, scalar, (4,) or (out,),
    from the rule on the initial weights at first; pruned weights do not count. ``levels``: odd, 3..127, or
    even, 2..64. ``rule``: a row of ``STEP_RULES``. ``steps``: a row of ``STEPS``; codes of one layer share
    one unit either way. ``zero_median``: whether an update of the step first shifts the latent weights to a
    median of 0 (an open question of the paper). ``density``: the share of the weights that an update leaves
    different from zero, of the layer or of each channel, those of largest magnitude, in place of the rule;
    None to equalize. Raises InputError for bad options, a dimension below 1, widths that do not fit the
    algebra, or more than ``ELEMENT_LIMIT`` weights, before anything is allocated.
    """

    step: Tensor
    zero_median: bool = False

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        rule: str,
        steps: str = "layer",
        density: float | None = None,
    ) -> None:
        super().__init__()
        check_shape(shape, type(self).__name__)
        stored = self.algebra.stored_shape(shape, type(self).__name__)
        top_level(levels)
        if rule not in STEP_RULES:
            raise InputError(f"step rule must be one of {', '.join(STEP_RULES)}, not {rule!r}")
        if steps not in STEPS:
            raise InputError(f"steps must be one of {', '.join(STEPS)}, not {steps!r}")
        if density is not None and (levels % 2 == 0 or steps == "component"):
            raise InputError(f"a density needs an odd number of levels and one step a layer, not {levels}")
        if steps == "channel" and (density is None or self.algebra is not REAL):
            raise InputError("steps of channels need a density and real weights")
        self.levels = levels
        self.rule = rule
        self.density = density
        self.weight = nn.Parameter(torch.empty(stored))
        self._initialize(math.prod(shape[1:]))
        shapes = {"layer": (), "component": (self.algebra.blocks,), "channel": (len(self.weight),)}
        self.register_buffer("step", torch.ones(shapes[steps]))
        self.update_step()

    @torch.no_grad()
    def _initialize(self, fan_in: int) -> None:
        if self.algebra is REAL:
            bound = min(1.0, math.sqrt(3 / fan_in))
            self.weight.uniform_(-bound, bound)
        else:
            self.algebra.initialize(self.weight)

    @torch.no_grad()
    def set_mask(self, mask: Tensor) -> None:
        """Prune the weights where ``mask`` is False. Raises InputError if 0 is no code of the layer."""
        if self.levels % 2 == 0:
            raise InputError(
                f"only weights with an odd number of levels can be pruned, not {self.levels}: "
                "0 must be a code"
            )
        super().set_mask(mask)

    @torch.no_grad()
    def update_step(self, density: float | None = None) -> None:
        """Set the steps from the surviving latent weights; the trainer says how often (paper: every
        epoch). ``density``: in place of the layer's own; for layers that have one."""
        density = density or self.density
        if self.zero_median:
            self.weight.copy_(self.masked(self.weight - median(self._surviving(self.weight, self.mask))))
        if self.step.dim() == 0:
            self.step.fill_(self._step_of(self._surviving(self.weight, self.mask), density))
            self._make_room()
            return
        if density is not None:
            self.step.copy_(sparse_steps(self.masked(self.weight), density))
            self._make_room()
            return
        blocks = len(self.step)
        masks = [None] * blocks if self.mask is None else self.mask.chunk(blocks)
        for index, (part, mask) in enumerate(zip(self.weight.chunk(blocks), masks, strict=True)):
            self.step[index] = self._step_of(self._surviving(part, mask), density)

    def _make_room(self) -> None:
        """Scale sparse weights, which keep their codes, so that no step is above 1.

        Else those that are to be told apart, the largest, would all end where latent weights are clipped.
        """
        if self.density is not None:
            self.weight.div_(self.step_of_each().clamp(min=1))
            self.step.clamp_(max=1)

    def _step_of(self, weight: Tensor, density: float | None) -> float:
        if density is not None:
            return sparse_step(weight, density)
        return step_of(weight, self.levels, self.rule)

    @staticmethod
    def _surviving(weight: Tensor, mask: Tensor | None) -> Tensor:
        """The weights that are not pruned; all of them where none is left, as a step must be something."""
        return weight if mask is None or not bool(mask.any()) else weight[mask]

    @torch.no_grad()
    def clamp_latent(self) -> None:
        """Clip the latent weights to [-1, 1], where their gradient lives; call it after every update."""
        self.weight.clamp_(-1, 1)

    def step_of_each(self) -> Tensor:
        """The step of every weight: scalar, or one a row of the stored weights, to broadcast."""
        if self.step.dim() == 0:
            return self.step
        rows = self.step.repeat_interleave(len(self.weight) // len(self.step))
        return rows.reshape(-1, *(1,) * (self.weight.dim() - 1))

    def stored_codes(self) -> Tensor:
        """Integer codes of the stored weights, 0 where pruned: int8, shape of ``weight``."""
        return self.masked(codes(self.weight, self.step_of_each(), self.levels)).to(torch.int8)

    def codes(self) -> Tensor:
        """Integer codes of the real matrix: int8, (out, in, ...)."""
        return self.algebra.expand(self.stored_codes().float()).to(torch.int8)

    def histogram(self) -> Tensor:
        """How often each code occurs among the surviving weights: int64, shape (levels,)."""
        return histogram(self._surviving(self.stored_codes(), self.mask), self.levels)

    def effective_weight(self) -> Tensor:
        """The real matrix ``forward`` uses: of codes, or in full precision of what they round,
        unclipped."""
        if self.quantized:
            stored = heq(self.weight, self.step_of_each(), self.levels)
        else:
            stored = self.weight * (code_step(self.levels) / self.step_of_each())
        return self.algebra.expand(self.masked(stored))

    def constant(self) -> Weights:
        """The codes as a constant of the program; quaternions are stored as their components."""
        codes = self.stored_codes().cpu().numpy()
        if self.algebra is REAL:
            return Weights(codes, self.levels)
        return Weights.hamilton(codes.reshape(4, -1, *codes.shape[1:]), self.levels)

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
        steps: str = "layer",
        density: float | None = None,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise InputError(
                f"groups must divide the channels, not {groups} with {in_channels} and {out_channels}"
            )
        if groups > 1 and self.algebra is not REAL:
            raise InputError(f"{type(self).__name__} has no groups; leave groups out, it is {groups}")
        shape = (out_channels, in_channels // groups, *pair_of(kernel_size))
        super().__init__(shape, levels, rule, steps, density)
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
        self,
        in_features: int,
        out_features: int,
        levels: int = 3,
        rule: str = "quantile-span",
        steps: str = "layer",
        density: float | None = None,
    ) -> None:
        super().__init__((out_features, in_features), levels, rule, steps, density)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight())


class HEQQuaternionConv2d(HEQConv2d):
    """Convolution of quaternions with HEQ components: multiplication from the left, blocked channels.

    ``in_channels`` and ``out_channels`` count real channels. Source: arXiv 2308.06780 for the product; its
    quantization is ours.
    """

    algebra = QUATERNION


class HEQQuaternionLinear(HEQLinear):
    """Dense layer of quaternions with HEQ components; see ``HEQQuaternionConv2d``."""

    algebra = QUATERNION


class HEQClassifier(HEQLinear):
    """The last layer: integer scores, times one learnable positive scale that makes them logits.

    Forward: ``scores = x @ q.T + round(bias / scale)``, ``logits = scores * scale`` with
    ``scale = exp(log_scale)``. The latent ``bias`` is in units of logits; gradients pass the rounding
    straight through, so ``dlogits/dbias = 1``. The scale is one multiplication after all integer work:
    it changes no decision and is no part of a program.

    Input: (N, in) integer codes 0..``input_max``; ``input_max`` only sets the initial scale, at which
    random codes give logits of the order of 1. ``density``: see ``HEQLayer``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        levels: int = 3,
        rule: str = "quantile-span",
        input_max: int = 1,
        density: float | None = None,
    ) -> None:
        if input_max < 1:
            raise InputError(f"input_max must be at least 1, the largest code of an input, not {input_max}")
        super().__init__(in_features, out_features, levels, rule, density=density)
        summed = in_features * (1 if density is None else density)
        scale = 1 / (top_level(levels) * input_max * math.sqrt(summed))
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
    HEQQuaternionConv2d: lower_conv,
    HEQQuaternionLinear: lower_linear,
    HEQClassifier: lower_classifier,
}
