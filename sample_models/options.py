"""The options that the larger networks share, and what they make of a block."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from runtime.errors import InputError
from toolchain.layers import ConvBlock, HEQClassifier, set_precision
from toolchain.layers.quadratic import check_shifts
from toolchain.quantizers import top_code

EIGHT_BIT = 127
"""Levels of an "8-bit" weight: the most that a program's value sets hold."""

MAX_WIDTH = 1024
"""Widest first stage."""

OPTIONS: dict[str, Any] = {
    "levels": 3,
    "first_levels": EIGHT_BIT,
    "last_levels": EIGHT_BIT,
    "normalize": True,
    "twin": False,
}
"""Defaults of the options that do not depend on the network."""


def quadratic_shifts(shifts: Sequence[int], width: int) -> tuple[int, ...]:
    """Checked shifts, perhaps none, for a network of ``width`` channels or more. Raises InputError."""
    try:
        return check_shifts(shifts, width) if shifts else ()
    except InputError as error:
        raise InputError(f"quadratic: {error}") from None


def finish(layers: Mapping[str, nn.Module], plain: bool) -> nn.Sequential:
    """The network of ``layers``, in full precision if it is ``plain``, else quantized."""
    model = nn.Sequential(OrderedDict(layers))
    set_precision(model, "float" if plain else "quantized")
    return model


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options of a network.

    ``width``: channels of the first stage. ``levels``: of the weights; ``first_levels``, ``last_levels``:
    of the first convolution's and the classifier's, 127 for the usual 8-bit treatment, or the number of
    ``levels`` for an all-quantized network. ``bits``: of the activations. ``normalize``: whether pixels are
    normalized by a lookup before the first convolution, or enter it raw. ``twin``: the float32 twin, with
    real weights, ReLU, and an added skip in place of a logic one.
    """

    width: int
    levels: int
    first_levels: int
    last_levels: int
    bits: int
    normalize: bool
    twin: bool

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise InputError(f"width must be within 1..{MAX_WIDTH}, not {self.width}")

    @property
    def top(self) -> int:
        """The largest activation code. Raises InputError for a bad number of bits."""
        return top_code(self.bits)

    def conv(self, inputs: int, outputs: int, *, first: bool = False, pool: int = 0) -> ConvBlock:
        """A 3x3 block; ``first``: the one that sees pixels."""
        return ConvBlock(
            inputs,
            outputs,
            pool=pool,
            levels=self.first_levels if first else self.levels,
            bits=self.bits,
            kind="relu" if self.twin else "codes",
        )

    def classifier(self, features: int, input_max: int) -> HEQClassifier:
        """The last layer, for 10 classes."""
        return HEQClassifier(features, 10, self.last_levels, input_max=input_max)
