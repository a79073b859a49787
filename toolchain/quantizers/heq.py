"""HEQ: histogram-equalized weight quantization (arXiv 2501.04517).

A weight tensor has one step ``s``, chosen so that the ``n`` codes are about equally frequent. The
ideal thresholds of the codes, ``(i - n/2) s`` for ``i = 1 .. n-1``, are fitted to the ``n``-quantiles
``q_i`` of the latent weights; the rows of ``STEP_RULES`` differ in how.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runtime.errors import InputError
from runtime.weights import MAX_LEVELS
from toolchain.quantizers.ste import straight_through

StepRule = Callable[[Tensor, int], Tensor]
"""From flat float64 weights and a number of levels to a scalar step, before the guard of ``step_of``."""


def top_level(levels: int) -> int:
    """Largest code, ``(levels - 1) / 2``. Raises InputError unless ``levels`` is odd and in 3..127."""
    if levels % 2 == 0 or not 3 <= levels <= MAX_LEVELS:
        raise InputError(f"levels must be odd and within 3..{MAX_LEVELS}, not {levels}")
    return (levels - 1) // 2


def quantiles(w: Tensor, levels: int) -> Tensor:
    """The ``levels - 1`` inner quantiles of flat ``w``, linearly interpolated between order statistics.

    One sort, so any size works and the result does not depend on the number of threads.
    """
    ordered = w.sort().values
    position = torch.arange(1, levels, dtype=torch.float64, device=w.device) / levels * (w.numel() - 1)
    below = position.floor().long()
    above = position.ceil().long()
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _ideal(w: Tensor, levels: int) -> Tensor:
    """Thresholds of the codes in units of the step: ``i - n/2``."""
    return torch.arange(1, levels, dtype=torch.float64, device=w.device) - levels / 2


def _quantile_span(w: Tensor, levels: int) -> Tensor:
    """``(q_{n-1} - q_1) / (n - 2)``: the outermost thresholds are exact (the paper's rule for n = 3)."""
    q = quantiles(w, levels)
    return (q[-1] - q[0]) / (levels - 2)


def _threshold_mean(w: Tensor, levels: int) -> Tensor:
    """Mean of the steps that would make each single threshold exact: ``mean_i q_i / (i - n/2)``."""
    return (quantiles(w, levels) / _ideal(w, levels)).mean()


def _least_squares(w: Tensor, levels: int) -> Tensor:
    """Least-squares fit of all thresholds: ``sum c_i q_i / sum c_i^2`` with ``c_i = i - n/2``."""
    c = _ideal(w, levels)
    return (c * quantiles(w, levels)).sum() / c.square().sum()


def _twn(w: Tensor, levels: int) -> Tensor:
    """``1.4 E|w|``, so that the first threshold ``s/2`` is ``0.7 E|w|`` (TWN, arXiv 1605.04711).

    Not equalized; a contrast.
    """
    return 1.4 * w.abs().mean()


def _max_abs(w: Tensor, levels: int) -> Tensor:
    """``2 max|w| / (n - 1)``: the largest weight gets the largest code. Not equalized; a contrast."""
    return w.abs().max() / top_level(levels)


STEP_RULES: dict[str, StepRule] = {
    "quantile-span": _quantile_span,
    "threshold-mean": _threshold_mean,
    "least-squares": _least_squares,
    "twn": _twn,
    "max-abs": _max_abs,
}


def step_of(w: Tensor, levels: int, rule: str = "quantile-span") -> float:
    """The step of latent weights ``w`` (any shape) under a row of ``STEP_RULES``; finite and positive.

    Weights whose quantiles coincide (all equal, or mostly zero after pruning) have no span; their step
    is that of ``max-abs``, and 1 when every weight is zero. Raises InputError for an unknown rule, for
    levels that are not odd and within 3..127, and for weights that are not finite.
    """
    top_level(levels)
    if rule not in STEP_RULES:
        raise InputError(f"step rule must be one of {', '.join(STEP_RULES)}, not {rule!r}")
    flat = w.detach().reshape(-1).double()
    if not bool(torch.isfinite(flat).all()):
        raise InputError("weights must be finite to choose a step; lower the learning rate and retrain")
    for candidate in (STEP_RULES[rule](flat, levels), _max_abs(flat, levels)):
        step = float(candidate.float())
        if step > 0:
            return step
    return 1.0


def codes(w: Tensor, step: Tensor | float, levels: int) -> Tensor:
    """``clip(round(w / step), -(n-1)/2, (n-1)/2)`` in the dtype of ``w``, without a gradient.

    The division is done in float64 whatever the dtype, so a model has the same codes in float32 and
    in float64. Rounding is half to even.
    """
    top = top_level(levels)
    scale = step.double() if isinstance(step, Tensor) else step
    return (w.detach().double() / scale).round().clamp(-top, top).to(w.dtype)


def heq(w: Tensor, step: Tensor | float, levels: int) -> Tensor:
    """Integer codes of latent weights ``w``, with the straight-through gradient.

    Forward: ``q = clip(round(w / step), -(n-1)/2, (n-1)/2)``. Gradient: ``dq/dw = (n-1)/2`` where
    ``|w| <= 1``, else 0. The paper's quantizer is ``g = 2/(n-1) q`` with ``dg/dw = 1`` (arXiv 2501.04517);
    the factor is left to the batch norm that follows, so that the accumulator is an integer.
    """
    return straight_through(codes(w, step, levels), w.clamp(-1, 1) * top_level(levels))


def histogram(q: Tensor, levels: int) -> Tensor:
    """How often each code from ``-(n-1)/2`` to ``(n-1)/2`` occurs: int64, shape (levels,)."""
    return torch.bincount(q.reshape(-1).long() + top_level(levels), minlength=levels)


def entropy_bits(counts: Tensor) -> float:
    """Entropy in bits of a histogram; at most ``log2`` of its length, reached when it is flat."""
    p = counts[counts > 0].double() / counts.sum()
    return float(-(p * p.log2()).sum())
