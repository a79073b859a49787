"""Small vision transformers that lower to integers: ViT-S for CIFAR-10 and tiny ones.

Tokens are images of one column, (N, D, T, 1). Our choices, where arXiv 2505.11881 says no more than
"ViT-S": blocks are pre-norm, ``x = connection(attention(norm(x)), x)`` and ``x = connection(mlp(norm(x)),
x)``; the classifier reads the mean of the tokens of a last norm (their sum: its scale absorbs the count)
instead of a class token's; queries, keys and values come from one convolution; there is no dropout. Linear
layers have HEQ weights and no batch statistics; the stream, queries, keys and values are signed codes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from runtime.errors import InputError
from runtime.types import Interval
from sample_models.options import EIGHT_BIT, MAX_WIDTH, finish, quadratic_shifts
from sample_models.pixels import STATISTICS, pixel_norm
from toolchain.layers import (
    Affine,
    GeluCodes,
    GlobalSumPool,
    HEQClassifier,
    HEQConv2d,
    IntegerAttention,
    IntegerLayerNorm,
    LinearCodes,
    NormCodes,
    PositionCodes,
    QuadraticCodes,
    ResidualConnection,
)
from toolchain.layers.quadratic import INNER_LIMITS
from toolchain.models import ModelRow
from toolchain.quantizers import top_code

SIZES = {"cifar-10": 32, "fashion-mnist": 28}

STREAM_LIMIT = 2
"""Range of the stream, to which every block adds, in ranges of what is inside a block."""

PIXEL_STEP = 1 / 32
"""Standard deviations that one code of a normalized pixel is worth."""

ACTIVATIONS = ("gelu", "relu")

LIMITS = {"bits": (2, 8), "depth": (1, 64), "width": (2, MAX_WIDTH), "mlp": (1, 8)}
"""Smallest and largest value of an option."""


@dataclass(frozen=True, slots=True)
class ViTOptions:
    """Checked options of a vision transformer.

    ``connection``: a kind of ``ResidualConnection``. ``quadratic``: shifts of the quadratic enhancer of
    every linear layer, such as ``"1"`` or ``"1,2"``, or ``""`` for none. ``activation``: a row of
    ``ACTIVATIONS``. ``levels``: of the weights; ``first_levels``, ``last_levels``: of the patch embedding's
    and the classifier's. ``bits``: of all codes, 2..8. ``depth``: number of blocks. ``width``: of a token.
    ``heads``: of the attention; they divide the width. ``mlp``: width of the hidden layer in widths of a
    token. Raises InputError.
    """

    connection: str
    quadratic: str
    activation: str
    levels: int
    first_levels: int
    last_levels: int
    bits: int
    depth: int
    width: int
    heads: int
    mlp: int

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} must be within {least}..{most}, not {getattr(self, name)}")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")

    @property
    def shifts(self) -> tuple[int, ...]:
        """Those of the quadratic enhancer; none for none. Raises InputError unless they fit."""
        parts = self.quadratic.split(",") if self.quadratic else []
        if not all(part.isdecimal() for part in parts):
            raise InputError(f"quadratic must be shifts such as '1' or '1,2', not {self.quadratic!r}")
        return quadratic_shifts([int(part) for part in parts], self.width)

    @property
    def limit(self) -> float:
        """Real value of the largest code inside a block, where values have unit variance at the start."""
        return INNER_LIMITS[self.bits]

    @property
    def stream_limit(self) -> float:
        """Real value of the largest code of the stream."""
        return STREAM_LIMIT * self.limit

    @property
    def step(self) -> float:
        """Real value of one signed code inside a block."""
        return self.limit / (top_code(self.bits) >> 1)

    def codes(self, norm: Affine, signed: bool, limit: float) -> nn.Module:
        """What makes codes of a linear layer's output."""
        if not self.shifts:
            return NormCodes(norm, self.bits, signed, limit)
        return QuadraticCodes(norm.channels, self.bits, signed, limit, self.shifts, norm=norm)

    def linear(
        self,
        inputs: int,
        outputs: int,
        *,
        input_step: float | None = None,
        signed: bool = True,
        stream: bool = False,
        patch: int = 0,
    ) -> LinearCodes:
        """A linear layer with its codes.

        ``stream``: whether they are added to the stream. ``patch``: the embedding of patches of that size.
        """
        levels = self.first_levels if patch else self.levels
        layer = HEQConv2d(inputs, outputs, patch or 1, stride=patch or 1, levels=levels)
        limit = self.stream_limit if stream else self.limit
        codes = partial(self.codes, signed=signed, limit=limit)
        return LinearCodes(layer, input_step or self.step, codes)

    def attention(self) -> nn.Sequential:
        """Tokens of unit variance to a branch of the stream."""
        return nn.Sequential(
            OrderedDict(
                qkv=self.linear(self.width, 3 * self.width),
                mix=IntegerAttention(self.width, self.heads, self.step),
                project=self.linear(self.width, self.width, stream=True),
            )
        )

    def perceptron(self) -> nn.Sequential:
        """Tokens of unit variance to a branch of the stream; rectified codes are half the step apart."""
        hidden, rectified = self.mlp * self.width, self.activation == "relu"
        step = self.limit / top_code(self.bits) if rectified else self.step
        layers: dict[str, nn.Module] = {"expand": self.linear(self.width, hidden, signed=not rectified)}
        if not rectified:
            layers["gelu"] = GeluCodes(self.bits, self.limit)
        layers["project"] = self.linear(hidden, self.width, input_step=step, stream=True)
        return nn.Sequential(OrderedDict(layers))


