"""One residual family, with the connection as a parameter.

ResNets for CIFAR (three stages of 16, 32 and 64 channels, 6n + 2 layers, 3x3 shortcuts, as arXiv 2506.00992
has them) and ResNetV2-18 and -34 (four stages of 64 to 512, pre-activation, 1x1 shortcuts, as arXiv
2505.11881 has them), with linear, orthogonal, quotient, OR or multiplexed connections, one for all stages
or one for each. A norm follows every convolution, as it makes the integer codes; in ResNetV2 that adds one
after each branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from sample_models.options import EIGHT_BIT, MAX_WIDTH, finish, quadratic_shifts
from sample_models.pixels import STATISTICS, pixel_norm
from toolchain.layers import (
    GlobalSumPool,
    HEQClassifier,
    HEQConv2d,
    QuadraticCodes,
    ResidualBlock,
    StreamOptions,
    batch_norm_codes,
    make_stream,
)
from toolchain.layers.residual import Stream
from toolchain.models import ModelRow

IMAGES = {"cifar-10": (3, 32, 255), "fashion-mnist": (1, 28, 255), "digits": (1, 8, 16)}
"""Channels, size and largest pixel of a data set's images."""

ALPHAS = {8: 2.0, 14: 2.0, 20: 2.0, 32: 1.9, 44: 1.8, 56: 1.7, 110: 1.5}
"""Bound of the quotient gate by depth (arXiv 2506.00992; 8, 14 and 32 layers are ours)."""

V2_ALPHA = 2.0
"""The same for ResNetV2, which the paper does not have."""

PATTERNS = ("all", "odd", "even", "first-half", "second-half")

OPTIONS: dict[str, Any] = {
    "connection": "linear",
    "preactivation": False,
    "pattern": "all",
    "probability": 1.0,
    "alpha": 0.0,
    "domain": "log",
    "gate": "q",
    "quadratic": "",
    "levels": 3,
    "first_levels": EIGHT_BIT,
    "last_levels": EIGHT_BIT,
    "bits": 4,
    "stream_bits": 8,
    "width": 16,
    "stem_stride": 1,
}
"""Defaults of the options, the same for all but the width and the pre-activation."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the name of a network decides.

    ``blocks``: of each stage; channels double from stage to stage. ``shortcut``: kernel of the convolution
    where they do. ``alpha``: default bound of quotient gates.
    """

    dataset: str
    blocks: tuple[int, ...]
    shortcut: int
    alpha: float


@dataclass(frozen=True, slots=True)
class ResNetOptions:
    """Checked options; those of ``StreamOptions`` have its meaning.

    ``connection``: a row of ``STREAMS``, or one for each stage, with commas. ``pattern``: which blocks,
    counted through, an orthogonal connection is used in; the others are linear. One of ``PATTERNS``, or
    numbers from 1, with commas. ``alpha``: 0 for the default of the depth. ``quadratic``: shifts of
    quadratic enhancers after every convolution, with commas, or nothing. ``levels``: of the weights;
    ``first_levels``, ``last_levels``: of the first convolution and the classifier. ``width``: channels of
    the first stage. ``stem_stride``: of the first convolution.
    """

    connection: str
    preactivation: bool
    pattern: str
    probability: float
    alpha: float
    domain: str
    gate: str
    quadratic: str
    levels: int
    first_levels: int
    last_levels: int
    bits: int
    stream_bits: int
    width: int
    stem_stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise InputError(f"width must be within 1..{MAX_WIDTH}, not {self.width}")
        if self.stem_stride not in (1, 2, 4):
            raise InputError(f"stem_stride must be 1, 2 or 4, not {self.stem_stride}")

    def streams(self, stages: int, alpha: float) -> list[Stream]:
        """The stream of every stage."""
        names = [name.strip() for name in self.connection.split(",")]
        if len(names) not in (1, stages):
            raise InputError(f"connection must name 1 kind or {stages}, one a stage, not {len(names)}")
        numbers = _numbers(self.quadratic, "quadratic must be") if self.quadratic else ()
        shifts = quadratic_shifts(numbers, self.width)
        options = StreamOptions(
            self.bits,
            self.stream_bits,
            self.preactivation,
            self.alpha or alpha,
            self.domain,
            self.gate,
            self.probability,
            partial(QuadraticCodes, shifts=shifts) if shifts else batch_norm_codes,
        )
        return [make_stream(name, options) for name in names * (stages if len(names) == 1 else 1)]

    def projects(self, block: int, blocks: int) -> bool:
        """Whether the pattern has ``block``, from 0."""
        half = blocks // 2
        rules = {
            "all": True,
            "odd": block % 2 == 0,
            "even": block % 2 == 1,
            "first-half": block < half,
            "second-half": block >= half,
        }
        if self.pattern in rules:
            return rules[self.pattern]
        chosen = _numbers(self.pattern, f"pattern must be one of {', '.join(PATTERNS)}, or")
        if len(set(chosen)) != len(chosen):
            raise InputError(f"pattern must name each block once, not {self.pattern!r}")
        if max(chosen) > blocks:
            raise InputError(f"pattern must name blocks within 1..{blocks}, not {max(chosen)}")
        return block + 1 in chosen


