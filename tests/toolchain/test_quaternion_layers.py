"""Quaternion layers: the algebra, its real matrix, the initialization, and what pruning leaves."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.types import Interval
from runtime.weights import hamilton_matrix
from toolchain.layers import (
    HEQClassifier,
    HEQConv2d,
    HEQLayer,
    HEQLinear,
    HEQQuaternionConv2d,
    HEQQuaternionLinear,
    LoweringError,
    Prunable,
    QuaternionConv2d,
    QuaternionLinear,
    RealConv2d,
    RealLinear,
    adopt_masks,
    prunable_layers,
    set_precision,
)
from toolchain.layers.algebra import hamilton
from toolchain.lowering import lower
from toolchain.quantizers import step_of

torch.set_num_threads(1)

UNITS = {(1, 2): (3, 1), (2, 3): (1, 1), (3, 1): (2, 1), (2, 1): (3, -1), (3, 2): (1, -1), (1, 3): (2, -1)}
"""Hamilton's rules: i j = k, j k = i, k i = j, and the other order with a minus."""

seeds = st.integers(0, 2**31)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def times(a: int, b: int) -> tuple[int, int]:
    """The product of two of the units 1, i, j, k as (unit, sign)."""
    if 0 in (a, b):
        return a + b, 1
    return (0, -1) if a == b else UNITS[a, b]


def quaternion_dense(w: Tensor, x: Tensor) -> Tensor:
    """Reference: ``y[o] = sum_c w[o, c] x[c]`` over quaternions, unit by unit; w (4, O, I), x (4, I)."""
    y = torch.zeros(4, w.shape[1], dtype=w.dtype)
    for a, b in itertools.product(range(4), repeat=2):
        unit, sign = times(a, b)
        y[unit] += sign * w[a] @ x[b]
    return y


def conjugate(x: Tensor) -> Tensor:
    """Of blocked channels: the sign of i, j and k changes."""
    signs = torch.tensor([1.0, -1, -1, -1], dtype=x.dtype).repeat_interleave(x.shape[1] // 4)
    return x * signs.view(1, -1, *(1,) * (x.dim() - 2))


@given(seed=seeds, outputs=st.integers(1, 3), inputs=st.integers(1, 3))
def test_a_dense_layer_is_the_algebra(seed: int, outputs: int, inputs: int) -> None:
    layer = QuaternionLinear(4 * inputs, 4 * outputs).double()
    w = torch.randint(-9, 10, (4, outputs, inputs), generator=rng(seed)).double()
    x = torch.randint(-9, 10, (4, inputs), generator=rng(seed + 1)).double()
    layer.weight.data = w.reshape(4 * outputs, inputs)
    assert torch.equal(layer(x.reshape(1, -1)).reshape(4, -1), quaternion_dense(w, x))


@given(seed=seeds)
def test_a_convolution_is_the_algebra_at_every_position(seed: int) -> None:
    layer = QuaternionConv2d(8, 4, 3, padding=1).double()
    w = torch.randint(-5, 6, (4, 1, 2, 3, 3), generator=rng(seed)).double()
    layer.weight.data = w.reshape(4, 2, 3, 3)
    x = torch.randint(-5, 6, (4, 2, 4, 5), generator=rng(seed + 1)).double()
    wanted = torch.zeros(4, 4, 5, dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1))
    for row, column, u, v in itertools.product(range(4), range(5), range(3), range(3)):
        wanted[:, row, column] += quaternion_dense(w[..., u, v], padded[:, :, row + u, column + v])[:, 0]
    assert torch.equal(layer(x.reshape(1, 8, 4, 5))[0], wanted)


@given(seed=seeds)
def test_layers_are_the_expanded_real_matrix(seed: int) -> None:
    w = torch.randint(-9, 10, (8, 3, 2, 1), generator=rng(seed))
    expanded = hamilton_matrix(w.reshape(4, 2, 3, 2, 1).numpy())
    assert np.array_equal(hamilton(w.float()).numpy(), expanded)
    assert np.array_equal(hamilton(w.double()).numpy(), expanded)
    assert np.array_equal(hamilton(w.bfloat16()).float().numpy(), expanded)


@given(seed=seeds)
def test_conjugating_twice_multiplies_from_the_right_and_rotates(seed: int) -> None:
    """``conj(w conj(w x)) = w x conj(w)``, which turns a pure quaternion of norm 1 about the axis of w."""
    layer = QuaternionLinear(4, 4).double()
    w = F.normalize(torch.randn(4, generator=rng(seed), dtype=torch.float64), dim=0)
    layer.weight.data = w.reshape(4, 1)
    x = torch.randn(1, 3, generator=rng(seed + 1), dtype=torch.float64)
    turned = conjugate(layer(conjugate(layer(F.pad(x, (1, 0))))))[0].detach()
    axis = w[1:] / w[1:].norm()
    angle = 2 * torch.atan2(w[1:].norm(), w[0])
    v = x[0]
    wanted = (
        v * angle.cos() + torch.linalg.cross(axis, v) * angle.sin() + axis * (axis @ v) * (1 - angle.cos())
    )
    assert torch.allclose(turned[1:], wanted)
    assert abs(float(turned[0])) < 1e-12
    assert torch.allclose(layer(F.pad(x, (1, 0))).norm(), x.norm())