class Branch(nn.Module):
    """``connection(branch(norm(x)), x)``: half a block. Input and output: (N, D, T, 1) stream codes."""

    def __init__(self, chosen: ViTOptions, branch: nn.Module) -> None:
        super().__init__()
        self.norm = IntegerLayerNorm(chosen.width, chosen.bits, chosen.limit)
        self.branch = branch
        self.connection = ResidualConnection(chosen.bits, signed=True, kind=chosen.connection)

    def forward(self, x: Tensor) -> Tensor:
        return self.connection(self.branch(self.norm(x)), x)


def build(*, dataset: str, patch: int, **options: Any) -> nn.Sequential:
    """``embed``, ``position``, ``block1`` .., ``norm`` and a classifier on the sum of the tokens.

    ``dataset``: a key of ``SIZES``. ``patch``: side of a patch. ``options``: the fields of ``ViTOptions``.
    Raises InputError for bad options.
    """
    chosen = ViTOptions(**options)
    channels, tokens = len(STATISTICS[dataset][0]), (SIZES[dataset] // patch) ** 2
    embed = chosen.linear(channels, chosen.width, input_step=PIXEL_STEP, stream=True, patch=patch)
    layers: dict[str, nn.Module] = {
        "pixels": pixel_norm(dataset),
        "embed": embed,
        "position": PositionCodes(chosen.width, tokens, chosen.bits, chosen.stream_limit),
    }
    for number in range(1, chosen.depth + 1):
        branches = {"attention": chosen.attention(), "mlp": chosen.perceptron()}
        halves = {name: Branch(chosen, branch) for name, branch in branches.items()}
        layers[f"block{number}"] = nn.Sequential(OrderedDict(halves))
    layers["norm"] = IntegerLayerNorm(chosen.width, chosen.bits, chosen.limit)
    layers["pool"] = GlobalSumPool()
    unit = round(tokens / chosen.step)
    layers["classifier"] = HEQClassifier(chosen.width, 10, chosen.last_levels, input_max=unit)
    return finish(layers, plain=False)


OPTIONS: dict[str, Any] = {
    "connection": "linear",
    "quadratic": "",
    "activation": "gelu",
    "levels": 3,
    "first_levels": EIGHT_BIT,
    "last_levels": EIGHT_BIT,
    "bits": 8,
}
"""Defaults of the options that do not depend on the network."""


def _row(name: str, dataset: str, patch: int, depth: int, width: int, heads: int, mlp: int) -> ModelRow:
    shape = (len(STATISTICS[dataset][0]), SIZES[dataset], SIZES[dataset])
    summary = (
        f"vision transformer, {depth} blocks {width} wide, {heads} heads, patches of {patch}; {dataset}"
    )
    options = {**OPTIONS, "depth": depth, "width": width, "heads": heads, "mlp": mlp}
    builder = partial(build, dataset=dataset, patch=patch)
    return ModelRow(name, summary, builder, shape, Interval(0, 255), dataset, options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        _row("vit-tiny-fashion", "fashion-mnist", 7, 3, 48, 4, 2),
        _row("vit-tiny-cifar", "cifar-10", 8, 3, 48, 4, 2),
        _row("vit-s-cifar", "cifar-10", 4, 6, 384, 6, 4),
    )
}
