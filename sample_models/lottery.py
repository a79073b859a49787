"""The networks of the pruning studies, real and quaternion (arXiv 2308.06780, table 1).

LeNets on flat 28x28 images, in four blocks of 196 pixels for quaternions; Conv-2, Conv-4 and Conv-6 on
colour images, which quaternions see as (R, G, B, gray). 3x3 convolutions with biases, ReLU, no batch norm,
a real output layer. With ``levels`` above 0 they are the quantized networks: HEQ weights, a batch norm and
low-bit activations after each layer, and the same names, so that the plain network's weights and masks fit
in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from runtime.errors import InputError
from runtime.types import Interval
from sample_models.options import EIGHT_BIT, MAX_WIDTH, finish
from sample_models.pixels import pixel_norm
from toolchain.layers import (
    Activation,
    AppendGray,
    BatchNorm,
    HEQClassifier,
    HEQConv2d,
    HEQLinear,
    HEQQuaternionConv2d,
    HEQQuaternionLinear,
    PixelScale,
    RealLinear,
)
from toolchain.layers.plain import plain_layers
from toolchain.models import ModelRow
from toolchain.quantizers import top_code

OPTIONS: dict[str, Any] = {
    "algebra": "real",
    "levels": 0,
    "last_levels": 0,
    "bits": 2,
    "steps": "layer",
}
"""Defaults of the options that all of these networks have."""

HEQ = {"real": (HEQConv2d, HEQLinear), "quaternion": (HEQQuaternionConv2d, HEQQuaternionLinear)}
"""Quantized convolution and dense layer of each algebra."""


@dataclass(frozen=True, slots=True)
class Lottery:
    """Checked options.

    ``algebra``: ``real`` or ``quaternion``; widths count real channels either way. ``levels``: of HEQ
    weights, 0 for the plain float32 network; ``first_levels`` and ``last_levels``: of the first and the
    output layer, 0 for ``levels``. ``bits``: of the activations. ``steps``: one step a ``layer``, or one a
    ``component``.
    """

    algebra: str
    levels: int
    first_levels: int
    last_levels: int
    bits: int
    steps: str

    def __post_init__(self) -> None:
        plain_layers(self.algebra)
        top_code(self.bits)

    @property
    def quantized(self) -> bool:
        """Whether this is the network with HEQ weights."""
        return self.levels > 0

    def _heq(self, first: bool) -> dict[str, Any]:
        return {"levels": (first and self.first_levels) or self.levels, "steps": self.steps}

    def conv(self, inputs: int, outputs: int, *, first: bool = False, pool: bool = False) -> nn.Sequential:
        """A 3x3 convolution, its activation, and perhaps a 2x2 max pooling."""
        if self.quantized:
            layer = HEQ[self.algebra][0](inputs, outputs, 3, padding=1, **self._heq(first))
        else:
            layer = plain_layers(self.algebra)[0](inputs, outputs, 3, padding=1)
        return self._block("conv", layer, outputs, pool)

    def dense(self, inputs: int, outputs: int, *, first: bool = False) -> nn.Sequential:
        """A dense layer and its activation."""
        if self.quantized:
            layer = HEQ[self.algebra][1](inputs, outputs, **self._heq(first))
        else:
            layer = plain_layers(self.algebra)[1](inputs, outputs)
        return self._block("linear", layer, outputs, pool=False)

    def _block(self, name: str, layer: nn.Module, outputs: int, pool: bool) -> nn.Sequential:
        """In the quantized network the pooling comes first, where it needs no second look at the codes."""
        parts: dict[str, nn.Module] = {name: layer}
        pooling = {"pool": nn.MaxPool2d(2)} if pool else {}
        if self.quantized:
            parts |= pooling | {"norm": BatchNorm(outputs), "act": Activation(self.bits)}
        else:
            parts |= {"relu": nn.ReLU()} | pooling
        return nn.Sequential(OrderedDict(parts))

    def classifier(self, inputs: int) -> nn.Module:
        """The output layer, which is real, for 10 classes."""
        if not self.quantized:
            return RealLinear(inputs, 10)
        levels = self.last_levels or self.levels
        return HEQClassifier(inputs, 10, levels, input_max=top_code(self.bits))


class _Network:
    """Collects the layers of a network; a size that does not fit is told with the layer's name."""

    def __init__(self, dataset: str, chosen: Lottery) -> None:
        self._chosen = chosen
        self._layers: dict[str, nn.Module] = {"pixels": pixel_norm(dataset)}

    def add(self, name: str, make: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> None:
        """Append ``make(...)`` as ``name``. Raises InputError starting with the name."""
        try:
            self._layers[name] = make(*args, **kwargs)
        except InputError as error:
            raise InputError(f"layer {name}: {error}") from None

    def finish(self) -> nn.Sequential:
        """The network, at its precision."""
        return finish(self._layers, plain=not self._chosen.quantized)


def build_lenet(*, hidden: Sequence[int], **options: Any) -> nn.Sequential:
    """``fc1`` .. and an output layer on 784 pixels. ``options``: those of ``Lottery``; raises
    InputError."""
    chosen = Lottery(**options)
    network = _Network("mnist", chosen)
    if not chosen.quantized:
        network.add("scale", PixelScale)
    network.add("flatten", nn.Flatten)
    inputs = 28 * 28
    for number, outputs in enumerate(hidden, 1):
        network.add(f"fc{number}", chosen.dense, inputs, outputs, first=number == 1)
        inputs = outputs
    network.add("classifier", chosen.classifier, inputs)
    return network.finish()


def build_conv(*, stages: int, width: int, hidden: int, **options: Any) -> nn.Sequential:
    """``conv1`` .., two dense layers and an output layer on 32x32 colour images.

    ``stages``: of two convolutions and a pooling each. ``width``: channels of the first, doubled from stage
    to stage. ``hidden``: width of the dense layers. ``options``: those of ``Lottery``. Raises InputError.
    """
    for name, value in (("width", width), ("hidden", hidden)):
        if not 1 <= value <= MAX_WIDTH:
            raise InputError(f"{name} must be within 1..{MAX_WIDTH}, not {value}")
    chosen = Lottery(**options)
    network = _Network("cifar-10", chosen)
    inputs, size = 3, 32
    if chosen.algebra == "quaternion":
        network.add("gray", AppendGray)
        inputs = 4
    if not chosen.quantized:
        network.add("scale", PixelScale)
    for number in range(1, 2 * stages + 1):
        outputs = width * 2 ** ((number - 1) // 2)
        network.add(f"conv{number}", chosen.conv, inputs, outputs, first=number == 1, pool=number % 2 == 0)
        inputs = outputs
    network.add("flatten", nn.Flatten)
    inputs *= (size >> stages) ** 2
    for number in (1, 2):
        network.add(f"fc{number}", chosen.dense, inputs, hidden)
        inputs = hidden
    network.add("classifier", chosen.classifier, inputs)
    return network.finish()


def _lenet(name: str, *hidden: int) -> ModelRow:
    summary = (
        f"fully connected, {'-'.join(map(str, hidden))} hidden neurons, real or quaternion; 28x28 images"
    )
    options = {**OPTIONS, "first_levels": 0}
    builder = partial(build_lenet, hidden=hidden)
    return ModelRow(name, summary, builder, (1, 28, 28), Interval(0, 255), "mnist", options)


def _conv(stages: int) -> ModelRow:
    summary = f"{2 * stages} convolutions and two dense layers, real or quaternion; CIFAR-10"
    options = {**OPTIONS, "first_levels": EIGHT_BIT, "width": 64, "hidden": 256}
    builder = partial(build_conv, stages=stages)
    name = f"conv-{2 * stages}"
    return ModelRow(name, summary, builder, (3, 32, 32), Interval(0, 255), "cifar-10", options)


MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (_lenet("lenet-300-100", 300, 100), _lenet("lenet-12", 12), _conv(1), _conv(2), _conv(3))
}
