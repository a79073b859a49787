"""The quadratic enhancer in programs: exact in both integer forms, within 32 bits; and what it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import exporters
from runtime.ir import Program
from runtime.types import Interval
from toolchain.layers import (
    BatchNorm,
    HEQConv2d,
    HEQLinear,
    HEQQuaternionConv2d,
    NormCodes,
    QuadraticCodes,
)
from toolchain.layers.quadratic import INT32, PAIR_BITS
from toolchain.lowering import LoweringError, lower, reference_model

torch.set_num_threads(1)

SHIFTS = [(1,), (1, 2), (3,)]
FORM_OPS = {
    "pairs": ["Roll", "Requantize", "Add", "Lookup"],
    "product": ["Roll", "Requantize", "Mul", "Requantize"],
}


def settled(model: nn.Module, x: np.ndarray) -> nn.Module:
    """Statistics near those of ``x``, slopes of both signs, enhancers away from the identity."""
    torch.manual_seed(5)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
            module.weight.data = torch.randn(module.channels)
            module.bias.data = 0.3 * torch.randn(module.channels)
        if isinstance(module, QuadraticCodes):
            nn.init.normal_(module.coefficients, std=0.6)
            nn.init.normal_(module.bias, std=0.6)
    with torch.no_grad():
        model.train()(torch.from_numpy(x).float())
    return model


def images(shape: tuple[int, ...] = (24, 4, 5, 5), top: int = 15) -> np.ndarray:
    return np.random.default_rng(3).integers(0, top + 1, shape)


def assert_exact(model: nn.Module, x: np.ndarray, executor: str = "interpreter") -> Program:
    program = lower(settled(model, x), x.shape[1:], Interval(0, 15), "net")
    with torch.no_grad():
        expected = reference_model(model)(torch.from_numpy(x).double())
    (found,) = exporters.open_session(program, executor).run({"image": x}).values()
    assert len(np.unique(found)) > 1
    assert np.array_equal(found, expected.numpy())
    return program


LAYERS = {
    "conv": lambda: HEQConv2d(4, 8, 3, padding=1, levels=5),
    "quaternion conv": lambda: HEQQuaternionConv2d(4, 8, 3, padding=1),
    "dense": lambda: nn.Sequential(nn.Flatten(), HEQLinear(100, 8, levels=9)),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", FORM_OPS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_program_equals_the_float64_model(layer: str, form: str, bits: int) -> None:
    for shifts in SHIFTS if form == "product" else ((1,), (3,)):
        inner_bits = PAIR_BITS if form == "pairs" else None
        for signed in (False, True)[: 1 if bits == 1 else 2]:
            codes = QuadraticCodes(8, bits, signed, 2.0, shifts, inner_bits, form=form)
            program = assert_exact(nn.Sequential(LAYERS[layer](), codes), images())
            names = [node.op.name for node in program.nodes]
            assert names[-4:] == FORM_OPS[form] or len(shifts) > 1
            assert ("Mul" in names) == (form == "product")


@pytest.mark.parametrize("executor", ["packed", "onnx"])
@pytest.mark.parametrize("form", FORM_OPS)
def test_executors_agree_on_both_forms(executor: str, form: str) -> None:
    """Two enhancers in a row, the second on signed codes of the first."""
    inner_bits = PAIR_BITS if form == "pairs" else 8
    first = QuadraticCodes(8, 6, True, 2.0, (3,), inner_bits, form=form)
    last = QuadraticCodes(6, 8, False, 2.0, (1,), inner_bits, form=form)
    layers = [HEQConv2d(4, 8, 3, padding=1), first, nn.Flatten(), HEQLinear(200, 6, levels=5), last]
    assert_exact(nn.Sequential(*layers), images(), executor)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("shifts", SHIFTS)
def test_products_fit_32_bits_whatever_the_parameters(bits: int, shifts: tuple[int, ...]) -> None:
    """At 8 inner bits and about the smallest limits that are allowed."""
    limit = {1: 0.002, 4: 0.03, 8: 0.51}[bits]
    codes = QuadraticCodes(8, bits, False, limit, shifts, inner_bits=8, form="product")
    for sign in (-1, 1):
        with torch.no_grad():
            codes.coefficients.fill_(sign * 1e9)
            codes.bias.fill_(sign * 1e9)
        program = lower(nn.Sequential(HEQLinear(4, 8), codes), (4,), Interval(0, 15), "net")
        product, last = program.nodes[-2], program.nodes[-1].op
        ends = [
            end + int(offset)
            for end in (product.type.interval.lo, product.type.interval.hi)
            for offset in last.offset
        ]
        assert INT32.lo <= min(ends) <= max(ends) <= INT32.hi
        assert max(node.type.bits for node in program.nodes) <= 32
        assert max(map(abs, ends)) > 0.9 * INT32.hi


def test_lowering_refuses_what_does_not_fit() -> None:
    model = nn.Sequential(HEQLinear(4, 8), QuadraticCodes(6, 2, False, 1.0))
    with pytest.raises(LoweringError) as caught:
        lower(model, (4,), Interval(0, 3), "net")
    assert str(caught.value) == "cannot lower '1': QuadraticCodes has 6 channels, its operand has 8"
    model[1] = QuadraticCodes(8, 2, False, 1.0)
    model[1].bias.data[3] = math.nan
    with pytest.raises(LoweringError) as caught:
        lower(model, (4,), Interval(0, 3), "net")
    assert str(caught.value) == (
        "cannot lower '1': coefficients and bias of QuadraticCodes must be finite; retrain the model"
    )


def accuracy_on_products(codes: nn.Module) -> float:
    """One dense layer and ``codes``, whose first channel should have the sign of ``x0 * x1``."""
    torch.manual_seed(0)
    x = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    target = (x[:, 0] * x[:, 1] > 0).float()
    model = nn.Sequential(HEQLinear(4, 4, levels=3), codes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        score = model(x)[:, 0] * codes.step
        loss = nn.functional.binary_cross_entropy_with_logits(score, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model[0].clamp_latent()
    return float(((model(x)[:, 0] > 0) == (target > 0)).float().mean())


@pytest.mark.parametrize(("form", "bits"), [("pairs", 4), ("product", 8)])
def test_learns_a_product_that_plain_codes_cannot(form: str, bits: int) -> None:
    """A sum of inputs, rounded by a monotone function, is right on three quarters of the corners."""
    assert accuracy_on_products(NormCodes(BatchNorm(4), bits, True, 4.0)) <= 0.75
    assert accuracy_on_products(QuadraticCodes(4, bits, True, 4.0, form=form)) == 1
