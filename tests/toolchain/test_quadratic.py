"""The quadratic enhancer: its formula, both integer forms, and its options."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers import (
    Affine,
    BatchNorm,
    NormCodes,
    QuadraticCodes,
    quadratic_transform,
    set_precision,
)
from toolchain.layers.base import EXACT_LIMIT
from toolchain.layers.quadratic import FORMS, GAIN, INNER_LIMITS, pair_tables

torch.set_num_threads(1)

SHIFTS = [(1,), (1, 2), (3,)]


def dense_transform(y: Tensor, coefficients: Tensor, bias: Tensor, shifts: tuple[int, ...]) -> Tensor:
    """The paper's formula with its circulant band as a full matrix."""
    channels = y.shape[1]
    band = torch.zeros(channels, channels, dtype=y.dtype)
    for row, shift in zip(coefficients, shifts, strict=True):
        for channel in range(channels):
            band[channel, (channel - shift) % channels] += row[channel]
    mixed = torch.einsum("ij,nj...->ni...", band, y)
    return mixed * y + y + bias.reshape(channels, *(1,) * (y.dim() - 2))


def random_parameters(module: QuadraticCodes, seed: int = 0, size: float = 0.6) -> QuadraticCodes:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.coefficients.copy_(size * torch.randn(module.coefficients.shape, generator=g))
        module.bias.copy_(size * torch.randn(module.bias.shape, generator=g))
    return module


def on_codes(channels: int, bits: int, signed: bool, limit: float, **options: object) -> QuadraticCodes:
    """A module whose inner codes are its operand, clipped."""
    module = QuadraticCodes(channels, bits, signed, limit, **options)  # type: ignore[arg-type]
    module.inner.norm = Affine(channels, module.inner.step)
    return module


def random_codes(module: QuadraticCodes, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    top = module.inner.top
    return torch.from_numpy(np.random.default_rng(seed).integers(-top, top + 1, shape)).double()


@torch.no_grad()
def real_codes(module: QuadraticCodes, codes: Tensor) -> Tensor:
    """The real transform of inner codes, in output codes, neither rounded nor clipped."""
    y = codes.double() * module.inner.step
    coefficients, bias = module.coefficients.double(), module.bias.double()
    return dense_transform(y, coefficients, bias, module.shifts) / module.step


# --- the formula -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shifts", [*SHIFTS, (4, 1, 2)])
@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 4), (2, 5, 3, 4)])
def test_transform_is_that_of_the_dense_circulant_matrix(
    shifts: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    g = torch.Generator().manual_seed(1)
    y = torch.randn(shape, generator=g, dtype=torch.float64)
    coefficients = torch.randn(len(shifts), 5, generator=g, dtype=torch.float64)
    bias = torch.randn(5, generator=g, dtype=torch.float64)
    expected = dense_transform(y, coefficients, bias, shifts)
    torch.testing.assert_close(quadratic_transform(y, coefficients, bias, shifts), expected)


def test_transform_by_hand() -> None:
    """z_i = y_i * (1 + lambda_i * y_{i-1}) + b_i; channel 0 sees the last one."""
    y = torch.tensor([[2.0, 3.0, 5.0]])
    z = quadratic_transform(y, torch.tensor([[1.0, 10.0, -1.0]]), torch.tensor([0.0, 0.5, 1.0]), (1,))
    assert z.tolist() == [[2 * (1 + 5), 3 * (1 + 20) + 0.5, 5 * (1 - 3) + 1]]


def test_gradients_of_the_transform() -> None:
    g = torch.Generator().manual_seed(2)
    tensors = [
        torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 4, 3), (2, 4), (4,))
    ]
    assert torch.autograd.gradcheck(lambda *t: quadratic_transform(*t, (1, 3)), tensors)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_full_precision_is_the_formula_in_units_of_codes(signed: bool, training: bool) -> None:
    module = random_parameters(QuadraticCodes(6, 8, signed, 3.0, (1, 2))).train(training)
    set_precision(module, "float")
    x = torch.randn(32, 6, 3, 3)
    y = BatchNorm(6).train(training)(x)
    z = dense_transform(y, module.coefficients, module.bias, (1, 2)) / (3.0 / module.top)
    torch.testing.assert_close(module(x), z if signed else torch.relu(z), rtol=1e-4, atol=1e-4)


