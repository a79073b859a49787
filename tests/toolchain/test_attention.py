"""Layer norm, attention and the other token layers: real formulas, integer error bounds, lowering."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.types import Interval
from toolchain.layers import (
    GeluCodes,
    HEQConv2d,
    IntegerAttention,
    IntegerLayerNorm,
    LinearCodes,
    LoweringError,
    NormCodes,
    PositionCodes,
    set_precision,
)
from toolchain.layers.attention import SCORE_STEP, TOP_WEIGHT, rounded_quotient
from toolchain.layers.layer_norm import FRACTION_BITS, Standardize
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)

TOP = 127
CODES = Interval(-TOP, TOP)


def random_codes(seed: int, *shape: int, top: int = TOP) -> np.ndarray:
    return np.random.default_rng(seed).integers(-top, top + 1, shape)


def assert_exact(module: nn.Module, codes: np.ndarray, interval: Interval = CODES) -> Program:
    """The program gives what the float64 model gives, and float32 training computes the same."""
    program = lower(module, codes.shape[1:], interval, "tokens")
    with torch.no_grad():
        expected = reference_model(module)(torch.from_numpy(codes).double())
        trained = module.train()(torch.from_numpy(codes).float())
    (out,) = Interpreter(program).run({"image": codes}).values()
    assert len(np.unique(out)) > 1
    assert np.array_equal(out, expected.numpy())
    assert torch.equal(trained.double(), expected)
    return program


# Layer norm


@given(
    channels=st.sampled_from([2, 3, 12, 48, 384, 1024]),
    bits=st.sampled_from([2, 4, 8]),
    spread=st.integers(0, TOP),
    mean=st.integers(-TOP, TOP),
    seed=st.integers(0, 999),
)
def test_standard_form_is_within_its_error_bound(
    channels: int, bits: int, spread: int, mean: int, seed: int
) -> None:
    module = Standardize(channels, bits)
    noise = np.random.default_rng(seed).integers(-spread, spread + 1, (1, channels, 2, 1))
    x = torch.from_numpy(noise + mean).clamp(-module.top, module.top).double()
    variance = x.var(1, correction=0, keepdim=True) + module.epsilon / channels**2
    z = (x - x.mean(1, keepdim=True)) / torch.sqrt(variance)
    unit = 2.0**-FRACTION_BITS
    error = (module(x) * unit - z).abs()
    assert bool((error <= z.abs() * 2.0**-10 + unit / 2 + 1e-12).all())


@pytest.mark.parametrize("channels", [2, 48, 1024])
@pytest.mark.parametrize("fill", [0, TOP, -TOP])
def test_constant_tokens_become_zero(channels: int, fill: int) -> None:
    x = torch.full((2, channels, 3, 1), float(fill))
    for precision in ("float", "quantized"):
        module = IntegerLayerNorm(channels, 8, 4.0)
        set_precision(module, precision)
        assert bool((module(x) == 0).all())


@pytest.mark.parametrize("channels", [2, 48, 1024])
def test_a_token_with_one_large_channel_stays_finite(channels: int) -> None:
    x = torch.zeros(1, channels, 1, 1, requires_grad=True)
    x.data[0, 0] = TOP
    out = Standardize(channels, 8)(x)
    out.sum().backward()
    assert out[0, 0].item() * 2.0**-FRACTION_BITS == pytest.approx(math.sqrt(channels - 1), rel=2e-3)
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("gain", [1.0, -0.75])
def test_layer_norm_codes_are_near_the_real_formula(gain: float) -> None:
    module = IntegerLayerNorm(48, 8, 4.0)
    module.codes.norm.weight.data.fill_(gain)
    x = torch.from_numpy(random_codes(0, 32, 48, 16, 1)).double()
    real = gain * F.layer_norm(x.movedim(1, -1), (48,), eps=1 / 16).movedim(-1, 1) * TOP / 4
    codes = reference_model(module)(x)
    assert float((codes - real.clamp(-TOP, TOP)).abs().max()) <= 2 / 3


def test_float_layer_norm_passes_gradcheck() -> None:
    module = Standardize(5, 8).double()
    set_precision(module, "float")
    x = torch.from_numpy(random_codes(0, 2, 5, 3, 1)).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


def test_quantized_layer_norm_has_the_gradient_of_the_real_formula() -> None:
    x = torch.from_numpy(random_codes(1, 2, 12, 3, 1)).float()
    upstream = torch.from_numpy(random_codes(2, 2, 12, 3, 1)).float()
    gradients = []
    for precision in ("float", "quantized"):
        module, leaf = Standardize(12, 8), x.clone().requires_grad_()
        set_precision(module, precision)
        module(leaf).backward(upstream)
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("channels", "bits"), [(2, 8), (7, 4), (48, 8), (384, 8)])
def test_standard_form_lowers_exactly(channels: int, bits: int) -> None:
    module = Standardize(channels, bits)
    x = random_codes(channels, 6, channels, 5, 1, top=module.top)
    x[0], x[1] = module.top, 0
    x[2, 0], x[3, 1:] = -module.top, module.top
    assert_exact(module, x, Interval(-module.top, module.top))


def test_layer_norm_stays_within_42_bits() -> None:
    program = lower(IntegerLayerNorm(384, 8, 4.0), (384, 64, 1), CODES, "norm")
    widths = {node.op.name: node.type.bits for node in program.nodes}
    assert (widths["FloorSqrt"], widths["RoundDiv"], widths["Mul"]) == (21, 21, 38)
    assert max(type_.bits for type_ in program.types.values()) <= 42


# Attention


def test_float_attention_is_scaled_dot_product_attention() -> None:
    module = IntegerAttention(24, 4, step=0.05).double()
    set_precision(module, "float")
    x = torch.randn(3, 72, 10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 40
    q, k, v = (part.reshape(3, 4, 6, 10).transpose(2, 3) * 0.05 for part in x.chunk(3, 1))
    expected = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(3, 24, 10, 1) / 0.05
    torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


def test_float_attention_passes_gradcheck() -> None:
    module = IntegerAttention(4, 2, step=0.3).double()
    set_precision(module, "float")
    x = torch.randn(2, 12, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(module, (x.requires_grad_(),))


@given(
    tokens=st.integers(1, 65),
    width=st.sampled_from([1, 4, 12, 64]),
    reach=st.integers(0, TOP),
    seed=st.integers(0, 999),
)
def test_integer_softmax_is_within_its_error_bound(tokens: int, width: int, reach: int, seed: int) -> None:
    """Weights sum to 1; against the softmax of the same scores each errs by (1 + T p) / (2 sum E)."""
    module = IntegerAttention(width, 1, step=4 / TOP).double()
    q, k = torch.from_numpy(random_codes(seed, 2, 1, 1, width, tokens, top=reach)).double()
    sums = k.transpose(-2, -1) @ q
    entries = module.entries(sums)
    total = entries.sum(-2, keepdim=True)
    scores = torch.floor(sums / 2**module.shift + (0.5 if module.shift else 0))
    exact = torch.softmax(scores * module.score_step, -2)
    assert bool((entries.amax(-2) == TOP_WEIGHT).all())
    assert bool(((entries / total).sum(-2) - 1).abs().max() < 1e-12)
    bound = (1 + tokens * exact) / (2 * total)
    assert bool(((entries / total - exact).abs() <= bound + 1e-12).all())
    assert float(((entries / total - exact).abs()).max()) <= (1 + tokens) / (2 * TOP_WEIGHT)


@given(seed=st.integers(0, 999), heads=st.sampled_from([1, 2, 3]))
def test_attention_codes_are_near_the_real_formula(seed: int, heads: int) -> None:
    """Half a code of the division, and the two errors of the weights on values of up to 127 codes."""
    tokens, x = 9, torch.from_numpy(random_codes(seed, 2, 36, 9, 1, top=64)).double()
    module = IntegerAttention(12, heads, step=4 / TOP).double()
    found = module(x)
    set_precision(module, "float")
    bound = 0.5 + 64 * (math.expm1(module.score_step) + tokens / TOP_WEIGHT)
    assert float((found - module(x)).abs().max()) <= bound


def test_quantized_attention_is_close_on_ordinary_codes() -> None:
    x = torch.randn(8, 144, 16, 1, generator=torch.Generator().manual_seed(0)).mul(32).round()
    x = x.clamp(-TOP, TOP)
    module = IntegerAttention(48, 4, step=4 / TOP)
    found = module(x)
    set_precision(module, "float")
    assert float((found - module(x)).square().mean().sqrt()) < 0.35  # rounding alone gives 0.29


@pytest.mark.parametrize("step", [4 / TOP, 4 / 7, 2.0])
def test_score_steps_are_at_most_a_32nd_where_sums_allow_it(step: float) -> None:
    module = IntegerAttention(64, 1, step)
    assert module.scale == step**2 / 8
    assert module.score_step <= max(SCORE_STEP, module.scale)
    assert module.shift == 0 or module.score_step > SCORE_STEP / 2
    assert module.table[0] == TOP_WEIGHT
    assert module.table[-1] == 0
    assert module.table[-2] > 0


def test_quantized_attention_gradients_follow_the_real_ones() -> None:
    x = torch.randn(4, 36, 9, 1, generator=torch.Generator().manual_seed(0)).mul(32).round()
    upstream = torch.randn(4, 12, 9, 1, generator=torch.Generator().manual_seed(1))
    gradients = []
    for precision in ("float", "quantized"):
        module, leaf = IntegerAttention(12, 2, step=4 / TOP), x.clone().requires_grad_()
        set_precision(module, precision)
        module(leaf).backward(upstream)
        gradients.append(leaf.grad.flatten())
    assert float(F.cosine_similarity(*gradients, dim=0)) > 0.999


@pytest.mark.parametrize(("heads", "tokens", "top"), [(1, 1, 127), (2, 16, 127), (3, 49, 127), (4, 5, 7)])
def test_attention_lowers_exactly(heads: int, tokens: int, top: int) -> None:
    module = IntegerAttention(12, heads, step=4 / top)
    x = random_codes(tokens, 4, 36, tokens, 1, top=top)
    x[0] = top
    program = assert_exact(module, x, Interval(-top, top))
    assert program.types[program.outputs[0]].interval == Interval(-top, top)


@given(a=st.integers(-127, 127), b=st.integers(1, 2**17), rest=st.integers(-(2**16), 2**16))
def test_float32_quotients_are_exact(a: int, b: int, rest: int) -> None:
    limit = 2**24 - 1 - b // 2
    dividend = max(-limit, min(limit, a * b + rest % b))
    wanted = int(math.copysign((abs(dividend) + b // 2) // b, dividend))
    assert rounded_quotient(torch.tensor([float(dividend)]), torch.tensor([float(b)])).item() == wanted


# The rest


@pytest.mark.parametrize(("bits", "limit"), [(8, 4.0), (4, 2.0)])
def test_gelu_table_is_gelu_rounded(bits: int, limit: float) -> None:
    module = GeluCodes(bits, limit)
    codes = torch.arange(-module.top, module.top + 1).double()
    expected = F.gelu(codes * module.step) / module.step
    assert float((module(codes) - expected).abs().max()) <= 0.5
    values = codes.long().reshape(1, -1, 1, 1).numpy()
    assert_exact(module, values, Interval(-module.top, module.top))


def test_gelu_has_the_gradient_of_gelu() -> None:
    x = torch.arange(-TOP, TOP + 1).float().requires_grad_()
    module = GeluCodes(8, 4.0)
    (quantized,) = torch.autograd.grad(module(x).sum(), x)
    real = x.detach().mul(module.step).requires_grad_()
    (expected,) = torch.autograd.grad(F.gelu(real).sum(), real)
    torch.testing.assert_close(quantized, expected)


def test_positions_are_added_to_patches_and_lower_exactly() -> None:
    module = PositionCodes(6, 12, 8, 8.0)
    module.table.data *= 8
    x = random_codes(0, 3, 6, 3, 4)
    program = assert_exact(module, x)
    assert [node.op.name for node in program.nodes] == ["Reshape", "Requantize", "Reshape"]
    expected = x.reshape(3, 6, 12, 1) + (module.table.detach().numpy()[..., None] / module.step).round()
    (out,) = Interpreter(program).run({"image": x}).values()
    assert np.array_equal(out, expected.clip(-TOP, TOP))


@pytest.mark.parametrize("levels", [3, 64, 127])
def test_linear_codes_have_unit_variance_at_the_start(levels: int) -> None:
    torch.manual_seed(0)
    layer = LinearCodes(HEQConv2d(96, 64, 1, levels=levels), 4 / TOP, codes=unit_codes)
    x = torch.randn(32, 96, 16, 1).mul(TOP / 4).round()
    for precision in ("float", "quantized"):
        set_precision(layer, precision)
        assert 0.85 < float(layer(x).detach().std() * layer.codes.step) < 1.05


def unit_codes(norm: nn.Module) -> NormCodes:
    return NormCodes(norm, 8, signed=True, limit=4.0)


def test_linear_codes_keep_their_size_when_the_step_is_set_anew() -> None:
    torch.manual_seed(0)
    layer = LinearCodes(HEQConv2d(48, 16, 1, levels=127), 4 / TOP, unit_codes)
    x = torch.randn(8, 48, 4, 1).mul(TOP / 4).round()
    layer.layer.weight.data *= 2
    set_precision(layer, "float")
    before = layer(x)
    layer.layer.update_step()
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-3)
    set_precision(layer, "quantized")
    assert float((layer(x) - before.clamp(-TOP, TOP)).detach().abs().mean()) < 2


def test_linear_codes_lower_exactly_and_are_stored_once() -> None:
    layer = LinearCodes(HEQConv2d(6, 5, 1, levels=7), 4 / TOP, unit_codes)
    assert list(layer.state_dict()) == [
        "layer.weight",
        "layer.step",
        "codes.norm.weight",
        "codes.norm.bias",
    ]
    layer.codes.norm.weight.data = torch.tensor([1.0, -0.5, 0.0, 3.0, 1e-3])
    x = random_codes(0, 4, 6, 3, 1)
    with torch.no_grad():
        expected = reference_model(layer)(torch.from_numpy(x).double())
    (out,) = Interpreter(lower(layer, (6, 3, 1), CODES, "linear")).run({"image": x}).values()
    assert np.array_equal(out, expected.numpy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntegerAttention(12, 5, 1.0), "heads must divide the width, not 5 with a width of 12"),
        (lambda: IntegerAttention(12, 0, 1.0), "heads must divide the width, not 0 with a width of 12"),
        (lambda: Standardize(1, 8), "channels of a layer norm must be within 2..1024, not 1"),
        (lambda: Standardize(1025, 8), "channels of a layer norm must be within 2..1024, not 1025"),
        (lambda: Standardize(8, 1), "a layer norm needs signed codes of 2 to 8 bits, not 1"),
        (lambda: GeluCodes(1, 4.0), "GELU needs signed codes of 2 to 8 bits, not 1"),
        (lambda: GeluCodes(9, 4.0), "activation bits must be within 1..8, not 9"),
        (
            lambda: PositionCodes(4, 4, 1, 8.0),
            "a position embedding needs signed codes of 2 to 8 bits, not 1",
        ),
    ],
)
def test_options_have_rules(make, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("module", "shape", "interval", "message"),
    [
        (
            Standardize(8, 8),
            (7, 4, 1),
            CODES,
            "a layer norm of 8 channels takes codes within -127..127, its operand is "
            "i8[7x4x1] in [-127, 127]",
        ),
        (
            Standardize(8, 4),
            (8, 4, 1),
            CODES,
            "a layer norm of 8 channels takes codes within -7..7, its operand is i8[8x4x1] in [-127, 127]",
        ),
        (
            IntegerAttention(8, 2, 0.1),
            (8, 4, 1),
            CODES,
            "attention of width 8 takes tokens of shape [24, tokens, 1], its operand is "
            "i8[8x4x1] in [-127, 127]",
        ),
        (GeluCodes(4, 4.0), (8, 4, 1), CODES, "GELU takes codes within -7..7, not [-127, 127]"),
        (
            PositionCodes(8, 5, 8, 8.0),
            (8, 2, 2),
            CODES,
            "the position embedding is [8, 5], its operand is i8[8x2x2] in [-127, 127]",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    module: nn.Module, shape: tuple[int, ...], interval: Interval, message: str
) -> None:
    with pytest.raises(LoweringError) as caught:
        lower(module, shape, interval, "net")
    assert str(caught.value) == f"cannot lower '0': {message}"
