"""Layers: torch modules with their lowering to integer ops.

**Every tensor that flows between modules holds integer codes in a float carrier.** Inputs are raw pixels
(0..255, digits 0..16). A HEQ convolution computes ``conv(x, q)`` on integer codes ``q``, without the factor
``2/(n-1)`` of the paper: the batch norm that follows absorbs it. Activations return ``0 .. 2**bits - 1``.
Pooled sums are not divided. Scales exist only inside the per-channel affine function between an accumulator
and the next activation, and after the classifier.

That makes link 1 of the exactness chain exact: in float64 every accumulator is an integer below 2**53,
whatever the order of summation, so the only real arithmetic left is a per-channel monotone function of one
integer. Lowering finds its steps by evaluating it (``toolchain.layers.thresholds``), and the program equals
the float64 model on every input. In float32 accumulators are exact below 2**24; what differs there is
explained by ties of that function.

To add a layer: one module with its lower function beside it, and a row in the ``LAYERS`` of its file.
"""

from torch import nn

from toolchain.layers import activation, linear, norm, pixels, pool, shape, skips
from toolchain.layers.activation import Activation
from toolchain.layers.base import LoweringError, LowerRule
from toolchain.layers.blocks import ConvBlock, SkipBlock
from toolchain.layers.linear import (
    HEQClassifier,
    HEQConv2d,
    HEQLayer,
    HEQLinear,
    HEQQuaternionConv2d,
    HEQQuaternionLinear,
)
from toolchain.layers.norm import BatchNorm
from toolchain.layers.pixels import AppendGray, PixelNorm, PixelScale
from toolchain.layers.plain import QuaternionConv2d, QuaternionLinear, RealConv2d, RealLinear
from toolchain.layers.pool import GlobalSumPool, SumPool2d
from toolchain.layers.precision import set_precision
from toolchain.layers.prunable import Prunable, adopt_masks, prunable_layers
from toolchain.layers.skips import SKIPS, AddSkip, MuxSkip, NoSkip, OrSkip

FAMILIES = (linear, norm, activation, pool, skips, pixels, shape)

LAYERS: dict[type[nn.Module], LowerRule] = {
    layer: rule for family in FAMILIES for layer, rule in family.LAYERS.items()
}


def quantized_layers(model: nn.Module) -> dict[str, HEQLayer]:
    """The layers of ``model`` with quantized weights, by dotted path, in the order of definition."""
    return {path: m for path, m in model.named_modules() if isinstance(m, HEQLayer)}


__all__ = [
    "LAYERS",
    "SKIPS",
    "Activation",
    "AddSkip",
    "AppendGray",
    "BatchNorm",
    "ConvBlock",
    "GlobalSumPool",
    "HEQClassifier",
    "HEQConv2d",
    "HEQLayer",
    "HEQLinear",
    "HEQQuaternionConv2d",
    "HEQQuaternionLinear",
    "LoweringError",
    "MuxSkip",
    "NoSkip",
    "OrSkip",
    "PixelNorm",
    "PixelScale",
    "Prunable",
    "QuaternionConv2d",
    "QuaternionLinear",
    "RealConv2d",
    "RealLinear",
    "SkipBlock",
    "SumPool2d",
    "adopt_masks",
    "prunable_layers",
    "quantized_layers",
    "set_precision",
]
