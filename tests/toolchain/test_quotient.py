"""Quotient connections: the gate of the paper, its tables, and how far a product of codes strays."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.types import Interval
from tests.joined import Joined, assert_program_equals_module
from toolchain.layers import (
    Affine,
    NormCodes,
    QuotientConnection,
    QuotientEntry,
    QuotientRead,
    QuotientScale,
    set_precision,
)
from toolchain.layers.quotient import DOMAINS, quotient_gate
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)

ALPHAS = [1.05, 1.5, 1.8, 2.0, 4.0, 16.0]
BITS = range(3, 9)


def q(z: float, alpha: float) -> float:
    """The gate as the paper writes it, with Python's floats."""
    return alpha / (1 + math.exp(math.log(alpha - 1) - z))


def scale_of(bits: int, domain: str = "log", alpha: float = 2.0, gate_bits: int = 8) -> QuotientScale:
    """A scale whose gate codes reach from -8 to 8."""
    return QuotientScale(alpha, bits, 8.0 / (2 ** (gate_bits - 1) - 1), domain)


def column(codes: list[int] | range) -> Tensor:
    return torch.tensor(list(codes), dtype=torch.float64).view(-1, 1, 1, 1)


# --- the gate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gate_is_that_of_the_paper(alpha: float) -> None:
    """Through (0, 1), within (0, alpha), growing everywhere."""
    z = torch.linspace(-12, 12, 97, dtype=torch.float64)
    gate = quotient_gate(z, alpha)
    torch.testing.assert_close(gate, torch.tensor([q(float(v), alpha) for v in z], dtype=torch.float64))
    assert float(quotient_gate(torch.zeros((), dtype=torch.float64), alpha)) == pytest.approx(1, abs=1e-12)
    assert bool((gate > 0).all())
    assert bool((gate < alpha).all())
    assert bool((gate.diff() > 0).all())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradients_of_the_gate(alpha: float) -> None:
    z = torch.linspace(-6, 6, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: quotient_gate(z, alpha), z)


@pytest.mark.parametrize("domain", DOMAINS)
def test_gradients_in_full_precision(domain: str) -> None:
    scale = scale_of(8, domain, 1.8)
    entry, connection = QuotientEntry(scale, 127), QuotientConnection(scale, 127)
    for module in (entry, connection):
        set_precision(module, "float")
    t, x = (torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(entry, t)
    assert torch.autograd.gradcheck(connection, (t, x))


@pytest.mark.parametrize("domain", DOMAINS)
def test_full_precision_is_the_formula_in_units_of_what_convolutions_read(domain: str) -> None:
    scale = scale_of(8, domain, 1.5)
    modules = QuotientEntry(scale, 127), QuotientConnection(scale, 127), QuotientRead(scale)
    for module in modules:
        set_precision(module, "float")
    entry, connection, read = modules
    t, u = torch.tensor([-60.0, 0.0, 31.5]), torch.tensor([40.0, 0.0, 200.0])
    expected = [q(a * scale.step, 1.5) * q(b * scale.step, 1.5) for a, b in zip(t, u, strict=True)]
    torch.testing.assert_close(read(connection(t, entry(u))) / scale.unit, torch.tensor(expected))


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("bits", [3, 8])
def test_a_gate_code_of_0_is_the_identity(domain: str, alpha: float, bits: int) -> None:
    """Bit for bit, with codes; to the last bits of float32 without."""
    module = QuotientConnection(scale_of(bits, domain, alpha), 127)
    low, high = module.limits()
    stream = torch.arange(float(low), high + 1).view(-1, 1, 1, 1)
    assert torch.equal(module(torch.zeros_like(stream), stream), stream)
    set_precision(module, "float")
    torch.testing.assert_close(module(torch.zeros_like(stream), stream), stream)


# --- codes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "phi", "limits", "unit"),
    [(3, 2, (-4, 3), 2), (4, 2, (-8, 7), 4), (6, 3, (-32, 31), 16), (8, 5, (-128, 127), 16)],
)
def test_ranges_of_codes(bits: int, phi: int, limits: tuple[int, int], unit: int) -> None:
    """A logarithm has ``phi`` bits behind its point; the smallest one is read as code 1."""
    scale = scale_of(bits)
    assert (scale.phi, scale.unit) == (phi, unit)
    assert QuotientConnection(scale, 127).limits() == limits
    assert QuotientConnection(scale_of(bits, "linear"), 127).limits() == (1, 2**bits - 1)
    read = QuotientRead(scale)(torch.tensor([float(limits[0]), 0.0, float(limits[1])]))
    assert read.tolist() == [1, unit, min(round(unit * 2 ** (limits[1] / 2**phi)), 2**bits - 1)]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("bits", BITS)
