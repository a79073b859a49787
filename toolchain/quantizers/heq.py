"""HEQ: histogram-equalized weight quantization (arXiv 2501.04517).

A weight tensor has one step ``s``, chosen so that the ``n`` codes are about equally frequent. The
ideal thresholds of the codes, ``(i - n/2) s`` for ``i = 1 .. n-1``, are fitted to the ``n``-quantiles
``q_i`` of the latent weights; the rows of ``STEP_RULES`` differ in how.

For odd ``n`` the codes are the integers ``-(n-1)/2 .. (n-1)/2``. For even ``n``, which the paper leaves
open, they are the odd integers ``-(n-1) .. n-1``: as symmetric, without a zero, ``s`` apart in steps of 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runtime.errors import InputError, ProgramError
from runtime.weights import code_step, max_code
from toolchain.quantizers.ste import clipped_straight_through

StepRule = Callable[[Tensor, int], Tensor]
"""From flat float32 weights and a number of levels to a scalar step, before the guard of ``step_of``."""


def top_level(levels: int) -> int:
    """Largest code: ``(n - 1) / 2`` for odd ``n``, ``n - 1`` for even ``n``. Raises InputError.

    ``levels`` is odd and within 3..127, or even and within 2..64.
    """
    try:
        return max_code(levels)
    except ProgramError as error:
        raise InputError(str(error)) from None


def quantiles(w: Tensor, levels: int) -> Tensor:
    """The ``levels - 1`` inner quantiles of flat ``w``, linearly interpolated between order statistics.

    One sort, so any size works and the result does not depend on the number of threads.
    """
    ordered = w.float().sort().values.double()
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
    return (q[-1] - q[0]) / max(levels - 2, 1)


def _threshold_mean(w: Tensor, levels: int) -> Tensor:
    """Mean of the steps that would make each single threshold exact: ``mean_i q_i / (i - n/2)``.

    The middle threshold of an even number of levels is 0 whatever the step, and says nothing.
    """
    c = _ideal(w, levels)
    return (quantiles(w, levels) / c)[c != 0].mean()


def _least_squares(w: Tensor, levels: int) -> Tensor:
    """Least-squares fit of all thresholds: ``sum c_i q_i / sum c_i^2`` with ``c_i = i - n/2``."""
    c = _ideal(w, levels)
    return (c * quantiles(w, levels)).sum() / c.square().sum()


def _twn(w: Tensor, levels: int) -> Tensor:
    """The first positive threshold (``s/2``; ``s`` for even ``n``) is ``0.7 E|w|`` (TWN, arXiv 1605.04711).

    Not equalized; a contrast.
    """
    return 1.4 / code_step(levels) * w.double().abs().mean()


def _max_abs(w: Tensor, levels: int) -> Tensor:
    """``2 max|w| / (n - 1)``: the largest weight gets the largest code (even ``n``: ``2 max|w| / n``).

    Not equalized; a contrast.
    """
    return w.abs().max() / (levels // 2)


STEP_RULES: dict[str, StepRule] = {
    "quantile-span": _quantile_span,
    "threshold-mean": _threshold_mean,
    "least-squares": _least_squares,
    "twn": _twn,
    "max-abs": _max_abs,
}


def step_of(w: Tensor, levels: int, rule: str = "quantile-span") -> float:
    """The step of latent weights ``w`` (any shape) under a row of ``STEP_RULES``; finite and positive.

    Weights whose quantiles coincide (all equal, or mostly zero after pruning) have no span, nor have two
    levels; their step is that of ``max-abs``, and 1 when every weight is zero. Raises InputError for an
    unknown rule, for levels outside those of ``top_level``, and for weights that are not finite.
    """
    top_level(levels)
    if rule not in STEP_RULES:
        raise InputError(f"step rule must be one of {', '.join(STEP_RULES)}, not {rule!r}")
    flat = w.detach().reshape(-1).float()
    if not bool(torch.isfinite(flat).all()):
        raise InputError("weights must be finite to choose a step; lower the learning rate and retrain")
    for candidate in (STEP_RULES[rule](flat, levels), _max_abs(flat, levels)):
        step = float(candidate.float())
        if step > 0:
            return step
    return 1.0


def sparse_step(w: Tensor, density: float) -> float:
    """The step at which the share ``density`` (0..1) of ``w`` (any shape), at least one, is not zero.

    The histogram is equalized no longer: it is the weights of largest magnitude that get a code, as in
    pruning, but which those are can change from update to update. For odd numbers of levels, whose first
    threshold is half a step. Raises InputError for a density out of range and for weights not finite.
    """
    ordered = w.detach().reshape(-1).float().abs().sort().values
    if not bool(torch.isfinite(ordered[-1])):
        raise InputError("weights must be finite to choose a step; lower the learning rate and retrain")
    zeros = min(round((1 - _density(density)) * len(ordered)), len(ordered) - 1)
    below = float(ordered[zeros - 1]) if zeros else 0.0
    return below + float(ordered[zeros]) or 1.0


def sparse_steps(w: Tensor, density: float) -> Tensor:
    """``sparse_step`` of each row of ``w`` (out, ...): float32, shape (out,)."""
    rows = w.detach().reshape(len(w), -1).float().abs().sort(dim=1).values
    if not bool(torch.isfinite(rows[:, -1]).all()):
        raise InputError("weights must be finite to choose a step; lower the learning rate and retrain")
    zeros = min(round((1 - _density(density)) * rows.shape[1]), rows.shape[1] - 1)
    below = rows[:, zeros - 1] if zeros else torch.zeros_like(rows[:, 0])
    steps = below + rows[:, zeros]
    return torch.where(steps > 0, steps, torch.ones_like(steps))


def _density(density: float) -> float:
    """``density`` if it is one. Raises InputError."""
    if not 0 < density <= 1:
        raise InputError(f"the density of weights must be above 0 and at most 1, not {density}")
    return density


def median(w: Tensor) -> Tensor:
    """Scalar float32 median of ``w``: the mean of the two middle elements of an even number of them."""
    return quantiles(w.detach().reshape(-1), 2)[0].float()


def codes(w: Tensor, step: Tensor | float, levels: int) -> Tensor:
    """Codes of latent weights in the dtype of ``w``, without a gradient.

    Odd ``n``: ``clip(round(w / step), -(n-1)/2, (n-1)/2)``, half to even. Even ``n``:
    ``clip(2 floor(w / step) + 1, -(n-1), n-1)``. The division is that of float32 whatever the dtype, so a
    model has the same codes in float32 and in float64.
    """
    top = top_level(levels)
    ratio = w.detach().float() / (step.float() if isinstance(step, Tensor) else step)
    rounded = ratio.round_() if levels % 2 else ratio.floor_().mul_(2).add_(1)
    return rounded.clamp_(-top, top).to(w.dtype)


def heq(w: Tensor, step: Tensor | float, levels: int) -> Tensor:
    """Integer codes of latent weights ``w`` (``codes``), with the straight-through gradient.

    Gradient: ``dq/dw = top`` where ``|w| <= 1``, else 0, with ``top`` the largest code. The paper's
    quantizer is ``g = q / top`` with ``dg/dw = 1`` (arXiv 2501.04517); the factor is left to the batch norm
    that follows, so that the accumulator is an integer.
    """
    return clipped_straight_through(codes(w, step, levels), w, -1, 1, top_level(levels))


def histogram(q: Tensor, levels: int) -> Tensor:
    """How often each code of ``levels`` occurs, lowest first: int64, shape (levels,)."""
    digits = (q.reshape(-1).long() + top_level(levels)) // code_step(levels)
    return torch.bincount(digits, minlength=levels)


def entropy_bits(counts: Tensor) -> float:
    """Entropy in bits of a histogram; at most ``log2`` of its length, reached when it is flat."""
    p = counts[counts > 0].double() / counts.sum()
    return float(-(p * p.log2()).sum())
