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

from toolchain.layers import (
    activation,
    attention,
    connections,
    layer_norm,
    linear,
    lookup_neurons,
    norm,
    norm_codes,
    pixels,
    pool,
    quadratic,
    quotient,
    shape,
    skips,
    tokens,
)
from toolchain.layers.activation import Activation
from toolchain.layers.attention import IntegerAttention
from toolchain.layers.base import LoweringError, LowerRule
from toolchain.layers.blocks import ConvBlock, SkipBlock
from toolchain.layers.connections import ResidualConnection, set_connection
from toolchain.layers.layer_norm import IntegerLayerNorm
from toolchain.layers.linear import (
    HEQClassifier,
    HEQConv2d,
    HEQLayer,
    HEQLinear,
    HEQQuaternionConv2d,
    HEQQuaternionLinear,
)
from toolchain.layers.lookup_neurons import LookupNeurons
from toolchain.layers.norm import BatchNorm
from toolchain.layers.norm_codes import Affine, NormCodes, batch_norm_codes
from toolchain.layers.pixels import AppendGray, PixelBits, PixelNorm, PixelScale
from toolchain.layers.plain import QuaternionConv2d, QuaternionLinear, RealConv2d, RealLinear
from toolchain.layers.pool import GlobalSumPool, SumPool2d
from toolchain.layers.precision import set_precision
from toolchain.layers.prunable import Prunable, adopt_masks, prunable_layers
from toolchain.layers.quadratic import QuadraticCodes, quadratic_transform
from toolchain.layers.quotient import QuotientConnection, QuotientEntry, QuotientRead, QuotientScale
from toolchain.layers.residual import STREAMS, ResidualBlock, StreamOptions, make_stream
from toolchain.layers.skips import SKIPS, AddSkip, MuxSkip, NoSkip, OrSkip
from toolchain.layers.tokens import GeluCodes, LinearCodes, PositionCodes

FAMILIES = (
    linear,
    norm,
    norm_codes,
    quadratic,
    activation,
    pool,
    skips,
    connections,
    quotient,
    layer_norm,
    attention,
    tokens,
    lookup_neurons,
    pixels,
    shape,
)

LAYERS: dict[type[nn.Module], LowerRule] = {
    layer: rule for family in FAMILIES for layer, rule in family.LAYERS.items()
}


def quantized_layers(model: nn.Module) -> dict[str, HEQLayer]:
    """The layers of ``model`` with quantized weights, by dotted path, in the order of definition."""
    return {path: m for path, m in model.named_modules() if isinstance(m, HEQLayer)}


def latent_layers(model: nn.Module) -> list[HEQLayer | LookupNeurons]:
    """The layers of ``model`` whose latent parameters are to be clipped after every update."""
    return [m for m in model.modules() if isinstance(m, (HEQLayer, LookupNeurons))]


__all__ = [
    "LAYERS",
    "SKIPS",
    "STREAMS",
    "Activation",
    "AddSkip",
    "Affine",
    "AppendGray",
    "BatchNorm",
    "ConvBlock",
    "GeluCodes",
    "GlobalSumPool",
    "HEQClassifier",
    "HEQConv2d",
    "HEQLayer",
    "HEQLinear",
    "HEQQuaternionConv2d",
    "HEQQuaternionLinear",
    "IntegerAttention",
    "IntegerLayerNorm",
    "LinearCodes",
    "LookupNeurons",
    "LoweringError",
    "MuxSkip",
    "NoSkip",
    "NormCodes",
    "OrSkip",
    "PixelBits",
    "PixelNorm",
    "PixelScale",
    "PositionCodes",
    "Prunable",
    "QuadraticCodes",
    "QuaternionConv2d",
    "QuaternionLinear",
    "QuotientConnection",
    "QuotientEntry",
    "QuotientRead",
    "QuotientScale",
    "RealConv2d",
    "RealLinear",
    "ResidualBlock",
    "ResidualConnection",
    "SkipBlock",
    "StreamOptions",
    "SumPool2d",
    "adopt_masks",
    "batch_norm_codes",
    "latent_layers",
    "make_stream",
    "prunable_layers",
    "quadratic_transform",
    "quantized_layers",
    "set_connection",
    "set_precision",
]