def test_entries_of_all_tables_are_rounded_formulas(domain: str, bits: int) -> None:
    scale = scale_of(bits, domain, 1.7)
    entry, connection = QuotientEntry(scale, 127), QuotientConnection(scale, 127)
    low, high = connection.limits()
    for t in range(-127, 128):
        gate = q(t * scale.step, 1.7)
        log = round(math.log2(gate) * 2**scale.phi)
        start, factor = (log, log) if domain == "log" else (round(gate * scale.unit), round(gate * 2**bits))
        assert int(entry(column([t]))) == min(max(start, low), high)
        assert int(connection.table.lookup().table[0, t + 127]) == factor
    if domain == "log":
        wanted = [
            min(max(round(scale.unit * 2 ** (c / 2**scale.phi)), 1), scale.top)
            for c in range(low, high + 1)
        ]
        assert QuotientRead(scale)(column(range(low, high + 1))).flatten().tolist() == wanted


def gate_error(scale: QuotientScale) -> float:
    """Largest relative error of one gate in logarithms, as a factor."""
    return 2 ** (2.0 ** -(scale.phi + 1))


@given(
    bits=st.integers(3, 8),
    alpha=st.sampled_from(ALPHAS),
    start=st.integers(-20, 20),
    gates=st.lists(st.integers(-20, 20), min_size=1, max_size=8),
)
def test_products_of_logarithms_err_by_half_a_code_a_gate(
    bits: int, alpha: float, start: int, gates: list[int]
) -> None:
    """A gate by at most ``2**(2**-(phi + 1)) - 1``, relatively, and n gates by its n-th power, while
    nothing is clipped."""
    scale = scale_of(bits, "log", alpha)
    entry, connection = QuotientEntry(scale, 127), QuotientConnection(scale, 127)
    low, high = connection.limits()
    stream, product = entry(column([start])), q(start * scale.step, alpha)
    for count, t in enumerate(gates, 2):
        stream, product = connection(column([t]), stream), product * q(t * scale.step, alpha)
        if not low < int(stream) < high:
            break
        error = 2 ** (float(stream) / 2**scale.phi) / product
        assert gate_error(scale) ** -count * (1 - 1e-9) <= error <= gate_error(scale) ** count * (1 + 1e-9)


@given(bits=st.integers(3, 8), alpha=st.sampled_from(ALPHAS), t=st.integers(-127, 127), data=st.data())
def test_a_linear_product_errs_by_half_a_code_and_the_rounding_of_its_gate(
    bits: int, alpha: float, t: int, data: st.DataObject
) -> None:
    connection = QuotientConnection(scale_of(bits, "linear", alpha), 127)
    x = data.draw(st.integers(1, connection.scale.top))
    exact = x * q(t * connection.scale.step, alpha)
    wanted = min(max(exact, 1), connection.scale.top)
    assert abs(int(connection(column([t]), column([x]))) - wanted) <= 0.5 + x / 2 ** (bits + 1) + 1e-9


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("alpha", [1.5, 2.0, 16.0])
def test_program_equals_the_module_for_every_gate_and_every_stream(
    domain: str, bits: int, alpha: float
) -> None:
    """All gate codes times all stream codes."""
    connection = QuotientConnection(scale_of(bits, domain, alpha), 127)
    low, high = connection.limits()
    gates, streams = np.meshgrid(np.arange(-127, 128), np.arange(low, high + 1), indexing="ij")
    gate_codes = NormCodes(Affine(1), 8, True, 127.0)
    out = assert_program_equals_module(
        Joined(connection, 1, gate_codes), gates[None, None], streams[None, None]
    )
    assert (out.min(), out.max()) == (low, high)
    assert np.array_equal(out[0, 0, 127], streams[127]), "gate code 0"
    assert out[0, 0, -1, 0] > low, "the smallest stream can grow again"