# --- codes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "inner_bits"), [("pairs", 4), ("product", 4), ("product", 8)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_starts_as_codes_of_codes(
    form: str, inner_bits: int, signed: bool, ratio: int, training: bool
) -> None:
    """``ratio``: output codes an inner code is worth, whole, so that nothing lies between two codes."""
    top = (2**5 - 1) >> signed
    limit = top * INNER_LIMITS[inner_bits] / (2 ** (inner_bits - 1) - 1) / ratio
    module = on_codes(5, 5, signed, limit, inner_bits=inner_bits, form=form).double().train(training)
    codes = random_codes(module, (200, 5))
    plain = NormCodes(Affine(5, module.inner.step), 5, signed, limit).double().train(training)
    found = module(codes).detach()
    assert torch.equal(found, plain(codes))
    assert {float(found.min()), float(found.max())} == {
        max(module.lowest, -ratio * module.inner.top),
        min(module.top, ratio * module.inner.top),
    }


@st.composite
def enhanced_codes(draw: st.DrawFn) -> tuple[QuadraticCodes, Tensor]:
    bits, inner_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    shifts = draw(st.sampled_from(SHIFTS))
    top = 2 ** (bits - 1) - 1
    scale = draw(st.sampled_from([1.0, 0.37, 2.9]))
    limit = top * INNER_LIMITS[inner_bits] / (2 ** (inner_bits - 1) - 1) / scale
    module = on_codes(7, bits, True, limit, shifts=shifts, inner_bits=inner_bits, form="product").eval()
    seed = draw(st.integers(0, 2**16))
    random_parameters(module, seed, draw(st.sampled_from([0.02, 0.3, 1.0])))
    with torch.no_grad():
        module.coefficients.clamp_(-module.coefficient_limit, module.coefficient_limit)
    return module.double(), random_codes(module, (64, 7), seed)


@given(case=enhanced_codes())
def test_product_form_is_within_three_quarters_of_a_code(case: tuple[QuadraticCodes, Tensor]) -> None:
    """One shift: 3/4; each further one adds 1/4, of its rounded coefficients."""
    module, codes = case
    real = real_codes(module, codes).clamp(module.lowest, module.top)
    error = float((module(codes) - real).abs().max())
    assert error <= 0.5 + len(module.shifts) / 4 + 1e-9


def test_product_form_comes_near_its_bound() -> None:
    """The largest codes, and coefficients that round by almost a half, one a channel."""
    module = on_codes(256, 8, True, 127 * 2.5 / 7, inner_bits=4, form="product").double().eval()
    integers = torch.arange(128).repeat_interleave(2) + torch.tensor([0.49, 0.51]).repeat(128)
    module.coefficients.data[0] = integers / (2**7 * module.inner.step)
    codes = torch.full((1, 256), 7.0, dtype=torch.float64)
    assert 0.68 < float((module(codes) - real_codes(module, codes)).abs().max()) <= 0.75


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_pairs_are_the_rounded_formula(bits: int, signed: bool) -> None:
    bits += signed and bits == 1
    module = random_parameters(on_codes(5, bits, signed, 2.0, inner_bits=4, form="pairs")).double().eval()
    codes = random_codes(module, (500, 5))
    real = real_codes(module, codes)
    rounded = (real > 0).double() if bits == 1 else real.round().clamp(module.lowest, module.top)
    assert torch.equal(module(codes), rounded)
    index = ((codes.roll(1, 1) + 7) * 16 + codes + 7).long()
    tables = torch.from_numpy(pair_tables(module))
    assert tables.shape == (5, 256)
    assert torch.equal(tables[torch.arange(5), index].double(), rounded)


