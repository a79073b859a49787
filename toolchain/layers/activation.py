"""Activations: real values to integer codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.precision import PhasedModule
from toolchain.layers.thresholds import search_thresholds
from toolchain.quantizers import activation_codes, relaxed_activation, top_code

KINDS = ("codes", "relu")


class Activation(PhasedModule):
    """Integer codes ``0 .. 2**bits - 1`` of normalized values, with straight-through gradients.

    ``bits`` 1 is the Heaviside step, 2 to 8 the uniform quantizer on [0, 1] (``toolchain.quantizers``). In
    full precision: their clipped linear relaxation over the same range.

    ``kind="relu"`` is the float32 twin's activation: ``max(z, 0)`` in full precision; it has no integer
    codes and cannot be lowered. Raises InputError for bits outside 1..8 or another kind.
    """

    def __init__(self, bits: int = 1, kind: str = "codes") -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"activation kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.top = top_code(bits)
        self.bits = bits
        self.kind = kind

    def forward(self, z: Tensor) -> Tensor:
        if self.kind == "relu":
            if self.quantized:
                raise InputError('relu has no integer codes; use set_precision(model, "float") with it')
            return torch.relu(z)
        return activation_codes(z, self.bits) if self.quantized else relaxed_activation(z, self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, kind={self.kind!r}"


def lower_activation(site: Site, module: Activation, x: Lowered) -> Lowered:
    """``Threshold``: everything pending and the activation itself, as integer comparisons."""
    if module.kind == "relu":
        raise site.error("relu has no integer codes; build the model without its float32 twin option")
    operand = site.type_of(site.unscaled(x))
    chain = (*x.pending, module)
    op = search_thresholds(chain, operand.interval, operand.channels, module.top)
    return Lowered(site.emit(op, x.value))


LAYERS: dict[type[nn.Module], LowerRule] = {Activation: lower_activation}
