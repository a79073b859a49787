"""Quantizers: forward formulas, straight-through gradients, and how equal the histograms are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from toolchain.quantizers import (
    STEP_RULES,
    activation_codes,
    codes,
    entropy_bits,
    heq,
    histogram,
    relaxed_activation,
    step_of,
    straight_through,
)
from toolchain.quantizers.heq import quantiles

torch.set_num_threads(1)

GAUSSIAN = torch.randn(200_000, generator=torch.Generator().manual_seed(0))


def gaussian_bins(levels: int, rule: str) -> torch.Tensor:
    return histogram(codes(GAUSSIAN, step_of(GAUSSIAN, levels, rule), levels), levels)


@pytest.mark.parametrize(
    ("levels", "rule", "bits"),
    [
        (3, "quantile-span", 1.585),
        (3, "threshold-mean", 1.585),
        (3, "least-squares", 1.585),
        (3, "twn", 1.56),
        (5, "quantile-span", 2.320),
        (5, "threshold-mean", 2.319),
        (5, "least-squares", 2.320),
    ],
)
def test_entropy_on_gaussian_weights(levels: int, rule: str, bits: float) -> None:
    assert entropy_bits(gaussian_bins(levels, rule)) == pytest.approx(bits, abs=1.5e-3)


def test_bins_on_gaussian_weights() -> None:
    ternary = gaussian_bins(3, "twn") / len(GAUSSIAN)
    assert ternary.tolist() == pytest.approx([0.29, 0.42, 0.29], abs=5e-3)
    quinary = gaussian_bins(5, "quantile-span") / len(GAUSSIAN)
    assert quinary.tolist() == pytest.approx([0.20, 0.19, 0.22, 0.19, 0.20], abs=5e-3)


def test_the_three_equalizing_rules_agree_for_ternary_weights() -> None:
    q1, q2 = quantiles(GAUSSIAN.double(), 3).tolist()
    for rule in ("quantile-span", "threshold-mean", "least-squares"):
        assert step_of(GAUSSIAN, 3, rule) == pytest.approx(q2 - q1, rel=1e-6)


def test_least_squares_for_quinary_weights_is_the_published_form() -> None:
    w = torch.cat([GAUSSIAN, -GAUSSIAN])
    q = quantiles(w.double(), 5).tolist()
    assert step_of(w, 5, "least-squares") == pytest.approx((6 * q[3] + 2 * q[2]) / 10, rel=1e-6)


def test_quantiles_interpolate_between_order_statistics() -> None:
    w = torch.tensor([3.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    assert quantiles(w, 3).tolist() == pytest.approx([1.0, 2.0])
    assert quantiles(w, 5).tolist() == pytest.approx([0.6, 1.2, 1.8, 2.4])


def test_max_abs_gives_the_largest_weight_the_largest_code() -> None:
    w = torch.tensor([-2.0, 0.5, 1.0])
    assert step_of(w, 5, "max-abs") == 1.0
    assert codes(w, 1.0, 5).tolist() == [-2.0, 0.0, 1.0]


@given(
    levels=st.integers(1, 63).map(lambda m: 2 * m + 1),
    rule=st.sampled_from(sorted(STEP_RULES)),
    values=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)
def test_every_step_is_positive_and_every_code_in_range(
    levels: int, rule: str, values: list[float]
) -> None:
    w = torch.tensor(values)
    step = step_of(w, levels, rule)
    assert 0 < step < math.inf
    q = codes(w, step, levels)
    assert torch.equal(q, q.round())
    assert q.abs().max() <= (levels - 1) // 2


@pytest.mark.parametrize(("value", "step"), [(0.0, 1.0), (0.25, 0.25), (-0.5, 0.5)])
def test_weights_without_a_span_fall_back_to_the_largest_magnitude(value: float, step: float) -> None:
    assert step_of(torch.full((7,), value), 3) == step


def test_a_mostly_pruned_tensor_keeps_its_survivors() -> None:
    w = torch.zeros(100)
    w[3] = 0.5
    assert codes(w, step_of(w, 3), 3).tolist() == [float(i == 3) for i in range(100)]


@pytest.mark.parametrize(
    ("levels", "rule", "weights", "message"),
    [
        (4, "twn", [1.0], "levels must be odd and within 3..127, not 4"),
        (129, "twn", [1.0], "levels must be odd and within 3..127, not 129"),
        (3, "mean", [1.0], "step rule must be one of quantile-span, .*, not 'mean'"),
        (3, "twn", [math.nan], "weights must be finite to choose a step"),
    ],
)
def test_step_errors(levels: int, rule: str, weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        step_of(torch.tensor(weights), levels, rule)


def test_codes_are_the_same_in_float32_and_float64() -> None:
    step = torch.tensor(step_of(GAUSSIAN, 127))
    assert torch.equal(codes(GAUSSIAN, step, 127).double(), codes(GAUSSIAN.double(), step.double(), 127))


@pytest.mark.parametrize("levels", [3, 5, 127])
def test_weight_gradient_is_half_the_levels_inside_the_unit_interval(levels: int) -> None:
    w = torch.tensor([-1.5, -1.0, -0.2, 0.0, 1.0, 1.01], requires_grad=True)
    q = heq(w, 0.5, levels)
    top = (levels - 1) // 2
    assert q.tolist() == (w.detach() / 0.5).round().clamp(-top, top).tolist()
    q.sum().backward()
    assert w.grad.tolist() == [0.0, top, top, top, top, 0.0]


def test_binary_activation() -> None:
    z = torch.tensor([-1.1, -1.0, 0.0, 1e-30, 1.0, 1.1], requires_grad=True)
    y = activation_codes(z, 1)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    y.sum().backward()
    assert z.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_uniform_activation_rounds_half_to_even() -> None:
    z = torch.tensor([-0.1, 0.0, 0.5 / 3, 0.5, 2.5 / 3, 1.0, 1.1], requires_grad=True)
    y = activation_codes(z, 2)
    assert y.tolist() == [0, 0, 0, 2, 2, 3, 3]
    y.sum().backward()
    assert z.grad.tolist() == [0, 3, 3, 3, 3, 3, 0]


@pytest.mark.parametrize("bits", range(1, 9))
def test_activation_codes_cover_their_range_and_stay_near_the_relaxation(bits: int) -> None:
    z = torch.linspace(-1.5, 1.5, 5001)
    top = 2**bits - 1
    y, relaxed = activation_codes(z, bits), relaxed_activation(z, bits)
    assert y.unique().tolist() == list(range(top + 1))
    assert relaxed.min() == 0
    assert relaxed.max() == top
    assert (y - relaxed).abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("bits", [0, 9])
def test_activation_bits_are_limited(bits: int) -> None:
    with pytest.raises(InputError, match=f"activation bits must be within 1..8, not {bits}"):
        activation_codes(torch.zeros(1), bits)


def test_straight_through_returns_the_hard_value_unrounded() -> None:
    hard = torch.tensor([3.0, 16777215.0])
    surrogate = torch.tensor([0.1, 1e-9], requires_grad=True)
    y = straight_through(hard, surrogate)
    assert torch.equal(y, hard)
    (y * torch.tensor([2.0, 5.0])).sum().backward()
    assert surrogate.grad.tolist() == [2.0, 5.0]


def test_a_flat_histogram_has_the_most_entropy() -> None:
    q = torch.tensor([[-2.0, -1.0], [0.0, 1.0], [2.0, 2.0]])
    assert histogram(q, 5).tolist() == [1, 1, 1, 1, 2]
    assert entropy_bits(torch.full((5,), 9)) == pytest.approx(math.log2(5))
    assert entropy_bits(torch.tensor([0, 4, 0])) == 0.0