def test_one_unsigned_bit_is_a_step_in_both_forms() -> None:
    """Above zero: one. The product form rounds coefficients only, so it may differ close to zero."""
    module = random_parameters(on_codes(8, 1, False, 1.0, inner_bits=8)).double().eval()
    codes = random_codes(module, (300, 8))
    real = real_codes(module, codes)
    far = real.abs() > 0.25
    assert torch.equal(module(codes)[far], (real > 0).double()[far])
    module.coefficients.data.zero_()
    module.bias.data.zero_()
    assert torch.equal(module(codes), (codes > 0).double())


@pytest.mark.parametrize("form", FORMS)
def test_training_computes_the_integers_of_evaluation(form: str) -> None:
    """With a norm that has no statistics, both modes give the same codes."""
    module = random_parameters(on_codes(6, 5, False, 3.0, inner_bits=4, form=form))
    codes = random_codes(module, (100, 6, 2)).float()
    assert torch.equal(module.train()(codes), module.eval()(codes))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_clipped_formula(form: str) -> None:
    module = random_parameters(on_codes(6, 5, True, 3.0, inner_bits=4, form=form)).double()
    codes = random_codes(module, (50, 6)).requires_grad_()
    weights = torch.randn(50, 6, dtype=torch.float64)
    (module(codes) * weights).sum().backward()
    real = codes.detach().clone().requires_grad_()
    coefficients, bias = (p.detach().clone().requires_grad_() for p in (module.coefficients, module.bias))
    z = dense_transform(real * module.inner.step, coefficients, bias, (1,)) / module.step
    (z.clamp(-module.top, module.top) * weights).sum().backward()
    assert bool((z.abs() > module.top).any())
    for found, expected in ((codes, real), (module.coefficients, coefficients), (module.bias, bias)):
        torch.testing.assert_close(found.grad, expected.grad)


def test_parameters_act_within_their_limits() -> None:
    """A clipped coefficient keeps its gradient; a clipped bias leaves one code."""
    module = on_codes(4, 8, True, 40.0).double()
    codes = random_codes(module, (50, 4))
    module.coefficients.data.fill_(1e9)
    clipped = module(codes)
    clipped.sum().backward()
    assert bool((module.coefficients.grad != 0).all())
    module.coefficients.data.fill_(module.coefficient_limit)
    assert torch.equal(module(codes), clipped)
    for bias, code in ((1e9, module.top), (-1e9, module.lowest)):
        module.bias.data.fill_(bias)
        assert module(codes).unique().tolist() == [code]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["float", "quantized"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [0, 1, EXACT_LIMIT])
def test_results_and_gradients_stay_finite(form: str, precision: str, training: bool, size: int) -> None:
    module = random_parameters(QuadraticCodes(4, 4, False, 2.0, form=form)).train(training)
    set_precision(module, precision)
    x = (size * torch.randint(-1, 2, (16, 4, 3))).float().requires_grad_()
    y = module(x)
    (y.sum() + 0 * sum(p.sum() for p in module.parameters()) + 0 * x.sum()).backward()
    gradients = [p.grad for p in module.parameters()]
    assert all(bool(torch.isfinite(t).all()) for t in (y, x.grad, *gradients))


def test_inner_limits_keep_a_gaussian_best() -> None:
    """Least mean squared error of symmetric codes of a unit Gaussian, within 1 %."""
    x = np.linspace(-9, 9, 20001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])

    def error(limit: float, top: int) -> float:
        codes = np.clip(np.round(x * top / limit), -top, top)
        return float(((codes * limit / top - x) ** 2 * density).sum())

    for bits, limit in INNER_LIMITS.items():
        top = 2 ** (bits - 1) - 1
        best = min(error(candidate, top) for candidate in np.arange(1, 5, 0.02))
        assert error(limit, top) <= 1.01 * best, bits


def test_a_gain_is_bounded_by_its_limit() -> None:
    codes = QuadraticCodes(8, 8, True, 4.0, (1, 2, 3))
    reach = len(codes.shifts) * codes.coefficient_limit * codes.inner.limit
    assert math.isclose(1 + reach, GAIN)