def _numbers(text: str, rule: str) -> tuple[int, ...]:
    """Numbers from 1, separated by commas. Raises InputError that starts with ``rule``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{rule} numbers from 1, separated by commas, not {text!r}")
    return tuple(int(part) for part in parts)


def build(*, shape: Shape, **options: Any) -> nn.Sequential:
    """``stem``, ``stage1`` .., ``read``, ``pool`` and ``classifier``.

    ``options``: the fields of ``ResNetOptions``. Raises InputError for bad options.
    """
    chosen = ResNetOptions(**options)
    streams = chosen.streams(len(shape.blocks), shape.alpha)
    channels, size, _ = IMAGES[shape.dataset]
    size = -(-size // chosen.stem_stride)
    stem = _conv(channels, chosen.width, chosen.first_levels, stride=chosen.stem_stride)
    encoded = shape.dataset in STATISTICS  # digits enter as they are
    layers: dict[str, nn.Module] = {"pixels": pixel_norm(shape.dataset)} if encoded else {}
    layers["stem"] = nn.Sequential(stem, streams[0].entry(chosen.width))
    before, channels, number = streams[0], chosen.width, 0
    for stage, (stream, count) in enumerate(zip(streams, shape.blocks, strict=True)):
        wide = chosen.width << stage
        blocks = []
        for index in range(count):
            pinned = not chosen.projects(number, sum(shape.blocks))
            changes = index == 0 and stage > 0
            blocks.append(_block(chosen, shape, before, stream, channels, wide, changes, pinned))
            before, channels, number = stream, wide, number + 1
        size = -(-size // 2) if stage else size
        layers[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    layers |= {"read": before.read(channels), "pool": GlobalSumPool()}
    typical = max(1, round(before.unit * size * size))
    layers["classifier"] = HEQClassifier(channels, 10, chosen.last_levels, input_max=typical)
    return finish(layers, plain=False)


def _conv(inputs: int, outputs: int, levels: int, kernel: int = 3, stride: int = 1) -> HEQConv2d:
    return HEQConv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, levels=levels)


def _block(
    chosen: ResNetOptions,
    shape: Shape,
    before: Stream,
    stream: Stream,
    inputs: int,
    outputs: int,
    changes: bool,
    pinned: bool,
) -> ResidualBlock:
    """One block; ``changes``: the first of a later stage, with a stride of 2 and a shortcut."""
    stride = 2 if changes else 1
    branch = nn.Sequential(
        _conv(inputs, outputs, chosen.levels, stride=stride),
        stream.options.activation(outputs),
        _conv(outputs, outputs, chosen.levels),
        stream.branch(outputs),
    )
    shortcut = None
    if changes:
        conv = _conv(inputs, outputs, chosen.levels, shape.shortcut, stride)
        shortcut = nn.Sequential(conv, stream.entry(outputs))
    return ResidualBlock(before.read(inputs), branch, stream.join(pinned), shortcut)


def _row(name: str, shape: Shape, **defaults: Any) -> ModelRow:
    channels, size, top = IMAGES[shape.dataset]
    blocks = "-".join(map(str, shape.blocks))
    summary = f"residual blocks {blocks} with any connection; {shape.dataset}"
    builder = partial(build, shape=shape)
    images, interval = (channels, size, size), Interval(0, top)
    return ModelRow(name, summary, builder, images, interval, shape.dataset, OPTIONS | defaults)


def _cifar_form(depth: int, dataset: str = "cifar-10") -> Shape:
    return Shape(dataset, ((depth - 2) // 6,) * 3, 3, ALPHAS[depth])


V2 = {"preactivation": True, "width": 64}


def _rows() -> Sequence[ModelRow]:
    return (
        *(_row(f"resnet-{depth}", _cifar_form(depth)) for depth in ALPHAS),
        *(_row(f"resnet-{depth}-fashion", _cifar_form(depth, "fashion-mnist")) for depth in (8, 14)),
        *(_row(f"resnet-{depth}-digits", _cifar_form(depth, "digits"), width=8) for depth in (8, 20)),
        _row("resnetv2-18", Shape("cifar-10", (2, 2, 2, 2), 1, V2_ALPHA), **V2),
        _row("resnetv2-34", Shape("cifar-10", (3, 4, 6, 3), 1, V2_ALPHA), **V2),
    )


MODELS: dict[str, ModelRow] = {row.name: row for row in _rows()}
