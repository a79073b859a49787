"""What cannot be lowered: one error that names the module, the rule and what to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from runtime.types import Interval
from toolchain.layers import (
    Activation,
    AddSkip,
    BatchNorm,
    ConvBlock,
    GlobalSumPool,
    HEQClassifier,
    HEQConv2d,
    HEQLinear,
    LoweringError,
    set_precision,
)
from toolchain.lowering import lower

torch.set_num_threads(1)


class Calls(nn.Module):
    """A first block, and then whatever ``then`` makes of its result and the input."""

    def __init__(self, then: object) -> None:
        super().__init__()
        self.first = ConvBlock(1, 4)
        self.skip = AddSkip()
        self.bias = nn.Parameter(torch.zeros(4, 1, 1))
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self, self.first(x))


class OwnConvolution(HEQConv2d):
    """A subclass of a supported layer."""


def in_float() -> nn.Module:
    model = ConvBlock(1, 4)
    set_precision(model, "float")
    return model


def broken_norm() -> nn.Module:
    model = ConvBlock(1, 4)
    model.norm.running_var[2] = math.nan
    return model


CASES = {
    "unknown module": (
        lambda: nn.Sequential(ConvBlock(1, 4), nn.Sequential(nn.ReLU())),
        "cannot lower '1.0': a module must be one of HEQConv2d, .*, Dropout2d, not ReLU; use Activation",
    ),
    "module without a counterpart": (
        lambda: nn.Sequential(ConvBlock(1, 4), nn.GELU()),
        "cannot lower '1': a module must be one of HEQConv2d, .*, not GELU; use one of these instead$",
    ),
    "torch module as the model": (
        lambda: nn.Conv2d(1, 4, 3),
        "cannot lower '0': a module must be one of HEQConv2d, .*, not Conv2d; use HEQConv2d instead$",
    ),
    "subclass of a layer": (
        lambda: nn.Sequential(OwnConvolution(1, 4, 3)),
        "cannot lower '0': a module must be one of .*, not OwnConvolution, a subclass, which has no "
        "lowering rule; use or compose HEQConv2d itself$",
    ),
    "subclass of a layer as the model": (
        lambda: OwnConvolution(1, 4, 3),
        "cannot lower '0': .*, not OwnConvolution, a subclass",
    ),
    "class for a module": (
        lambda: HEQConv2d,
        "a model must be a torch.nn.Module, not type; build or load one first$",
    ),
    "text for a module": (
        lambda: "ornet-mini",
        "a model must be a torch.nn.Module, not str; build or load one first$",
    ),
    "empty model": (
        nn.Sequential,
        "cannot lower 'output': a model must compute something, not return its input; add a layer$",
    ),
    "full precision": (
        in_float,
        "cannot lower 'conv': a model must be quantized to be lowered; use set_precision",
    ),
    "relu twin": (
        lambda: nn.Sequential(HEQConv2d(1, 4, 3), Activation(kind="relu")),
        "cannot lower '1': relu has no integer codes; build the model without its float32 twin option",
    ),
    "pending into a convolution": (
        lambda: nn.Sequential(HEQConv2d(1, 4, 3), BatchNorm(4), HEQConv2d(4, 4, 3)),
        "cannot lower '2': its operand must hold integers, but it comes from a BatchNorm; put an Act",
    ),
    "pending at the output": (
        lambda: nn.Sequential(HEQConv2d(1, 4, 3), BatchNorm(4)),
        "cannot lower 'output': its operand must hold integers, but it comes from a BatchNorm",
    ),
    "classifier in the middle": (
        lambda: nn.Sequential(nn.Flatten(), HEQClassifier(64, 4), HEQLinear(4, 2)),
        "cannot lower '2': its operand comes from a HEQClassifier, which must be the last module",
    ),
    "norm after the classifier": (
        lambda: nn.Sequential(nn.Flatten(), HEQClassifier(64, 4), BatchNorm(4)),
        "cannot lower '2': its operand comes from a HEQClassifier",
    ),
    "activation after the classifier": (
        lambda: nn.Sequential(nn.Flatten(), HEQClassifier(64, 4), Activation()),
        "cannot lower '2': its operand comes from a HEQClassifier",
    ),
    "norm of other channels": (
        lambda: nn.Sequential(HEQConv2d(1, 4, 3), BatchNorm(5), Activation()),
        "cannot lower '1': BatchNorm has 5 channels, its operand has 4",
    ),
    "norm with broken statistics": (
        broken_norm,
        "cannot lower 'norm': BatchNorm must have finite statistics and a positive variance; retrain",
    ),
    "channels do not fit": (
        lambda: nn.Sequential(ConvBlock(1, 4), ConvBlock(5, 4)),
        "cannot lower '1.conv': .*Conv2d weights expect 5 input channels, operand has 4",
    ),
    "no flatten": (
        lambda: nn.Sequential(ConvBlock(1, 4), HEQClassifier(256, 10)),
        r"cannot lower '1': .*Dense needs an operand of rank 1, not shape \[4, 8, 8\]",
    ),
    "global pool of a vector": (
        lambda: nn.Sequential(nn.Flatten(), GlobalSumPool()),
        r"cannot lower '1': global pooling needs an operand of rank 3, not shape \[64\]",
    ),
    "dilated pool": (
        lambda: nn.Sequential(nn.MaxPool2d(2, dilation=2)),
        "cannot lower '0': MaxPool2d is supported without dilation, ceil_mode and return_indices",
    ),
    "flatten with the batch": (
        lambda: nn.Sequential(nn.Flatten(0)),
        "cannot lower '0': flatten must keep the batch axis; use start_dim=1, not 0",
    ),
    "unknown function": (
        lambda: Calls(lambda self, x: torch.relu(x)),
        "cannot lower 'relu': a function must be one of add, cat, .*, not relu",
    ),
    "unknown method": (
        lambda: Calls(lambda self, x: x.mean((2, 3))),
        "cannot lower 'mean': a function must be one of .*, not mean",
    ),
    "constant": (
        lambda: Calls(lambda self, x: x + 1),
        "cannot lower 'add': operands must be tensors computed from the input, not 1",
    ),
    "own parameter": (
        lambda: Calls(lambda self, x: x + self.bias),
        "cannot lower 'bias': forward must not use parameters or buffers itself; put them in a layer",
    ),
    "tensor index": (
        lambda: Calls(lambda self, x: x[:, :2]),
        "cannot lower 'getitem': tensors cannot be indexed; only their shape can",
    ),
    "other attribute": (
        lambda: Calls(lambda self, x: x.mT),
        "cannot lower 'getattr': of a tensor's attributes only shape can be lowered, not 'mT'",
    ),
    "reshape into the batch": (
        lambda: Calls(lambda self, x: x.reshape(4, -1)),
        r"cannot lower 'reshape': reshape must keep the batch axis, as in .*, not \(4, -1\)",
    ),
    "reshape to nothing": (
        lambda: Calls(lambda self, x: x.reshape(-1, 0)),
        r"cannot lower 'reshape': Reshape needs positive dimensions, not \[0\]",
    ),
    "wide padding": (
        lambda: nn.Sequential(nn.MaxPool2d(2, padding=2)),
        "cannot lower '0': MaxPool padding must be at most half the kernel",
    ),
    "cat of rows": (
        lambda: Calls(lambda self, x: torch.cat([x, x], 2)),
        "cannot lower 'cat': cat must join a list of tensors along dim=1, not dim=2",
    ),
    "missing operand": (
        lambda: Calls(lambda self, x: self.skip(x)),
        "cannot lower 'skip': this way of calling it is not supported: missing a required argument",
    ),
    "unsupported keyword": (
        lambda: Calls(lambda self, x: torch.add(x, x, alpha=2)),
        "cannot lower 'add': this way of calling it is not supported: .*alpha",
    ),
    "branch on the data": (
        lambda: Calls(lambda self, x: x if x.sum() > 0 else self.skip(x, x)),
        r"forward must not depend on the data \(no branches, loops or conversions of tensors\), nor fail, "
        "but Calls.forward raises TraceError: symbolically traced variables cannot be used as inputs",
    ),
    "failing lookup": (
        lambda: Calls(lambda self, x: {}["stem"]),
        "but Calls.forward raises KeyError: 'stem'; correct it$",
    ),
    "missing attribute": (
        lambda: Calls(lambda self, x: self.absent(x)),
        "but Calls.forward raises AttributeError: .*absent.*; correct it$",
    ),
    "axis beyond the shape": (
        lambda: Calls(lambda self, x: x.reshape(x.shape[0], x.shape[7])),
        "cannot lower 'getitem': an index must be one of the shape's axes, not 7",
    ),
    "size beyond the shape": (
        lambda: Calls(lambda self, x: x.reshape(x.shape[0], x.size(7))),
        "cannot lower 'size': an index must be one of the shape's axes, not 7",
    ),
    "loop over the data": (
        lambda: Calls(lambda self, x: sum(row for row in x)),
        "forward must not depend on the data",
    ),
    "two results": (
        lambda: Calls(lambda self, x: (x, x)),
        "cannot lower 'output': forward must return one tensor, not a tuple; return only the last value$",
    ),
    "results by name": (
        lambda: Calls(lambda self, x: {"features": x}),
        "cannot lower 'output': forward must return one tensor, not a dict",
    ),
    "results in a list": (
        lambda: Calls(lambda self, x: [x]),
        "cannot lower 'output': forward must return one tensor, not a list",
    ),
    "no result": (
        lambda: Calls(lambda self, x: None),
        "cannot lower 'output': forward must return one tensor, not a NoneType",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_error(case: str) -> None:
    make, message = CASES[case]
    with pytest.raises(LoweringError, match=message) as caught:
        lower(make(), (1, 8, 8), Interval(0, 16), "net")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "instead"),
    [
        (nn.ReLU(), "Activation"),
        (nn.Conv2d(1, 4, 3), "HEQConv2d"),
        (nn.Linear(8, 4), "HEQLinear or HEQClassifier"),
        (nn.BatchNorm1d(4), "BatchNorm"),
        (nn.BatchNorm2d(4), "BatchNorm"),
        (nn.AvgPool2d(2), "SumPool2d"),
        (nn.AdaptiveAvgPool2d(1), "GlobalSumPool"),
    ],
)
def test_what_takes_the_place_of_a_module_of_torch(module: nn.Module, instead: str) -> None:
    message = f"^cannot lower '0': .*, not {type(module).__name__}; use {instead} instead$"
    with pytest.raises(LoweringError, match=message):
        lower(nn.Sequential(module), (1, 8, 8), Interval(0, 16), "net")


def test_the_error_of_a_forward_is_kept_as_the_cause() -> None:
    with pytest.raises(LoweringError) as caught:
        lower(Calls(lambda self, x: {}["stem"]), (1, 8, 8), Interval(0, 16), "net")
    assert isinstance(caught.value.__cause__, KeyError)


def test_two_inputs() -> None:
    with pytest.raises(LoweringError, match="a model must have one input to be lowered; remove 'identity'"):
        lower(TwoInputs(), (1, 8, 8), Interval(0, 16), "net")


class TwoInputs(nn.Module):
    """Adds its inputs."""

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        return x + identity


def test_functions_are_named_with_their_module() -> None:
    model = nn.Sequential(nn.Identity(), Calls(lambda self, x: torch.relu(x)))
    with pytest.raises(LoweringError, match=r"cannot lower '1\.relu'"):
        lower(model, (1, 8, 8), Interval(0, 16), "net")


def test_integers_beyond_float64_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), HEQLinear(64, 4))
    with pytest.raises(LoweringError, match=r"integers must stay within 2\*\*53 to be exact in float64"):
        lower(model, (1, 8, 8), Interval(0, 2**50), "net")
