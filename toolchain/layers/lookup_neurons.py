"""Neurons that are tables: any function of a few bits, one LUT of an FPGA each.

The bits that a neuron reads are drawn once and never change; what it answers to each of their patterns is
learned, as in DWN (arXiv 2410.11112). In the program it is two ops: a ``Dense`` with powers of two for
weights numbers the patterns, which in gates is wires, and a ``Lookup`` has the answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Dense, Lookup
from runtime.types import Interval
from runtime.weights import Weights
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.sizes import check_shape
from toolchain.quantizers import straight_through

MAX_FAN_IN = 6
"""Bits that a neuron can read: 2**5 is the largest power of two that a weight can be. A LUT6 has six."""

INITIAL = 0.3
"""Bound of the initial latent entries."""


def check_fan_in(fan_in: int, available: int) -> None:
    """Raise InputError unless a neuron can read ``fan_in`` different bits of ``available``."""
    if not 1 <= fan_in <= MAX_FAN_IN:
        raise InputError(f"fan_in must be within 1..{MAX_FAN_IN}, not {fan_in}")
    if fan_in > available:
        raise InputError(f"fan_in must be at most the {available} bits there are, not {fan_in}")


def draw_inputs(shape: tuple[int, int, int], neurons: int, fan_in: int, window: int) -> Tensor:
    """Which elements of flattened images each neuron reads: int64, shape (neurons, fan_in), rising.

    ``shape``: (C, H, W). A neuron's elements are different ones of a window of ``window`` x ``window``
    positions, all channels, that lies anywhere in the image; a window larger than the image is all of it.
    Raises InputError.
    """
    channels, height, width = shape
    if window < 1:
        raise InputError(f"window must be at least 1, not {window}")
    rows, columns = min(window, height), min(window, width)
    available = channels * rows * columns
    check_fan_in(fan_in, available)
    chosen = torch.rand(neurons, available).topk(fan_in, dim=1).indices
    top = torch.randint(0, height - rows + 1, (neurons, 1))
    left = torch.randint(0, width - columns + 1, (neurons, 1))
    channel, place = chosen // (rows * columns), chosen % (rows * columns)
    row, column = top + place // columns, left + place % columns
    return ((channel * height + row) * width + column).sort(dim=1).values


class _Answers(torch.autograd.Function):
    """Entries of ``table`` (N, 2**k) by the bits ``x`` (F, B) that ``inputs`` (N, k) names: (N, B)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, x: Tensor, inputs: Tensor) -> Tensor:
        powers = (2.0 ** torch.arange(inputs.shape[1], device=x.device)).to(x.dtype).expand(inputs.shape)
        pattern = F.embedding_bag(inputs, x, per_sample_weights=powers.contiguous(), mode="sum")
        start = torch.arange(len(inputs), device=x.device)[:, None] * table.shape[1]
        # A NaN has no entry; training that went wrong ends at its next check, not here.
        entry = pattern.nan_to_num().long().clamp_(0, table.shape[1] - 1) + start
        ctx.save_for_backward(table, inputs, entry)
        ctx.features = len(x)
        return table.reshape(-1)[entry]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        table, inputs, entry = ctx.saved_tensors
        of_table = of_x = None
        if ctx.needs_input_grad[0]:
            flat = gradient.new_zeros(table.numel())
            of_table = flat.index_add_(0, entry.reshape(-1), gradient.reshape(-1)).view_as(table)
        if ctx.needs_input_grad[1]:
            of_x = _differences(gradient, table, inputs, entry, ctx.features)
        return of_table, of_x, None


def _differences(gradient: Tensor, table: Tensor, inputs: Tensor, entry: Tensor, features: int) -> Tensor:
    """Gradient of the bits: what a neuron's latent entry would change by from the bit 0 to 1."""
    found, flat = gradient.new_zeros(features, gradient.shape[1]), table.reshape(-1)
    for place in range(inputs.shape[1]):
        bit = 1 << place
        change = (flat[entry | bit] - flat[entry & ~bit]) / 2
        found.index_add_(0, inputs[:, place], gradient * change)
    return found


class LookupNeurons(nn.Module):
    """Neurons with learned tables over the bits that ``inputs`` names.

    Forward: ``y[n] = H(table[n, p])``, ``p = sum_i 2**i x[inputs[n, i]]``, with the Heaviside step ``H``
    and latent entries within [-1, 1]. Gradients: of the entry that was read, straight through; of a bit,
    half the difference of the entries with it and without (the nearest term of the finite difference of
    arXiv 2410.11112). Input: (N, in) bits in a float tensor.

    ``inputs``: int64, (out, fan_in), different within a row, part of the state. Raises InputError where
    they are not, or not within ``in_features``.
    """

    inputs: Tensor

    def __init__(self, in_features: int, inputs: Tensor) -> None:
        super().__init__()
        check_shape((len(inputs), in_features), type(self).__name__)
        check_fan_in(inputs.shape[1], in_features)
        ordered = inputs.sort(dim=1).values
        if int(ordered.min()) < 0 or int(ordered.max()) >= in_features or bool((ordered.diff() == 0).any()):
            raise InputError(f"inputs must be different features of 0..{in_features - 1} for each neuron")
        self.in_features = in_features
        self.register_buffer("inputs", inputs)
        entries = torch.empty(len(inputs), 1 << inputs.shape[1])
        self.table = nn.Parameter(entries.uniform_(-INITIAL, INITIAL))

    @torch.no_grad()
    def clamp_latent(self) -> None:
        """Clip the latent entries to [-1, 1]; call it after every update."""
        self.table.clamp_(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the number of a pattern is exact
            bits = x.to(self.table.dtype).T.contiguous()
            latent = _Answers.apply(self.table, bits, self.inputs).T
            return straight_through((latent > 0).to(latent.dtype), latent)

    def extra_repr(self) -> str:
        return f"in={self.in_features}, out={len(self.inputs)}, fan_in={self.inputs.shape[1]}"


def lower_neurons(site: Site, module: LookupNeurons, x: Lowered) -> Lowered:
    """``Dense`` with powers of two, then ``Lookup``."""
    operand = site.type_of(site.unscaled(x))
    if operand.interval != Interval(0, 1):
        raise site.error(f"LookupNeurons takes bits, its operand is in {operand.interval}")
    inputs = module.inputs.cpu().numpy()
    powers = np.zeros((len(inputs), module.in_features), np.int8)
    np.put_along_axis(powers, inputs, 1 << np.arange(inputs.shape[1], dtype=np.int8)[None], axis=1)
    levels = 2 * int(powers.max()) + 1
    pattern = site.emit(Dense(Weights(powers, levels)), site.integers(x))
    answers = (module.table > 0).cpu().numpy().astype(np.int64)
    return Lowered(site.emit(Lookup(answers), pattern))


LAYERS: dict[type[nn.Module], LowerRule] = {LookupNeurons: lower_neurons}
