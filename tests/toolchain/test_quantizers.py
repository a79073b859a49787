"""Quantizers: forward formulas, straight-through gradients, and how equal the histograms are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.weights import code_step
from toolchain.quantizers import (
    STEP_RULES,
    activation_codes,
    clipped_straight_through,
    codes,
    entropy_bits,
    heq,
    histogram,
    median,
    relaxed_activation,
    sparse_step,
    step_of,
    straight_through,
    top_level,
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
        (2, "quantile-span", 1.0),
        (2, "twn", 1.0),
        (4, "quantile-span", 2.0),
        (4, "threshold-mean", 2.0),
        (4, "least-squares", 2.0),
        (8, "quantile-span", 2.984),
        (8, "threshold-mean", 2.980),
        (8, "least-squares", 2.985),
    ],
)
def test_entropy_on_gaussian_weights(levels: int, rule: str, bits: float) -> None:
    assert entropy_bits(gaussian_bins(levels, rule)) == pytest.approx(bits, abs=1.5e-3)


def test_bins_on_gaussian_weights() -> None:
    ternary = gaussian_bins(3, "twn") / len(GAUSSIAN)
    assert ternary.tolist() == pytest.approx([0.29, 0.42, 0.29], abs=5e-3)
    quinary = gaussian_bins(5, "quantile-span") / len(GAUSSIAN)
    assert quinary.tolist() == pytest.approx([0.20, 0.19, 0.22, 0.19, 0.20], abs=5e-3)


@pytest.mark.parametrize(("levels", "steps"), [(3, 1), (4, 2)])
def test_the_three_equalizing_rules_agree_where_two_thresholds_depend_on_the_step(
    levels: int, steps: int
) -> None:
    q = quantiles(GAUSSIAN.double(), levels).tolist()
    for rule in ("quantile-span", "threshold-mean", "least-squares"):
        assert step_of(GAUSSIAN, levels, rule) == pytest.approx((q[-1] - q[0]) / steps, rel=1e-6)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [(2, [-1, 1]), (4, [-3, -1, 1, 3]), (8, [-7, -5, -3, -1, 1, 3, 5, 7])],
)
def test_an_even_number_of_levels_has_odd_codes(levels: int, expected: list[int]) -> None:
    w = torch.linspace(-1, 1, 4001)
    assert codes(w, step_of(w, levels), levels).unique().tolist() == expected
    assert (top_level(levels), code_step(levels)) == (expected[-1], 2)


@pytest.mark.parametrize("levels", [2, 4, 8, 64])
def test_neighbouring_odd_codes_are_one_step_of_the_weights_apart(levels: int) -> None:
    step = 0.125
    edges = step * torch.arange(1 - levels // 2, levels // 2)
    assert torch.equal(codes(edges, step, levels) - codes(edges - 1e-6, step, levels), 2 + 0 * edges)
    middles = step * (torch.arange(levels) - (levels - 1) / 2)
    assert torch.equal(codes(middles, step, levels) * step / 2, middles)


@pytest.mark.parametrize("rule", STEP_RULES)
def test_two_levels_are_signs_whatever_the_rule(rule: str) -> None:
    w = torch.tensor([-0.5, -0.1, 0.0, 0.2, 0.9])
    assert codes(w, step_of(w, 2, rule), 2).tolist() == [-1, -1, 1, 1, 1]


def test_bins_of_four_levels_on_gaussian_weights_are_equal() -> None:
    shares = gaussian_bins(4, "quantile-span") / len(GAUSSIAN)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=5e-3)


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
    assert step_of(w, 4, "max-abs") == 1.0
    assert codes(w, 1.0, 4).tolist() == [-3.0, 1.0, 3.0]


@pytest.mark.parametrize(("levels", "threshold"), [(3, 0.5), (5, 0.5), (2, 1.0), (4, 1.0), (8, 1.0)])
def test_the_first_positive_threshold_of_twn_is_seven_tenths_of_the_mean_magnitude(
    levels: int, threshold: float
) -> None:
    w = torch.tensor([-0.75, 0.25, 0.5, -0.5])
    step = step_of(w, levels, "twn")
    assert threshold * step == pytest.approx(0.7 * 0.5)
    below, above = codes(torch.tensor([0.349, 0.351]), step, levels).tolist()
    assert above - below == (code_step(levels) if levels > 2 else 0)


def test_twn_bins_of_four_levels_are_not_equalized() -> None:
    shares = gaussian_bins(4, "twn") / len(GAUSSIAN)
    assert shares.tolist() == pytest.approx([0.288, 0.212, 0.212, 0.288], abs=5e-3)


@given(
    levels=st.integers(1, 63).map(lambda m: 2 * m + 1) | st.integers(1, 32).map(lambda m: 2 * m),
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
    assert q.abs().max() <= top_level(levels)
    assert ((q + top_level(levels)) % code_step(levels) == 0).all()
    assert histogram(q, levels).sum() == len(values)
    assert len(histogram(q, levels)) == levels


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
        (1, "twn", [1.0], "levels must be odd within 3..127 or even within 2..64, not 1"),
        (0, "twn", [1.0], "levels must be odd within 3..127 or even within 2..64, not 0"),
        (66, "twn", [1.0], "levels must be odd within 3..127 or even within 2..64, not 66"),
        (129, "twn", [1.0], "levels must be odd within 3..127 or even within 2..64, not 129"),
        (-3, "twn", [1.0], "levels must be odd within 3..127 or even within 2..64, not -3"),
        (3, "mean", [1.0], "step rule must be one of quantile-span, .*, not 'mean'"),
        (3, "twn", [math.nan], "weights must be finite to choose a step"),
    ],
)
def test_step_errors(levels: int, rule: str, weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        step_of(torch.tensor(weights), levels, rule)


@pytest.mark.parametrize("levels", [2, 3, 4, 64, 127])
def test_codes_are_the_same_in_float32_and_float64(levels: int) -> None:
    step = torch.tensor(step_of(GAUSSIAN, levels))
    edges = step * (torch.arange(-2 * levels, 2 * levels + 1) / 2)
    w = torch.cat([GAUSSIAN, edges, edges.nextafter(edges - 1), edges.nextafter(edges + 1)])
    narrow, wide = codes(w, step, levels), codes(w.double(), step.double(), levels)
    assert (narrow.dtype, wide.dtype) == (torch.float32, torch.float64)
    assert torch.equal(narrow.double(), wide)


@pytest.mark.parametrize(("levels", "top"), [(2, 1), (3, 1), (4, 3), (5, 2), (8, 7), (64, 63), (127, 63)])
def test_weight_gradient_is_the_largest_code_inside_the_unit_interval(levels: int, top: int) -> None:
    w = torch.tensor([-1.5, -1.0, -0.2, 0.0, 1.0, 1.01], requires_grad=True)
    q = heq(w, 0.5, levels)
    assert torch.equal(q, codes(w, 0.5, levels))
    q.sum().backward()
    assert w.grad.tolist() == [0.0, top, top, top, top, 0.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([3.0], 3.0), ([5.0, 1.0], 3.0), ([9.0, -1.0, 2.0], 2.0), ([[4.0, 1.0], [2.0, 8.0]], 3.0)],
)
def test_median_is_between_the_two_middle_weights(weights: list[float], expected: float) -> None:
    found = median(torch.tensor(weights, requires_grad=True))
    assert (found.item(), found.dtype, found.requires_grad) == (expected, torch.float32, False)


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


@pytest.mark.parametrize(("low", "high", "slope"), [(-1, 1, 1), (0, 1, 1), (0, 1, 3), (-1, 1, 63)])
def test_the_clipped_gradient_passes_from_end_to_end_of_its_interval(
    low: int, high: int, slope: int
) -> None:
    # Outside, gradients stop past one part in 2**20, the width that keeps the ends inside.
    x = torch.tensor([low - 3e-6, low, (low + high) / 2, high, high + 3e-6], requires_grad=True)
    hard = torch.tensor([7.0, -3.0, 16777215.0, 0.5, 1.0])
    y = clipped_straight_through(hard, x, low, high, slope)
    assert torch.equal(y, hard)
    (y * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [0, 2 * slope, 3 * slope, 4 * slope, 0]


def test_the_clipped_gradient_is_that_of_the_clipped_function() -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64).requires_grad_()
    weights = torch.linspace(1, 3, 41, dtype=torch.float64)
    (clipped_straight_through(x.detach().round(), x, -1, 1, 5) * weights).sum().backward()
    reference = x.detach().clone().requires_grad_()
    inside = (reference.detach().abs() - 1).abs() > 1e-9  # at an end itself torch has no gradient
    (5 * reference.clamp(-1, 1) * weights).sum().backward()
    assert torch.equal(x.grad[inside], reference.grad[inside])


def test_a_flat_histogram_has_the_most_entropy() -> None:
    q = torch.tensor([[-2.0, -1.0], [0.0, 1.0], [2.0, 2.0]])
    assert histogram(q, 5).tolist() == [1, 1, 1, 1, 2]
    assert histogram(torch.tensor([-3.0, 3.0, 1.0, 3.0]), 4).tolist() == [1, 0, 1, 2]
    assert entropy_bits(torch.full((5,), 9)) == pytest.approx(math.log2(5))
    assert entropy_bits(torch.tensor([0, 4, 0])) == 0.0


@given(density=st.floats(0.001, 1), seed=st.integers(0, 9))
def test_a_sparse_step_leaves_the_share_of_largest_magnitude(density: float, seed: int) -> None:
    w = torch.randn(20, 50, generator=torch.Generator().manual_seed(seed))
    found = codes(w, sparse_step(w, density), 3)
    kept = max(1, 1000 - round((1 - density) * 1000))
    assert torch.equal(found.flatten().nonzero().flatten().sort().values, largest(w, kept))
    assert bool((found * w >= 0).all())


def largest(w: torch.Tensor, count: int) -> torch.Tensor:
    return w.flatten().abs().topk(count).indices.sort().values


@pytest.mark.parametrize("density", [0.0, -1.0, 1.5])
def test_a_density_is_a_share(density: float) -> None:
    with pytest.raises(InputError, match="density of weights must be above 0"):
        sparse_step(GAUSSIAN, density)


def test_weights_that_are_not_finite_have_no_sparse_step() -> None:
    with pytest.raises(InputError, match="must be finite"):
        sparse_step(torch.tensor([1.0, float("nan")]), 0.5)


def test_zeros_have_a_sparse_step() -> None:
    assert sparse_step(torch.zeros(4), 0.5) == 1.0
