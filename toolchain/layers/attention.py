"""Softmax attention in integers.

Queries, keys and values are codes worth one ``step``. With keys first, so that a column belongs to a query:

    A = K^T Q                           (T, T) a head; a real score is c A, c = step**2 / sqrt(channels)
    B = (A + 2**(n - 1)) >> n           scores worth ``score_step = 2**n c``, at most 1/32
    D = min(max over keys of B - B, d)  how far below the best key of its query
    E = table[D]                        round(255 exp(-score_step D)), 0 from d on
    Y = round(V E / sum over keys of E)

The scale of the scores costs nothing but the choice of the table, so their requantization is a shift. The
division comes after the product with V: weights ``E / sum E`` sum to 1 exactly and are rounded relative to
the largest of their query, not to 1, for about 1 % more gates. Outputs are averages of V, so they are codes
of the same step within the same range.

Against the softmax of the real scores ``score_step B``, with T keys, a weight p errs by at most
``(1 + T p) / (2 sum E)``, so by at most ``(1 + T) / 510``; rounding A to B changes the logarithm of a
weight by at most ``score_step``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.ops import Clip, Lookup, MatMul, MaxPool, ReduceSum, Reshape, RoundDiv, Slice, Sub, Transpose
from toolchain.layers.base import Lowered, LowerRule, Site
from toolchain.layers.integers import rounded_quotient
from toolchain.layers.layer_norm import scaled
from toolchain.layers.precision import PhasedModule
from toolchain.quantizers import straight_through

SCORE_STEP = 1 / 32
"""Largest step of a score."""

TOP_WEIGHT = 255
"""Table entry of the best key."""


class IntegerAttention(PhasedModule):
    """``softmax(Q^T K / sqrt(channels of a head)) V`` per head, on codes.

    Input: (N, 3 * dim, T, 1), the codes of queries, keys and values one after the other, each in blocks of
    ``dim / heads`` channels a head, one code worth ``step``. Output: (N, dim, T, 1) codes of the same step.
    Training and evaluation compute the integers of the program, with the gradients of the real formula;
    full precision computes that. Raises InputError unless ``heads`` divides ``dim``.
    Source of the formula: Vaswani et al., arXiv 1706.03762.
    """

    table: Tensor

    def __init__(self, dim: int, heads: int, step: float) -> None:
        super().__init__()
        if heads < 1 or dim < 1 or dim % heads:
            raise InputError(f"heads must divide the width, not {heads} with a width of {dim}")
        self.dim, self.heads, self.step = dim, heads, step
        self.scale = step**2 / math.sqrt(dim // heads)
        self.shift = max(0, math.floor(math.log2(SCORE_STEP / self.scale)))
        self.score_step = self.scale * 2**self.shift
        reach = math.floor(math.log(2 * TOP_WEIGHT) / self.score_step) + 1
        distance = torch.arange(reach + 1, dtype=torch.float64) * self.score_step
        table = (TOP_WEIGHT * torch.exp(-distance)).round()
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # integers must stay exact
            queries, keys, values = self._split(x.to(self.table.dtype))
            scores = keys.transpose(-2, -1) @ queries
            weights = torch.softmax(scores * self.scale, -2)
            if not self.quantized:
                return self._join(values @ weights, x)
            entries = self.entries(scores)
            total = entries.sum(-2, keepdim=True)
            mixed = values @ straight_through(entries, weights * total)
            return self._join(straight_through(rounded_quotient(mixed, total), mixed / total), x)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values: (N, heads, channels of a head, T) each."""
        return x.reshape(len(x), 3, self.heads, self.dim // self.heads, -1).unbind(1)

    def _join(self, y: Tensor, like: Tensor) -> Tensor:
        return y.reshape(len(y), self.dim, -1, 1).to(like.dtype)

    @torch.no_grad()
    def entries(self, scores: Tensor) -> Tensor:
        """``E`` of sums ``A``: integers 0..255, keys on the last axis but one."""
        coarse = (scores * 2.0**-self.shift).add_(0.5).floor_()
        distance = coarse.amax(-2, keepdim=True).sub(coarse).clamp_(max=len(self.table) - 1)
        return self.table[distance.long()]

    def extra_repr(self) -> str:
        return f"{self.dim}, heads={self.heads}, score_step={self.score_step:.4g}"


def lower_attention(site: Site, module: IntegerAttention, x: Lowered) -> Lowered:
    """Two ``MatMul``, a ``Lookup`` and a ``RoundDiv``; see the top of this file."""
    value, type_ = site.integers(x), site.type_of(x)
    if type_.channels != 3 * module.dim or type_.shape[2:] != (1,):
        raise site.error(
            f"attention of width {module.dim} takes tokens of shape [{3 * module.dim}, tokens, 1], "
            f"its operand is {type_}"
        )
    tokens, heads = type_.shape[1], module.heads
    block = Reshape((heads, module.dim // heads, tokens))
    queries, keys, values = (
        site.emit(block, site.emit(Slice(part * module.dim, (part + 1) * module.dim), value))
        for part in range(3)
    )
    scores = site.emit(MatMul(), site.emit(Transpose((0, 2, 1)), keys), queries)
    entries = _lower_entries(site, module, scores, tokens)
    # One entry of a column is always 255, and averages stay in range, which intervals do not know.
    total = site.emit(Clip(TOP_WEIGHT, TOP_WEIGHT * tokens), site.emit(ReduceSum((1,)), entries))
    mixed = site.emit(RoundDiv(), site.emit(MatMul(), values, entries), total)
    average = site.emit(Clip(type_.interval.lo, type_.interval.hi), mixed)
    return Lowered(site.emit(Reshape((module.dim, tokens, 1)), average))


def _lower_entries(site: Site, module: IntegerAttention, scores: str, tokens: int) -> str:
    """``E``."""
    coarse = scaled(site, scores, 1, offset=(1 << module.shift) >> 1, shift=module.shift)
    best = site.emit(MaxPool((tokens, 1), (tokens, 1)), coarse)
    table = module.table.cpu().numpy().astype(np.int64)[None]
    distance = site.emit(Clip(0, table.size - 1), site.emit(Sub(), best, coarse))
    return site.emit(Lookup(table), distance)


LAYERS: dict[type[nn.Module], LowerRule] = {IntegerAttention: lower_attention}
