"""One residual family, any connection: its sizes, its options, and its formulas in real numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from runtime.errors import InputError
from sample_models.resnet import ALPHAS, MODELS
from toolchain.layers import (
    STREAMS,
    BatchNorm,
    HEQConv2d,
    NormCodes,
    QuotientConnection,
    ResidualBlock,
    ResidualConnection,
    set_connection,
    set_precision,
)
from toolchain.layers.connections import AXES
from toolchain.lowering import lower

torch.set_num_threads(1)

DIGITS = load_digits()
SMALL = MODELS["resnet-8-digits"]


# --- sizes -----------------------------------------------------------------------------------------------

PUBLISHED = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
"""ResNets for CIFAR-10 whose shortcuts have no parameters (arXiv 1512.03385)."""

TORCHVISION = {18: 11_689_512, 34: 21_797_672}
"""ResNets for ImageNet: a 7x7 stem, 1,000 classes, 1x1 shortcuts, and 64 channels at first."""

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def parameters(name: str, **options: Any) -> int:
    return sum(p.numel() for p in MODELS[name].build(**options).parameters())


def widths_of_blocks(blocks: tuple[int, ...], width: int) -> list[tuple[int, int]]:
    """Channels before and in every block."""
    outputs = [width << stage for stage, count in enumerate(blocks) for _ in range(count)]
    return list(zip([width, *outputs], outputs, strict=False))


def plain_parameters(blocks: tuple[int, ...], width: int) -> int:
    """3x3 convolutions, each with a norm, and a classifier for 10 classes; no shortcuts."""
    pairs = widths_of_blocks(blocks, width)
    convolutions = 9 * (3 * width + sum(before * inside + inside * inside for before, inside in pairs))
    norms = 2 * (width + sum(2 * inside for _, inside in pairs))
    return convolutions + norms + 10 * pairs[-1][1] + 10


def shortcut_parameters(blocks: tuple[int, ...], width: int, taps: int) -> int:
    changes = [(a, b) for a, b in widths_of_blocks(blocks, width) if a != b]
    return sum(taps * a * b + 2 * b for a, b in changes)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_networks_for_cifar_have_the_published_sizes(depth: int) -> None:
    """With 3x3 shortcuts, and the scale of the classifier."""
    blocks = ((depth - 2) // 6,) * 3
    assert plain_parameters(blocks, 16) == PUBLISHED[depth]
    assert parameters(f"resnet-{depth}") == PUBLISHED[depth] + shortcut_parameters(blocks, 16, 9) + 1


@pytest.mark.parametrize("depth", TORCHVISION)
def test_preactivated_networks_have_the_published_sizes(depth: int) -> None:
    """With a norm in front of every block and of the pooling, as one follows every convolution too."""
    blocks = BLOCKS[depth]
    stems, classifiers = (49 - 9) * 3 * 64, (1000 - 10) * 513
    without_norms = plain_parameters(blocks, 64) + shortcut_parameters(blocks, 64, 1)
    assert without_norms + stems + classifiers == TORCHVISION[depth]
    for width in (4, 16):
        norms = 2 * (sum(before for before, _ in widths_of_blocks(blocks, width)) + 8 * width)
        expected = plain_parameters(blocks, width) + shortcut_parameters(blocks, width, 1) + norms + 1
        assert parameters(f"resnetv2-{depth}", width=width) == expected
    assert MODELS[f"resnetv2-{depth}"].options["width"] == 64


@pytest.mark.parametrize("name", ["resnet-20", "resnet-8-digits"])
def test_all_connections_have_the_same_parameters(name: str) -> None:
    shapes = {
        tuple(p.shape for p in MODELS[name].build(connection=connection).parameters())
        for connection in [*STREAMS, "linear,quotient,or"]
    }
    assert len(shapes) == 1


def test_alphas_fall_with_the_depth() -> None:
    """arXiv 2506.00992 gives 20, 44, 56 and 110 layers."""
    assert [ALPHAS[depth] for depth in (20, 44, 56, 110)] == [2.0, 1.8, 1.7, 1.5]
    assert list(ALPHAS.values()) == sorted(ALPHAS.values(), reverse=True)
    for depth, alpha in ALPHAS.items():
        for chosen, expected in ((0.0, alpha), (3.0, 3.0)):
            model = MODELS[f"resnet-{depth}"].build(connection="quotient", width=1, alpha=chosen)
            found = {m.scale.alpha for m in model.modules() if isinstance(m, QuotientConnection)}
            assert found == {expected}


def test_rows_are_named_after_themselves() -> None:
    assert {name: row.name for name, row in MODELS.items()} == {name: name for name in MODELS}
    assert {row.dataset for row in MODELS.values()} == {"cifar-10", "fashion-mnist", "digits"}


# --- options ---------------------------------------------------------------------------------------------


def kinds(**options: Any) -> list[str]:
    """Of the connections, block by block."""
    blocks = [m.connection for m in SMALL.build(**options).modules() if isinstance(m, ResidualBlock)]
    return [m.kind if isinstance(m, ResidualConnection) else type(m).__name__ for m in blocks]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("all", [1, 2, 3]),
        ("odd", [1, 3]),
        ("even", [2]),
        ("first-half", [1]),
        ("second-half", [2, 3]),
        ("1, 3", [1, 3]),
        ("2", [2]),
    ],
)
def test_patterns_choose_the_blocks_that_project(pattern: str, chosen: list[int]) -> None:
    """The other blocks are linear for good."""
    model = SMALL.build(connection="orthogonal", pattern=pattern)
    found = [m for m in model.modules() if isinstance(m, ResidualConnection)]
    for kind in ("orthogonal", "orthogonal-global", "orthogonal"):
        set_connection(model, kind)
        assert [m.kind for m in found] == [kind if n in chosen else "linear" for n in (1, 2, 3)]


def test_stages_can_have_connections_of_their_own() -> None:
    assert kinds(connection="orthogonal") == ["orthogonal"] * 3
    assert kinds(connection="linear, quotient,or") == ["linear", "QuotientConnection", "OrSkip"]
    assert kinds(connection="mux,orthogonal-global,linear") == ["MuxSkip", "orthogonal-global", "linear"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"connection": "cubic"},
            "a connection must be one of linear, orthogonal, orthogonal-global, quotient, or, mux, "
            "not 'cubic'",
        ),
        (
            {"connection": "linear,or"},
            "connection must name 1 kind or 3, one a stage, not 2",
        ),
        (
            {"connection": "quotient", "preactivation": True},
            "connection 'quotient' has no form with pre-activation; leave that out",
        ),
        (
            {"connection": "or", "preactivation": True},
            "connection 'or' has no form with pre-activation; leave that out",
        ),
        (
            {"pattern": "some"},
            "pattern must be one of all, odd, even, first-half, second-half, or numbers from 1, "
            "separated by commas, not 'some'",
        ),
        (
            {"pattern": "0,1"},
            "pattern must be one of all, odd, even, first-half, second-half, or numbers from 1, "
            "separated by commas, not '0,1'",
        ),
        ({"pattern": "1,4"}, "pattern must name blocks within 1..3, not 4"),
        ({"pattern": "1,1"}, "pattern must name each block once, not '1,1'"),
        *(
            (
                {"quadratic": ",".join(map(str, shifts)), "width": 4},
                "quadratic: shifts must be one or more distinct integers, at least 1 and below the 4 "
                f"channels, not {shifts}; the paper's are (1,)",
            )
            for shifts in ([4], [1, 1])
        ),
        ({"quadratic": "x"}, "quadratic must be numbers from 1, separated by commas, not 'x'"),
        (
            {"connection": "orthogonal", "probability": 1.5},
            "the probability of a connection must be within 0..1, not 1.5",
        ),
        (
            {"connection": "quotient", "alpha": 1.0},
            "alpha of a quotient gate must be above 1 and at most 16, not 1.0",
        ),
        (
            {"connection": "quotient", "stream_bits": 2},
            "a quotient stream needs 3 to 8 bits, not 2",
        ),
        (
            {"connection": "quotient", "domain": "cubic"},
            "the domain of a quotient must be one of log, linear, not 'cubic'",
        ),
        (
            {"connection": "quotient", "gate": "tanh"},
            "a quotient gate must be one of q, relu, not 'tanh'",
        ),
        ({"stream_bits": 1}, "a linear or orthogonal stream needs 2 to 8 bits, not 1"),
        ({"stream_bits": 9}, "activation bits must be within 1..8, not 9"),
        ({"bits": 0}, "activation bits must be within 1..8, not 0"),
        ({"width": 0}, "width must be within 1..1024, not 0"),
        ({"stem_stride": 3}, "stem_stride must be 1, 2 or 4, not 3"),
        (
            {"probability": "1"},
            "option 'probability' of model 'resnet-8-digits' must be a number, not '1'",
        ),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        SMALL.build(**options)


def test_a_bare_number_means_the_same_as_its_text() -> None:
    bare = SMALL.build(connection="orthogonal", pattern=1, quadratic=2, probability=1)
    assert repr(bare) == repr(SMALL.build(connection="orthogonal", pattern="1", quadratic="2"))
    assert "shifts=(2,)" in repr(bare)


def test_the_rectified_quotient_is_for_float_precision() -> None:
    model = SMALL.build(connection="quotient", gate="relu")
    message = r"^the quotient gate 'relu' has no integer codes; train it in float precision$"
    with pytest.raises(InputError, match=message):
        model(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match=message):
        lower(model, SMALL.input_shape, SMALL.input_interval, "net")
    set_precision(model, "float")
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


# --- blocks in full precision, in real numbers -----------------------------------------------------------

ACTIVATION_STEP = 3 / 15  # 4 bits reach up to 3
UNSIGNED_STEP, SIGNED_STEP = 8 / 255, 8 / 127  # streams of 8 bits reach up to 8
QUOTIENT_UNIT = 16  # codes of a quotient stream of 1


def settled(connection: str, **options: Any) -> nn.Module:
    """A network in full precision whose norms have random weights and the statistics of digits."""
    torch.manual_seed(1)
    model = SMALL.build(connection=connection, **options)
    set_precision(model, "float")
    for norm in (m for m in model.modules() if isinstance(m, BatchNorm)):
        norm.momentum = 1.0
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias, 0, 0.3)
    model.train()(torch.from_numpy(DIGITS.images[:64, None]).float())
    return model.double().eval()


def normalized(x: Tensor, conv: HEQConv2d | None, codes: NormCodes) -> Tensor:
    """What PyTorch's own functions make of the operand of a convolution and its norm."""
    norm = codes.norm
    y = x if conv is None else F.conv2d(x, conv.effective_weight(), None, conv.stride, conv.padding)
    return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def branch_of(block: ResidualBlock, codes: Tensor) -> Tensor:
    """Real values of a branch: ``norm(conv(relu(norm(conv(codes)))))``."""
    first, first_codes, second, second_codes = block.branch
    hidden = normalized(codes, first, first_codes).relu()
    return normalized(hidden / ACTIVATION_STEP, second, second_codes)


