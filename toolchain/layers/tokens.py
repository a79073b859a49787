"""Tokens as images of one column, (N, D, T, 1): linear layers, nonlinearity and position of each.

A linear layer of tokens is then a 1x1 convolution, and everything per channel works unchanged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Requantize, Reshape
from runtime.weights import code_step
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.linear import HEQConv2d
from toolchain.layers.norm_codes import Affine
from toolchain.layers.precision import PhasedModule
from toolchain.layers.table import Table
from toolchain.quantizers import clipped_straight_through, top_code


class LayerAffine(Affine):
    """Accumulators of a HEQ layer in real units: ``y = x * weight * scale + bias``, ``weight`` 1 at first.

    ``scale``: what an input code is worth, ``input_step``, times what a weight code of ``layer`` is worth,
    its step. It follows the step, so that what the layer computes does not jump when the step is set anew;
    behind a batch norm it would not either. As latent weights start with a variance of ``1 / fan_in``,
    inputs of real variance 1 give outputs of variance 1 (0.9 with three levels).
    """

    def __init__(self, layer: HEQConv2d, input_step: float) -> None:
        super().__init__(layer.weight.shape[0], input_step / code_step(layer.levels))
        self._layer = (layer,)  # in a tuple, so that it is no submodule a second time

    def slope(self) -> Tensor:
        """Real value of one unit of an accumulator, shape (C,)."""
        return super().slope() * self._layer[0].step


class LinearCodes(nn.Sequential):
    """A HEQ convolution and the codes of its real output, without statistics of a batch.

    ``layer``: 1x1 for tokens. ``input_step``: the real value of one input code. ``codes``: from the
    ``LayerAffine`` to what makes codes with it, such as a ``NormCodes``.
    """

    def __init__(self, layer: HEQConv2d, input_step: float, codes: Callable[[Affine], nn.Module]) -> None:
        super().__init__(OrderedDict(layer=layer, codes=codes(LayerAffine(layer, input_step))))


def _signed_top(bits: int, what: str) -> int:
    if top_code(bits) == 1:
        raise InputError(f"{what} needs signed codes of 2 to 8 bits, not {bits}")
    return top_code(bits) >> 1


class GeluCodes(PhasedModule):
    """GELU of signed codes, as codes of the same step: an integer table per tensor.

    Input and output: codes of ``bits`` bits, the largest worth ``limit``, of any shape. Forward:
    ``round(gelu(x * step) / step)``; full precision does not round. Gradient: that of GELU.
    Source: Hendrycks and Gimpel, arXiv 1606.08415. Raises InputError for bits outside 2..8.
    """

    def __init__(self, bits: int, limit: float) -> None:
        super().__init__()
        self.top = _signed_top(bits, "GELU")
        self.step = limit / self.top
        self.table = Table(self.real, -self.top, self.top)

    def real(self, x: Tensor) -> Tensor:
        """GELU in units of codes."""
        return F.gelu(x * self.step) / self.step

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x) if self.quantized else self.real(x)


class PositionCodes(PhasedModule):
    """A learned position embedding, and patches as tokens: (N, D, H, W) to (N, D, H * W, 1).

    ``table``: (D, T), in real units, of deviation 1/4 at first. Forward: ``clip(x + round(table / step))``
    on signed codes of ``bits`` bits, the largest worth ``limit``; full precision neither rounds nor clips.
    Raises InputError for bits outside 2..8.
    """

    def __init__(self, channels: int, tokens: int, bits: int, limit: float) -> None:
        super().__init__()
        self.top = _signed_top(bits, "a position embedding")
        self.step = limit / self.top
        self.table = nn.Parameter(torch.randn(channels, tokens) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(*self._shape(len(x)))
        place = (self.table / self.step)[..., None]
        if not self.quantized:
            return x + place
        hard = (x.detach() + place.detach().round()).clamp_(-self.top, self.top)
        return clipped_straight_through(hard, x + place, -self.top, self.top)

    def _shape(self, *batch: int) -> tuple[int, ...]:
        return (*batch, *self.table.shape, 1)


def lower_gelu(site: Site, module: GeluCodes, x: Lowered) -> Lowered:
    """``Lookup``."""
    value, interval = site.integers(x), site.type_of(x).interval
    if interval.magnitude > module.top:
        raise site.error(f"GELU takes codes within -{module.top}..{module.top}, not {interval}")
    return Lowered(site.emit(module.table.lookup(), value))


def lower_position(site: Site, module: PositionCodes, x: Lowered) -> Lowered:
    """``Requantize`` with an offset for each element, all of them laid out as channels."""
    value, type_ = site.integers(x), site.type_of(x)
    if type_.channels != len(module.table) or type_.size != module.table.numel():
        raise site.error(f"the position embedding is {list(module.table.shape)}, its operand is {type_}")
    offset = (module.table / module.step).detach().round().long().reshape(-1).numpy()
    ones = np.ones_like(offset)
    flat = site.emit(Reshape((offset.size,)), value)
    placed = site.emit(Requantize(ones, offset, 0 * ones, -module.top, module.top), flat)
    return Lowered(site.emit(Reshape((*module.table.shape, 1)), placed))


LAYERS: dict[type[nn.Module], LowerRule] = {GeluCodes: lower_gelu, PositionCodes: lower_position}
