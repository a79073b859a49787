"""Linear and orthogonal connections: the paper's formula, its integer form, and switching between them."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.types import Interval
from tests.joined import Joined, assert_program_equals_module
from toolchain.layers import ResidualConnection, set_connection, set_precision
from toolchain.layers.connections import AXES, EPSILON, orthogonal_update
from toolchain.lowering import lower
from toolchain.quantizers import top_code

torch.set_num_threads(1)

PROJECTIONS = [kind for kind, axes in AXES.items() if axes]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(x: Tensor, f: Tensor, axes: tuple[int, ...], share: float = 1.0) -> Tensor:
    """Equations 2 to 4 of the paper, one inner product after the other."""
    updated = torch.empty_like(x)
    samples, _, height, width = x.shape
    everywhere = slice(None)
    for n in range(samples):
        positions = [(i, j) for i in range(height) for j in range(width)] if axes == (1,) else [...]
        for position in positions:
            place = (n, everywhere, *position) if axes == (1,) else (n,)
            along, other = x[place].flatten().tolist(), f[place].flatten().tolist()
            dot = sum(a * b for a, b in zip(along, other, strict=True))
            s = dot / (sum(a * a for a in along) + 1e-6)
            updated[place] = x[place] + (f[place] - share * s * x[place])
    return updated


# --- the formula -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROJECTIONS)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_update_is_that_of_the_paper(kind: str, share: float) -> None:
    x, f = noise(3, 4, 2, 5), noise(3, 4, 2, 5, seed=1)
    expected = by_loops(x, f, AXES[kind], share)
    torch.testing.assert_close(orthogonal_update(x, f, AXES[kind], share), expected)


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_what_is_added_is_orthogonal_to_the_stream(kind: str) -> None:
    x, f = noise(3, 4, 2, 5), noise(3, 4, 2, 5, seed=1)
    axes = AXES[kind]
    dot = (x * f).sum(axes)
    left = (x * (orthogonal_update(x, f, axes) - x)).sum(axes)
    torch.testing.assert_close(left, EPSILON * dot / ((x * x).sum(axes) + EPSILON), atol=1e-13, rtol=0)
    assert float(left.abs().max()) < 1e-5 < float(dot.abs().min())


def test_inner_products_of_features_and_of_samples_by_hand() -> None:
    x = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]])  # two channels at two positions: (1, 1) and (0, 2)
    f = torch.tensor([[[[3.0, 5.0]], [[1.0, 4.0]]]])  # (3, 1) and (5, 4)
    torch.testing.assert_close(orthogonal_update(x, f, (1,)), torch.tensor([[[[2.0, 5.0]], [[0.0, 2.0]]]]))
    # s = (3 + 1 + 0 + 8) / (1 + 1 + 0 + 4) = 2
    torch.testing.assert_close(
        orthogonal_update(x, f, (1, 2, 3)), torch.tensor([[[[2.0, 5.0]], [[0.0, 2.0]]]])
    )
    f[0, 1, 0, 1] = 1.0  # s = 6 / 6 = 1 of the sample, 1/2 at the second position
    torch.testing.assert_close(
        orthogonal_update(x, f, (1, 2, 3)), torch.tensor([[[[3.0, 5.0]], [[1.0, 1.0]]]])
    )
    torch.testing.assert_close(orthogonal_update(x, f, (1,)), torch.tensor([[[[2.0, 5.0]], [[0.0, 2.0]]]]))


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_gradients_of_the_update(kind: str, share: float) -> None:
    tensors = [noise(2, 3, 2, 2, seed=seed).requires_grad_() for seed in (2, 3)]
    assert torch.autograd.gradcheck(lambda x, f: orthogonal_update(x, f, AXES[kind], share), tensors)


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_in_full_precision(kind: str, signed: bool, training: bool) -> None:
    module = ResidualConnection(8, signed, kind).train(training)
    set_precision(module, "float")
    tensors = [noise(2, 3, 2, 2, seed=seed).requires_grad_() for seed in (4, 5)]
    assert torch.autograd.gradcheck(module, tensors)


@pytest.mark.parametrize("kind", AXES)
def test_full_precision_is_the_formula_neither_rounded_nor_clipped(kind: str) -> None:
    f, x = 300 * noise(2, 3, 2, 2), 300 * noise(2, 3, 2, 2, seed=1)
    expected = by_loops(x, f, AXES[kind]) if AXES[kind] else x + f
    for signed in (False, True):
        module = ResidualConnection(4, signed, kind)
        set_precision(module, "float")
        torch.testing.assert_close(module(f, x), expected if signed else expected.relu())


# --- the integer form ------------------------------------------------------------------------------------


@st.composite
def operands(draw: st.DrawFn) -> tuple[int, bool, list[int], list[int]]:
    """Bits, sign, and the codes of stream and branch at one position."""
    bits, signed = draw(st.integers(2, 8)), draw(st.booleans())
    channels = draw(st.integers(1, 6))
    top = top_code(bits) >> 1 if signed else top_code(bits)
    lists = (st.lists(st.integers(low, top), min_size=channels, max_size=channels) for low in (-top, 0))
    branch, unsigned = (draw(codes) for codes in lists)
    flips = draw(
        st.lists(st.sampled_from([-1, 1] if signed else [1]), min_size=channels, max_size=channels)
    )
    return bits, signed, [flip * code for flip, code in zip(flips, unsigned, strict=True)], branch


def tensor(codes: list[int]) -> Tensor:
    """One sample with one position."""
    return torch.tensor(codes, dtype=torch.float64).view(1, -1, 1, 1)


def unlimited(module: ResidualConnection, x: list[int], f: list[int]) -> tuple[int, list[int]]:
    """``R`` and ``P`` with Python's integers, and without a clip."""
    k = module.fraction_bits
    dot = sum(a * b for a, b in zip(x, f, strict=True)) * round(module.probability * 2**k)
    norm = max(sum(a * a for a in x), 1)
    ratio = (1 if dot >= 0 else -1) * ((abs(dot) + norm // 2) // norm)
    return ratio, [(ratio * a + 2 ** (k - 1)) >> k for a in x]


@given(operands())
def test_projection_errs_by_a_little_more_than_half_a_code(
    case: tuple[int, bool, list[int], list[int]],
) -> None:
    """1/2 for the last rounding, ``top / 2**(k + 1)`` for that of R: 0.516 codes signed, 0.532 unsigned."""
    bits, signed, x, f = case
    module = ResidualConnection(bits, signed, "orthogonal")
    k, top = module.fraction_bits, module.top
    assert k == bits + 4
    kept = module.integers(tensor(x), tensor(f)).flatten().tolist()
    norm = sum(a * a for a in x)
    s = Fraction(sum(a * b for a, b in zip(x, f, strict=True)), norm) if norm else Fraction(0)
    bound = Fraction(1, 2) + Fraction(top, 2 ** (k + 1))
    assert bound < Fraction(1, 2) + Fraction(2) ** (bits - k - (2 if signed else 1))
    for a, b, total in zip(x, f, kept, strict=True):
        assert abs((a + b - int(total)) - s * a) <= bound


@given(operands(), st.sampled_from([1.0, 0.3, 0.01]))
def test_integers_are_those_without_any_limit(
    case: tuple[int, bool, list[int], list[int]], probability: float
) -> None:
    """``|D| <= max|f| N`` for integers, so R stays within its limit, and clips nothing."""
    bits, signed, x, f = case
    module = ResidualConnection(bits, signed, "orthogonal", probability).eval()
    ratio, projection = unlimited(module, x, f)
    assert abs(ratio) <= max(map(abs, f)) * module.factor
    wanted = [a + b - p for a, b, p in zip(x, f, projection, strict=True)]
    assert module.integers(tensor(x), tensor(f), probability).flatten().tolist() == wanted
    result = module(tensor(f), tensor(x)).flatten().tolist()
    assert result == [min(max(code, module.lowest), module.top) for code in wanted]


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("signed", [False, True])
def test_an_empty_stream_takes_the_branch_as_it_is(kind: str, signed: bool) -> None:
    module = ResidualConnection(4, signed, kind)
    f = torch.arange(-7.0, 8).view(1, 15, 1, 1)
    assert torch.equal(module(f, torch.zeros_like(f)), f.clamp(module.lowest, 7))


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("probability", [1.0, 0.3, 0.001, 0.0])
def test_program_equals_the_module(kind: str, signed: bool, bits: int, probability: float) -> None:
    module = ResidualConnection(bits, signed, kind, probability)
    random = np.random.default_rng(bits)
    stream = random.integers(module.lowest, module.top + 1, (24, 5, 2, 3))
    branch = random.integers(-module.top, module.top + 1, stream.shape)
    stream[0], stream[1], branch[1], stream[2], branch[2] = (
        0,
        module.top,
        module.top,
        module.top,
        -module.top,
    )
    stream[3:9] *= random.integers(0, 2, (6, 5, 2, 3))
    out = assert_program_equals_module(Joined(module, 5), branch, stream)
    assert out.min() == module.lowest
    assert out.max() == module.top


def test_program_has_one_division_a_position() -> None:
    """And none where nothing is projected."""

    def shapes(kind: str, probability: float) -> list[tuple[int, ...]]:
        module = Joined(ResidualConnection(4, True, kind, probability), 3)
        program = lower(module, (6, 2, 2), Interval(-7, 7), "joined")
        return [program.types[n.result].shape for n in program.nodes if n.op.name == "RoundDiv"]

    assert shapes("orthogonal", 1.0) == [(1, 2, 2)]
    assert shapes("orthogonal-global", 0.5) == [(1, 1, 1)]
    assert shapes("orthogonal", 0.0) == shapes("linear", 1.0) == []


# --- training --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("signed", [False, True])
def test_training_computes_the_integers_of_evaluation(kind: str, signed: bool) -> None:
    module = ResidualConnection(8, signed, kind)
    x = (90 * noise(4, 3, 2, 2)).round().clamp(module.lowest, module.top)
    f = (90 * noise(4, 3, 2, 2, seed=1)).round()
    assert torch.equal(module.train()(f, x), module.eval()(f, x))


@pytest.mark.parametrize("kind", AXES)
def test_gradients_are_those_of_the_formula_within_the_range(kind: str) -> None:
    """And none outside it."""
    x = (60 * noise(4, 3, 2, 2)).round().clamp(-127, 127).requires_grad_()
    f = (60 * noise(4, 3, 2, 2, seed=1)).round().requires_grad_()
    wanted = noise(4, 3, 2, 2, seed=2)
    (ResidualConnection(8, True, kind)(f, x) * wanted).sum().backward()
    total = orthogonal_update(x, f, AXES[kind]) if AXES[kind] else x + f
    outside = total.abs() > 127
    assert 0 < int(outside.sum()) < outside.numel() / 2
    expected = torch.autograd.grad(total, (f, x), wanted.masked_fill(outside, 0))
    torch.testing.assert_close((f.grad, x.grad), expected)


@pytest.mark.parametrize("end", [-127.0, 127.0])
def test_gradients_pass_at_the_ends_of_the_range(end: float) -> None:
    x = torch.tensor([end, 2 * end]).view(2, 1, 1, 1).requires_grad_()
    ResidualConnection(8, True)(torch.zeros_like(x), x).sum().backward()
    assert x.grad.flatten().tolist() == [1, 0]


def test_probability_is_drawn_anew_each_time_and_evaluation_takes_its_expectation() -> None:
    module = ResidualConnection(8, True, "orthogonal", probability=0.3)
    set_precision(module, "float")
    f, x = noise(2, 3, 2, 2), noise(2, 3, 2, 2, seed=1)
    projected, plain = orthogonal_update(x, f, (1,)), x + f

    def draws(seed: int) -> list[bool]:
        torch.manual_seed(seed)
        results = [module.train()(f, x) for _ in range(200)]
        assert all(torch.equal(y, projected) or torch.equal(y, plain) for y in results)
        return [torch.equal(y, projected) for y in results]

    assert 40 <= sum(draws(0)) <= 80
    assert draws(0) == draws(0) != draws(1)
    torch.testing.assert_close(module.eval()(f, x), 0.3 * projected + 0.7 * plain)


def test_what_is_certain_needs_no_draw() -> None:
    state = torch.get_rng_state()
    for kind, probability in (("orthogonal", 1.0), ("linear", 0.3)):
        ResidualConnection(8, True, kind, probability).train()(noise(1, 2, 1, 1), noise(1, 2, 1, 1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("precision", ["float", "quantized"])
@pytest.mark.parametrize("signed", [False, True])
def test_extreme_operands_stay_finite(kind: str, precision: str, signed: bool) -> None:
    """Squares must fit the dtype: up to 1e18 in float32."""
    top = ResidualConnection(8, signed).top
    cases = [(torch.float32, value) for value in (0.0, 1.0, float(top))]
    if precision == "float":
        cases += [(torch.float32, 1e15), (torch.float32, 1e-30), (torch.float64, 1e30)]
    module = ResidualConnection(8, signed, kind)
    set_precision(module, precision)
    for dtype, value in cases:
        for against in (value, -value, 0.0, 7.0):
            x = torch.full((2, 64, 2, 2), value, dtype=dtype, requires_grad=True)
            f = torch.full((2, 64, 2, 2), against, dtype=dtype, requires_grad=True)
            y = module(f, x)
            y.sum().backward()
            assert all(bool(torch.isfinite(t).all()) for t in (y, x.grad, f.grad)), (dtype, value, against)


# --- switching, and mistakes -----------------------------------------------------------------------------


def test_switching_leaves_pinned_connections_alone_and_goes_back() -> None:
    model = nn.Sequential(
        ResidualConnection(4, True, "linear"),
        ResidualConnection(4, True, "orthogonal"),
        ResidualConnection(4, True, "linear", pinned=True),
    )

    def kinds() -> list[str]:
        return [connection.kind for connection in model]

    set_connection(model, "orthogonal-global")
    assert kinds() == ["orthogonal-global", "orthogonal-global", "linear"]
    set_connection(model, "linear")
    assert kinds() == ["linear", "linear", "linear"]
    set_connection(model, None)
    assert kinds() == ["linear", "orthogonal", "linear"]


def test_switching_needs_something_to_switch() -> None:
    message = "connection 'linear' needs a model with linear or orthogonal connections"
    for model in (nn.Linear(1, 1), ResidualConnection(4, True, pinned=True)):
        set_connection(model, None)
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            set_connection(model, "linear")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, True), "activation bits must be within 1..8, not 0"),
        ((9, True), "activation bits must be within 1..8, not 9"),
        (
            (4, True, "quotient"),
            "a residual connection must be one of linear, orthogonal, orthogonal-global, not 'quotient'",
        ),
        ((4, True, "linear", 1.5), "the probability of a connection must be within 0..1, not 1.5"),
        ((4, True, "linear", -0.1), "the probability of a connection must be within 0..1, not -0.1"),
        ((4, True, "linear", float("nan")), "the probability of a connection must be within 0..1, not nan"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        ResidualConnection(*arguments)
    if arguments[2:3] == ("quotient",):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            set_connection(ResidualConnection(4, True), "quotient")