@pytest.mark.parametrize("bits", BITS)
def test_a_linear_stream_with_a_small_alpha_never_leaves_code_1(bits: int) -> None:
    """A gate below 3/2 rounds to it again; logarithms do not know this."""
    gates = column(range(128))
    for alpha, left in ((1.4, False), (1.6, True)):
        linear = QuotientConnection(scale_of(bits, "linear", alpha), 127)
        assert bool((linear(gates, torch.ones_like(gates)) > 1).any()) == left
        log = QuotientConnection(scale_of(bits, "log", alpha), 127)
        low = log.limits()[0]
        assert bool((log(gates, torch.full_like(gates, low)) > low).any())


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("bits", BITS)
def test_programs_of_entry_and_read_equal_their_modules(domain: str, bits: int) -> None:
    scale = scale_of(bits, domain)
    entry, read = QuotientEntry(scale, 127), QuotientRead(scale)
    low, high = entry.limits()
    for module, first, last in ((entry, -127, 127), (read, low, high)):
        codes = np.arange(first, last + 1).reshape(-1, 1, 1, 1)
        if module is read and domain == "linear":
            assert torch.equal(read(column(range(first, last + 1))), column(range(first, last + 1)))
            continue
        program = lower(module, (1, 1, 1), Interval(first, last), "table")
        (out,) = Interpreter(program).run({"image": codes}).values()
        assert np.array_equal(out, reference_model(module)(torch.from_numpy(codes).double()).numpy())


# --- training --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_gradients_of_codes_are_those_of_the_formula_within_the_range(domain: str) -> None:
    scale = scale_of(8, domain, 1.8)
    connection = QuotientConnection(scale, 127)
    low, high = connection.limits()
    t = column(range(-120, 121, 8)).float().requires_grad_()
    x = column([low, -3 if domain == "log" else 3, 100] * 11)[: len(t)].float().requires_grad_()
    connection(t, x).sum().backward()
    real_t, real_x = (v.detach().double().requires_grad_() for v in (t, x))
    if domain == "log":
        total = real_x + 2**scale.phi * torch.log2(quotient_gate(real_t * scale.step, 1.8))
    else:
        total = real_x * quotient_gate(real_t * scale.step, 1.8)
    reached = total.round() if domain == "log" else total  # the table is rounded, the product is not
    inside = (reached >= low) & (reached <= high)
    assert 0 < int(inside.sum()) < inside.numel()
    total[inside].sum().backward()
    tolerance = {"atol": 0.01, "rtol": 0.01}  # the gate in a product is rounded
    torch.testing.assert_close(t.grad, real_t.grad.float(), **tolerance)
    torch.testing.assert_close(x.grad, real_x.grad.float(), **tolerance)


