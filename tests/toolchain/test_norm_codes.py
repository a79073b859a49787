"""Normalization and codes in one module: thresholds, multipliers, and how far each is from rounding."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.types import Interval
from toolchain.layers import Affine, BatchNorm, NormCodes, batch_norm_codes, set_precision
from toolchain.layers.norm_codes import MAX_SHIFT, MULTIPLIER_BITS, Rounding
from toolchain.lowering import LoweringError, lower, reference_model

torch.set_num_threads(1)

FORMS = [(bits, signed) for bits in range(1, 9) for signed in (False, True) if bits > 1 or not signed]
WIDE = [form for form in FORMS if form[0] > 4]
SLOPES = [0.05, -0.05, 1 / 3, -2.5, 0.0, 1e-6, -1e-12, 300.0]
OFFSETS = [0.0, 0.5, -1.25, 40.0, -1e4]
CHANNELS = len(SLOPES) * len(OFFSETS)


def affine(slopes: Tensor, offsets: Tensor) -> nn.Module:
    """A norm without statistics with these slopes and values at 0."""
    norm = Affine(len(slopes), scale=0.5)
    norm.weight.data, norm.bias.data = slopes * 2, offsets.clone()
    return norm


def batch_norm(slopes: Tensor, offsets: Tensor) -> nn.Module:
    """A batch norm with these slopes, and statistics of every size."""
    norm = BatchNorm(len(slopes))
    norm.running_var.copy_(torch.logspace(-3, 5, len(slopes)))
    norm.running_mean.copy_(torch.linspace(-90, 90, len(slopes)))
    norm.weight.data = slopes * torch.sqrt(norm.running_var + norm.eps)
    norm.bias.data = offsets.clone()
    return norm


NORMS: dict[str, Callable[[Tensor, Tensor], nn.Module]] = {"affine": affine, "batch norm": batch_norm}


def every_case(norm: str, bits: int, signed: bool, limit: float = 2.0) -> NormCodes:
    """A module with every slope and every offset."""
    grid = torch.cartesian_prod(torch.tensor(SLOPES), torch.tensor(OFFSETS))
    return NormCodes(NORMS[norm](grid[:, 0], grid[:, 1]), bits, signed, limit)


def every_integer(low: int, high: int, channels: int = CHANNELS) -> np.ndarray:
    """All integers of an interval, in every channel: (N, C)."""
    return np.arange(low, high + 1)[:, None].repeat(channels, 1)


def real_codes(module: NormCodes, x: np.ndarray) -> np.ndarray:
    """The formula on float64 NumPy arrays (N, C): ``norm(x) / step``, neither rounded nor clipped."""
    norm = module.norm
    values = {name: t.detach().double().numpy() for name, t in norm.state_dict().items()}
    if isinstance(norm, Affine):
        z = x * (values["weight"] * norm.scale) + values["bias"]
    else:
        slope = values["weight"] / np.sqrt(values["running_var"] + norm.eps)
        z = (x - values["running_mean"]) * slope + values["bias"]
    return z / module.step


def model_codes(module: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return reference_model(module)(torch.from_numpy(x).double()).numpy()


def program_codes(module: nn.Module, x: np.ndarray, interval: Interval) -> np.ndarray:
    program = lower(module, x.shape[1:], interval, "codes")
    (out,) = Interpreter(program).run({"image": x}).values()
    return out


# --- the program equals the module -----------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "signed"), FORMS)
@pytest.mark.parametrize("norm", NORMS)
def test_program_equals_the_module_on_every_integer(norm: str, bits: int, signed: bool) -> None:
    module = every_case(norm, bits, signed)
    x = every_integer(-400, 401)
    codes = program_codes(module, x, Interval(-400, 401))
    assert np.array_equal(codes, model_codes(module, x))
    assert (codes.min(), codes.max()) == (module.lowest, module.top)
    image = x.reshape(401, 2, CHANNELS).transpose(0, 2, 1)[..., None]
    codes = program_codes(module, image, Interval(-400, 401))
    assert np.array_equal(codes, model_codes(module, image))


@pytest.mark.parametrize(("bits", "signed"), FORMS)
def test_codes_are_found_by_comparison_up_to_four_bits(bits: int, signed: bool) -> None:
    program = lower(batch_norm_codes(3, bits, signed, 1.0), (3,), Interval(-99, 99), "codes")
    found = [node.op.name for node in program.nodes]
    assert found == ["Requantize"] if bits > 4 else found[0] == "Threshold"


# --- how far it is from rounding -------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "signed"), [form for form in FORMS if form[0] <= 4])
@pytest.mark.parametrize("norm", NORMS)
def test_comparison_rounds_exactly(norm: str, bits: int, signed: bool) -> None:
    """Half to even; one unsigned bit is 1 above zero."""
    module = every_case(norm, bits, signed)
    x = every_integer(-200, 200)
    real = real_codes(module, x)
    expected = real > 0 if bits == 1 else np.clip(np.rint(real), module.lowest, module.top)
    assert np.array_equal(model_codes(module, x), expected)


@pytest.mark.parametrize(("bits", "signed"), WIDE)
@given(
    slope=st.floats(2.0**-20, 2.0**9),
    falls=st.booleans(),
    intercept=st.floats(-300, 300),
    xs=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=20),
)
def test_multiplier_differs_from_rounding_only_near_ties(
    bits: int, signed: bool, slope: float, falls: bool, intercept: float, xs: list[int]
) -> None:
    """The integers move a value by at most ``(|x| + 1) / 2**(shift + 1)`` codes."""
    module = NormCodes(Affine(1), bits, signed, limit=3.0).double()
    module.norm.weight.data.fill_((-slope if falls else slope) * module.step)
    module.norm.bias.data.fill_(intercept * module.step)
    multiplier, _, shift = (float(value) for value in module.constants())
    if shift < MAX_SHIFT:
        assert abs(multiplier) >= 2 ** (MULTIPLIER_BITS - 1)
    x = np.array(xs)[:, None]
    codes, real = model_codes(module, x), real_codes(module, x)
    moved = (abs(x) + 1) / 2 ** (shift + 1) + 1e-9
    low, high = (np.floor(real + sign * moved + 0.5) for sign in (-1, 1))
    assert np.all(np.clip(low, module.lowest, module.top) <= codes)
    assert np.all(codes <= np.clip(high, module.lowest, module.top))
    rounded = np.clip(np.floor(real + 0.5), module.lowest, module.top)
    within = abs(x) * slope <= 2**MULTIPLIER_BITS / 2
    assert np.all(abs(codes - rounded)[within] <= 1)


def test_rounding_of_the_multiplier_moves_an_8_bit_code_by_a_sixteenth() -> None:
    """Without an offset: 12 significant bits of a slope, codes up to 255."""
    slopes = torch.logspace(-5, -1, 200, dtype=torch.float64)
    module = NormCodes(Affine(200), 8, False, 255.0).double()
    module.norm.weight.data = slopes
    multiplier, offset, shift = module.constants()
    x = torch.floor(255 / slopes)
    moved = (x * multiplier + offset) / torch.exp2(shift) - 0.5 - x * slopes
    assert 1 / 32 < float(moved.abs().max()) <= 1 / 16


# --- training, full precision, gradients -----------------------------------------------------------------


@pytest.mark.parametrize(("bits", "signed"), FORMS)
def test_training_normalizes_with_the_statistics_of_its_batch(bits: int, signed: bool) -> None:
    module = batch_norm_codes(6, bits, signed, 2.0).train()
    x = torch.randint(-50, 50, (16, 6, 3, 3)).float()
    z = F.batch_norm(x, None, None, module.norm.weight, module.norm.bias, training=True)
    codes = module(x)
    rounded = (z / module.step).round().clamp(module.lowest, module.top)
    assert torch.equal(codes, (z > 0).float() if bits == 1 else rounded)
    torch.testing.assert_close(module.norm.running_mean, 0.1 * x.mean((0, 2, 3)))


@pytest.mark.parametrize(("bits", "signed"), WIDE)
def test_codes_of_training_and_evaluation_differ_by_at_most_one(bits: int, signed: bool) -> None:
    module = NormCodes(affine(torch.linspace(-0.3, 0.3, 7), torch.zeros(7)), bits, signed, 3.0)
    x = torch.arange(-500.0, 500)[:, None].repeat(1, 7)
    differ = (module.train()(x) - module.eval()(x)).detach().abs()
    assert float(differ.max()) <= 1
    assert float(differ.mean()) < 0.02


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 2, 3)])
def test_full_precision_is_the_norm_in_units_of_codes(signed: bool, shape: tuple[int, ...]) -> None:
    module = batch_norm_codes(5, 8, signed, 3.0).train()
    set_precision(module, "float")
    x = 9 * torch.randn(shape)
    z = F.batch_norm(x, None, None, training=True) / (3.0 / module.top)
    torch.testing.assert_close(module(x), z if signed else z.relu())
    y = (x - module.norm.running_mean.view(1, 5, *[1] * (x.dim() - 2))) * 2
    module.norm.running_var.fill_(0.25 - module.norm.eps)
    torch.testing.assert_close(module.eval()(x), (y if signed else y.relu()) / (3.0 / module.top))


def test_affine_by_hand() -> None:
    norm = Affine(2, scale=0.5)
    norm.weight.data, norm.bias.data = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 0.0])
    assert norm(torch.tensor([[2.0, 4.0]])).tolist() == [[4.0, -2.0]]
    assert norm(torch.tensor([[[2.0], [4.0]]])).tolist() == [[[4.0], [-2.0]]]


@pytest.mark.parametrize(("lowest", "top", "step"), [(0, 7, 0.5), (-7, 7, 0.25), (0, 255, 3.0)])
def test_rounding_passes_gradients_within_its_range(lowest: int, top: int, step: float) -> None:
    z = torch.linspace(1.5 * (lowest - 1) * step, 1.5 * (top + 1) * step, 101).requires_grad_()
    codes = Rounding(lowest, top, step)(z)
    codes.sum().backward()
    inside = (z >= lowest * step) & (z <= top * step)
    assert torch.equal(codes, (z / step).round().clamp(lowest, top))
    assert torch.equal(z.grad, torch.where(inside, 1 / step, 0.0))


def test_one_bit_is_the_heaviside_step_with_its_gradient() -> None:
    z = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5], requires_grad=True)
    codes = Rounding(0, 1, 0.3)(z)
    codes.sum().backward()
    assert codes.tolist() == [0, 0, 0, 1, 1]
    assert z.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("precision", ["float", "quantized"])
def test_gradients_reach_the_norm_and_its_operand(precision: str) -> None:
    module = batch_norm_codes(4, 8, True, 4.0).train()
    set_precision(module, precision)
    x = torch.randn(16, 4, requires_grad=True)
    (module(x) * torch.randn(16, 4)).sum().backward()
    assert all(bool(t.grad.all()) for t in (x, module.norm.weight, module.norm.bias))


@pytest.mark.parametrize("precision", ["float", "quantized"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("value", [0.0, 1e15, -1e15])
def test_zero_and_huge_accumulators_stay_finite(
    precision: str, training: bool, bits: int, value: float
) -> None:
    module = batch_norm_codes(2, bits, False, 1.0).train(training)
    set_precision(module, precision)
    x = torch.full((4, 2, 2, 2), value)
    x[0, 0] = 1.0
    codes = module(x.requires_grad_())
    assert bool(torch.isfinite(codes).all())
    if codes.requires_grad:
        codes.sum().backward()
        assert bool(torch.isfinite(x.grad).all())


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "signed", "limit", "message"),
    [
        (0, False, 1.0, "activation bits must be within 1..8, not 0"),
        (9, True, 1.0, "activation bits must be within 1..8, not 9"),
        (1, True, 1.0, "signed codes need 2 to 8 bits, not 1"),
        (4, False, 0.0, "the limit of codes must be above 0, not 0.0"),
        (4, False, -1.0, "the limit of codes must be above 0, not -1.0"),
        (4, True, math.nan, "the limit of codes must be above 0, not nan"),
    ],
)
def test_bits_and_limits_have_a_range(bits: int, signed: bool, limit: float, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        batch_norm_codes(3, bits, signed, limit)


def test_a_norm_has_channels() -> None:
    with pytest.raises(InputError, match=r"^Affine channels must be at least 1, not 0$"):
        Affine(0)


def refusal(module: NormCodes, channels: int = 3) -> str:
    with pytest.raises(LoweringError) as caught:
        lower(nn.Sequential(module), (channels, 2, 2), Interval(-9, 9), "net")
    return str(caught.value)


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize(
    ("buffer", "value"), [("running_mean", math.nan), ("running_var", -1.0), ("weight", math.inf)]
)
def test_norms_that_are_not_finite_are_refused(bits: int, buffer: str, value: float) -> None:
    module = batch_norm_codes(3, bits, False, 1.0)
    getattr(module.norm, buffer).data[1] = value
    assert refusal(module) == (
        "cannot lower '0': a normalization must have finite statistics and weights; retrain the model"
    )


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("channels", [1, 4])
def test_channels_must_fit(bits: int, channels: int) -> None:
    message = f"cannot lower '0': NormCodes has {channels} channels, its operand has 3"
    assert refusal(batch_norm_codes(channels, bits, False, 1.0)) == message


@pytest.mark.parametrize("slope", [1e20, -1e20, 1e38])
def test_products_must_stay_exact(slope: float) -> None:
    module = NormCodes(Affine(3), 8, True, 1.0)
    module.norm.weight.data[2] = slope
    rule = r"products of a requantization must stay within 2\*\*53, not \[-?\d+, -?\d+\]"
    assert re.fullmatch(f"cannot lower '0': {rule}", refusal(module))