# --- parameters and options ------------------------------------------------------------------------------


@pytest.mark.parametrize("shifts", SHIFTS)
def test_parameters_over_plain_codes(shifts: tuple[int, ...]) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    added = count(QuadraticCodes(12, 4, False, 2.0, shifts)) - count(
        NormCodes(BatchNorm(12), 4, False, 2.0)
    )
    assert added == (len(shifts) + 1) * 12


def test_attributes_are_those_of_plain_codes() -> None:
    for bits, signed in ((1, False), (4, True), (8, False)):
        found = QuadraticCodes(4, bits, signed, 2.0)
        plain = NormCodes(BatchNorm(4), bits, signed, 2.0)
        for name in ("bits", "signed", "limit", "lowest", "top", "step"):
            assert getattr(found, name) == getattr(plain, name), name
        assert found.inner.bits == max(bits, 4)


@pytest.mark.parametrize(
    ("bits", "shifts", "form"),
    [(2, (1,), "pairs"), (4, (3,), "pairs"), (4, (1, 2), "product"), (5, (1,), "product")],
)
def test_form_is_chosen_by_width_and_shifts(bits: int, shifts: tuple[int, ...], form: str) -> None:
    assert QuadraticCodes(4, bits, False, 2.0, shifts).form == form


def test_repr_names_the_options() -> None:
    assert QuadraticCodes(4, 2, True, 1.5, (1, 3)).extra_repr() == (
        "4, bits=2, signed=True, limit=1.5, shifts=(1, 3), inner_bits=4, form='product'"
    )


@pytest.mark.parametrize("shifts", [(), (0,), (-1,), (4,), (1, 1), (1.0,)])
def test_shifts_must_fit(shifts: tuple[int, ...]) -> None:
    rule = "shifts must be one or more distinct integers, at least 1 and below the 4 channels, not "
    for make in (
        lambda: QuadraticCodes(4, 2, False, 1.0, shifts),
        lambda: quadratic_transform(torch.ones(1, 4), torch.ones(len(shifts), 4), torch.ones(4), shifts),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == f"{rule}{list(shifts)}; the paper's are (1,)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_bits": 1}, "inner_bits must be within 2..8, not 1"),
        ({"inner_bits": 9}, "inner_bits must be within 2..8, not 9"),
        ({"form": "table"}, "form must be one of auto, product, pairs, not 'table'"),
        (
            {"form": "pairs", "inner_bits": 5},
            "form 'pairs' needs one shift and at most 4 inner_bits, not 1 and 5; use 'product'",
        ),
        (
            {"form": "pairs", "shifts": (1, 2)},
            "form 'pairs' needs one shift and at most 4 inner_bits, not 2 and 4; use 'product'",
        ),
        ({"inner_limit": 0.0}, "the limit of codes must be above 0, not 0.0"),
        ({"limit": -1.0}, "the limit of codes must be above 0, not -1.0"),
        (
            {"bits": 8, "limit": 0.4},
            "the sums of form 'product' must fit 32 bits, but limit 0.4 is too small for inner_limit 4 "
            "and 8 inner_bits; use a larger limit",
        ),
        ({"norm": BatchNorm(3)}, "the norm of 4 channels must have as many, not 3"),
    ],
)
def test_options_must_fit(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        QuadraticCodes(**{"channels": 4, "bits": 2, "signed": False, "limit": 1.0, **options})
    assert str(caught.value) == message


def test_a_saved_state_comes_back() -> None:
    module = random_parameters(QuadraticCodes(6, 4, False, 2.0))
    other = QuadraticCodes(6, 4, False, 2.0)
    other.load_state_dict(module.state_dict())
    x = torch.randint(-9, 9, (40, 6)).float()
    assert torch.equal(module.eval()(x), other.eval()(x))
    assert {"coefficients", "bias", "inner.norm.running_mean"} <= set(module.state_dict())