def test_gradients_of_entry_and_read_are_those_of_the_formula() -> None:
    scale = scale_of(8)
    t = column(range(-60, 61, 5)).requires_grad_()
    log = 2**scale.phi * torch.log2(quotient_gate(t * scale.step, 2.0))
    (expected,) = torch.autograd.grad(log.sum(), t)
    (found,) = torch.autograd.grad(QuotientEntry(scale, 127).double()(t).sum(), t)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    stream = column(range(-128, 128, 5)).requires_grad_()
    (expected,) = torch.autograd.grad((2 ** (stream / 2**scale.phi)).sum() * scale.unit, stream)
    (found,) = torch.autograd.grad(QuotientRead(scale).double()(stream).sum(), stream)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_module_built_without_gradients_has_them_later() -> None:
    with torch.no_grad():
        connection = QuotientConnection(scale_of(8), 127)
    t = torch.tensor([5.0], requires_grad=True)
    connection(t, torch.zeros(1)).sum().backward()
    assert float(t.grad) > 0


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("alpha", [1.05, 16.0])
def test_extreme_operands_stay_finite(domain: str, alpha: float) -> None:
    connection = QuotientConnection(scale_of(8, domain, alpha), 127)
    low, high = map(float, connection.limits())
    quantized = [(t, x) for t in (-127.0, 127.0) for x in (low, high)]
    real = [(t, x) for t in (-1e30, 0.0, 1e30) for x in (0.0, 1e30)]
    for precision, cases in (("quantized", quantized), ("float", real)):
        set_precision(connection, precision)
        for values in cases:
            t, x = (torch.full((2, 3), value, requires_grad=True) for value in values)
            y = connection(t, x)
            y.sum().backward()
            assert all(bool(torch.isfinite(v).all()) for v in (y, t.grad, x.grad)), values
    gate = torch.tensor([-1e30, 1e30], requires_grad=True)
    connection.scale.log_gate(gate).sum().backward()
    assert bool(torch.isfinite(gate.grad).all())


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_no_number_has_no_entry_and_ends_nothing(domain: str) -> None:
    """Training that is no longer finite is told at its next check, with phase and batch."""
    codes = torch.tensor([math.nan, 0.0])
    scale = scale_of(8, domain)
    for module in (QuotientEntry(scale, 127), QuotientConnection(scale, 127)):
        operands = (codes,) if isinstance(module, QuotientEntry) else (codes, torch.ones(2))
        assert bool(torch.isfinite(module(*operands)[1]))


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.0}, "alpha of a quotient gate must be above 1 and at most 16, not 1.0"),
        ({"alpha": 16.5}, "alpha of a quotient gate must be above 1 and at most 16, not 16.5"),
        ({"alpha": math.nan}, "alpha of a quotient gate must be above 1 and at most 16, not nan"),
        ({"bits": 2}, "a quotient stream needs 3 to 8 bits, not 2"),
        ({"bits": 9}, "activation bits must be within 1..8, not 9"),
        ({"domain": "cubic"}, "the domain of a quotient must be one of log, linear, not 'cubic'"),
        ({"gate": "tanh"}, "a quotient gate must be one of q, relu, not 'tanh'"),
    ],
)
def test_mistakes_are_told_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        QuotientScale(**{"alpha": 2.0, "bits": 8, "step": 0.1} | change)


def test_the_rectified_gate_has_no_codes() -> None:
    scale = QuotientScale(2.0, 8, 0.1, gate="relu")
    message = "^the quotient gate 'relu' has no integer codes; train it in float precision$"
    codes = torch.tensor([-5.0, 20.0])
    for module in (QuotientEntry(scale, 127), QuotientConnection(scale, 127)):
        operands = (codes,) if isinstance(module, QuotientEntry) else (codes, torch.ones(2))
        with pytest.raises(InputError, match=message):
            module(*operands)
        set_precision(module, "float")
        assert module(*operands)[0] == 0
        assert module(*operands)[1] > 0
    with pytest.raises(InputError, match=message):
        lower(QuotientEntry(scale, 127), (1, 1, 1), Interval(-127, 127), "entry")
    joined = Joined(QuotientConnection(scale, 127), 1, NormCodes(Affine(1), 8, True, 127.0))
    with pytest.raises(InputError, match=message):
        lower(joined, (2, 1, 1), Interval(-127, 127), "joined")