def blocks_with_operands(model: nn.Module) -> list[tuple[ResidualBlock, Tensor]]:
    """The blocks, each with the stream that digits bring there."""
    seen: list[tuple[ResidualBlock, Tensor]] = []
    hooks = [
        block.register_forward_pre_hook(lambda module, operands: seen.append((module, operands[0])))
        for block in model.modules()
        if isinstance(block, ResidualBlock)
    ]
    model(torch.from_numpy(DIGITS.images[64:80, None]))
    for hook in hooks:
        hook.remove()
    assert [block.shortcut is None for block, _ in seen] == [True, False, False]
    return seen


def update_of(x: Tensor, f: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``x + f``; with axes, f without its part along x."""
    if not axes:
        return x + f
    s = (x * f).sum(axes, keepdim=True) / (x * x).sum(axes, keepdim=True).clamp(min=1e-12)
    return x + f - s * x


@pytest.mark.parametrize("kind", AXES)
@torch.no_grad()
def test_rectified_blocks_are_the_formula(kind: str) -> None:
    for block, stream in blocks_with_operands(settled(kind)):
        x, f = stream * UNSIGNED_STEP, branch_of(block, stream)
        if block.shortcut is not None:
            x = normalized(stream, *block.shortcut).relu()
        y = update_of(x, f, AXES[kind]).relu()
        torch.testing.assert_close(block(stream) * UNSIGNED_STEP, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", AXES)
@torch.no_grad()
def test_preactivated_blocks_are_the_formula(kind: str) -> None:
    """A norm and a rectifier in front of the branch, none behind the sum."""
    for block, stream in blocks_with_operands(settled(kind, preactivation=True)):
        x = stream * SIGNED_STEP
        seen = normalized(stream, None, block.read).relu() / ACTIVATION_STEP
        f = branch_of(block, seen)
        if block.shortcut is not None:
            x = normalized(seen, *block.shortcut)
        y = update_of(x, f, AXES[kind])
        torch.testing.assert_close(block(stream) * SIGNED_STEP, y, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_quotient_blocks_are_the_formula() -> None:
    """``x * q(f)``, where ``x = q(norm(conv))`` behind a shortcut; q(z) = 2 sigmoid(z - ln 1)."""
    for block, stream in blocks_with_operands(settled("quotient")):
        x, f = stream / QUOTIENT_UNIT, branch_of(block, stream)
        if block.shortcut is not None:
            conv, (codes, _) = block.shortcut
            x = 2 * torch.sigmoid(normalized(stream, conv, codes))
        torch.testing.assert_close(block(stream) / QUOTIENT_UNIT, x * 2 * torch.sigmoid(f))
