"""A connection as a model of its own, so that chosen codes reach both of its operands."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from runtime.interpreter import Interpreter
from runtime.types import Interval
from toolchain.layers import HEQConv2d
from toolchain.lowering import lower, reference_model


class Joined(nn.Module):
    """``connection(branch, stream)``: the first half of the input's channels, and the second half."""

    def __init__(self, connection: nn.Module, channels: int, branch: nn.Module | None = None) -> None:
        """``branch``: what comes between the first half and the connection."""
        super().__init__()
        self.first = _half(channels, 0)
        self.branch = branch or nn.Identity()
        self.second = _half(channels, channels)
        self.connection = connection

    def forward(self, x: Tensor) -> Tensor:
        return self.connection(self.branch(self.first(x)), self.second(x))


def _half(channels: int, first: int) -> HEQConv2d:
    """A convolution that passes ``channels`` of twice as many channels, from ``first`` on."""
    conv = HEQConv2d(2 * channels, channels, 1)
    conv.step.fill_(1)
    conv.weight.data.zero_()
    conv.weight.data[range(channels), range(first, first + channels)] = 1
    return conv


def assert_program_equals_module(joined: Joined, branch: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """The program's output for integers of shape (N, C, H, W), which is the module's, bit for bit."""
    image = np.concatenate([branch, stream], axis=1)
    program = lower(joined, image.shape[1:], Interval(int(image.min()), int(image.max())), "joined")
    (out,) = Interpreter(program).run({"image": image}).values()
    with torch.no_grad():
        expected = reference_model(joined)(torch.from_numpy(image).double()).numpy()
    assert np.array_equal(out, expected)
    return out