@given(seed=seeds)
def test_the_gradient_is_that_of_the_algebra(seed: int) -> None:
    w = torch.randn(4, 2, generator=rng(seed), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hamilton, (w,))


def test_the_start_has_the_moments_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = QuaternionConv2d(4 * 32, 4 * 64, 3)
    r, *imaginary = layer.weight.detach().unflatten(0, (4, -1))
    scale = 1 / math.sqrt(8 * 32 * 9)
    magnitude = torch.stack([r, *imaginary]).norm(dim=0)
    assert float(magnitude.square().mean()) == pytest.approx(4 * scale**2, rel=0.02)
    assert float(magnitude.mean()) == pytest.approx(
        scale * math.sqrt(2) * math.gamma(2.5) / math.gamma(2), rel=0.01
    )
    assert float(r.var()) == pytest.approx(2 * scale**2, rel=0.03)
    for part in imaginary:
        assert float(part.var()) == pytest.approx(2 * scale**2 / 3, rel=0.03)
        assert abs(float(part.mean())) < 0.03 * scale
    assert not layer.bias.detach().any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuaternionConv2d(3, 8, 3), "inputs of a QuaternionConv2d must be a multiple of 4, not 3"),
        (lambda: QuaternionLinear(8, 10), "outputs of a QuaternionLinear must be a multiple of 4, not 10"),
        (lambda: HEQQuaternionConv2d(4, 6, 3), "outputs of a HEQQuaternionConv2d must be a multiple of 4"),
        (lambda: HEQQuaternionConv2d(8, 8, 3, groups=2), "HEQQuaternionConv2d has no groups"),
        (
            lambda: HEQQuaternionLinear(4, 4, steps="row"),
            "steps must be one of layer, component, channel, not 'row'",
        ),
        (lambda: RealLinear(0, 4), "weights must have dimensions of at least 1"),
        (lambda: RealConv2d(2**14, 2**14, 3), "weights may have at most"),
    ],
)
def test_options_are_checked(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


HEQ_LAYERS = [HEQQuaternionConv2d(8, 12, 3, padding=1, levels=5), HEQQuaternionLinear(8, 12, 3)]


@pytest.mark.parametrize("layer", HEQ_LAYERS, ids=lambda layer: type(layer).__name__)
def test_quantized_quaternions_compute_with_the_codes_of_their_components(layer: HEQLayer) -> None:
    stored = layer.stored_codes()
    assert stored.shape == layer.weight.shape
    expanded = hamilton_matrix(stored.reshape(4, 3, *stored.shape[1:]).numpy())
    assert np.array_equal(layer.codes().numpy(), expanded)
    assert np.array_equal(layer.constant().codes, expanded)
    assert layer.constant().is_hamilton
    assert torch.equal(layer.effective_weight(), layer.codes().float())


@pytest.mark.parametrize("layer", HEQ_LAYERS, ids=lambda layer: type(layer).__name__)
def test_quantized_quaternions_lower_to_one_op_and_stay_exact(layer: HEQLayer) -> None:
    shape = (8, 5, 4) if layer.weight.dim() == 4 else (8,)
    program = lower(layer, shape, Interval(0, 3), "quaternion")
    (node,) = program.nodes
    assert node.op.weights.is_hamilton
    x = np.random.default_rng(0).integers(0, 4, (6, *shape))
    found = node.op.evaluate(x)
    assert np.array_equal(found, layer.double()(torch.from_numpy(x).double()).detach().numpy())
    layer.float()


def test_one_step_a_component_equalizes_each_histogram() -> None:
    torch.manual_seed(1)
    together, apart = (HEQQuaternionLinear(400, 400, steps=steps) for steps in ("layer", "component"))
    apart.load_state_dict({"weight": together.weight, "step": apart.step})
    apart.update_step()
    assert apart.step.shape == (4,)
    assert float(apart.step[0]) > 1.4 * float(apart.step[1:].max())  # r varies three times as much
    shares = [(part == 0).float().mean() for part in apart.stored_codes().chunk(4)]
    assert all(float(share) == pytest.approx(1 / 3, abs=0.02) for share in shares)
    spread = [float((part == 0).float().mean()) for part in together.stored_codes().chunk(4)]
    assert max(spread) - min(spread) > 0.1
    assert apart.histogram().sum() == apart.weight.numel()


def half(layer: Prunable) -> Tensor:
    """A mask of about half the weights."""
    return torch.rand(layer.weight.shape, generator=rng(3)) < 0.5


PRUNABLE = [
    lambda: RealConv2d(4, 8, 3),
    lambda: RealLinear(12, 8),
    lambda: QuaternionConv2d(4, 8, 3),
    lambda: QuaternionLinear(12, 8),
    lambda: HEQConv2d(4, 8, 3, groups=2),
    lambda: HEQLinear(12, 8, 5),
    lambda: HEQClassifier(12, 8),
    lambda: HEQQuaternionConv2d(4, 8, 3),
    lambda: HEQQuaternionLinear(12, 8, 7, steps="component"),
]


@pytest.mark.parametrize("make", PRUNABLE)
@pytest.mark.parametrize("precision", ["float", "quantized"])
def test_pruned_weights_stay_zero_and_get_no_gradient(make: object, precision: str) -> None:
    layer = make()  # type: ignore[operator]
    set_precision(layer, precision)
    mask = half(layer)
    layer.set_mask(mask)
    assert not layer.weight.detach()[~mask].any()
    assert int(layer.survivors()) == int(mask.sum())
    before = layer.weight.detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    shape = (2, 4, 5, 5) if layer.weight.dim() == 4 else (2, 12)
    layer(torch.rand(shape, generator=rng(4))).square().sum().backward()
    optimizer.step()
    assert torch.equal(layer.weight[~mask], before[~mask])
    assert bool((layer.weight != before)[mask].any())
    expanded = layer.effective_weight()
    zeros = layer.algebra.expand((~mask).float()) != 0
    assert not expanded.detach()[zeros].any()


def test_steps_are_quantiles_of_surviving_weights() -> None:
    layer = HEQLinear(40, 50)
    mask = layer.weight.abs() > layer.weight.abs().median()
    layer.set_mask(mask)
    layer.update_step()
    assert float(layer.step) == pytest.approx(step_of(layer.weight[mask], 3))
    assert float(layer.step) > 1.2 * step_of(layer.weight, 3)
    assert int(layer.histogram().sum()) == int(mask.sum())
    layer.set_mask(torch.zeros_like(mask))
    layer.update_step()
    assert not layer.codes().any()
    assert float(layer.step) > 0


def test_masks_are_checked() -> None:
    with pytest.raises(InputError, match="only weights with an odd number of levels can be pruned, not 4"):
        HEQLinear(4, 4, 4).set_mask(torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"a mask must be torch.bool of shape \[4, 4\], not torch.float32"):
        HEQLinear(4, 4).set_mask(torch.ones(4, 4))
    with pytest.raises(
        InputError, match="granularity must be one of weight, quaternion, channel, not 'row'"
    ):
        HEQLinear(4, 4).scores("row")


def test_scores_join_what_is_pruned_together() -> None:
    layer = QuaternionConv2d(8, 12, 3)
    w = layer.weight.detach().unflatten(0, (4, 3))
    single, whole, channel = (
        layer.scores(name).unflatten(0, (4, 3)) for name in ("weight", "quaternion", "channel")
    )
    assert torch.equal(single, w.abs())
    assert torch.allclose(whole[2], w.square().mean(0).sqrt())
    assert torch.equal(whole[0], whole[3])
    assert channel.unique().numel() == 3
    assert float(channel[0, 1, 0, 0, 0]) == pytest.approx(float(w[:, 1].square().mean().sqrt()))
    real = RealLinear(6, 5)
    assert torch.equal(real.scores("quaternion"), real.weight.abs())
    assert torch.allclose(real.scores("channel")[:, 0], real.weight.square().mean(1).sqrt())


def test_masks_travel_with_the_state() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(QuaternionLinear(8, 8), nn.ReLU(), RealLinear(8, 2))

    pruned, fresh = network(), network()
    assert "0.mask" not in pruned.state_dict()
    assert list(prunable_layers(pruned)) == ["0", "2"]
    pruned[0].set_mask(half(pruned[0]))
    adopt_masks(fresh, pruned.state_dict())
    fresh.load_state_dict(pruned.state_dict())
    assert torch.equal(fresh[0].mask, pruned[0].mask)
    assert fresh[2].mask is None
    adopt_masks(fresh, network().state_dict())
    assert fresh[0].mask is None


def test_plain_layers_say_what_lowers_instead() -> None:
    with pytest.raises(
        LoweringError, match=r"use HEQQuaternionLinear \(`gatefold quantize` makes it\) instead"
    ):
        lower(nn.Sequential(QuaternionLinear(8, 8)), (8,), Interval(0, 1), "plain")
