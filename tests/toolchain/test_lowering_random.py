"""Random networks and random functions: the program equals the float64 model on every input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from runtime.interpreter import Interpreter
from runtime.types import Interval
from toolchain.layers import SKIPS, Activation, BatchNorm, GlobalSumPool, HEQClassifier, HEQConv2d
from toolchain.layers.skips import make_skip
from toolchain.layers.thresholds import evaluate, search_thresholds
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)


@dataclass(frozen=True)
class Step:
    """One step of a random network: which earlier tensors it reads (modulo how many there are), and how."""

    kind: str
    first: int
    second: int
    bits: int
    levels: int
    order: str
    pool: bool


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["block", "block", "cat", *SKIPS]),
    first=st.integers(0, 9),
    second=st.integers(0, 9),
    bits=st.sampled_from([1, 2, 3, 8]),
    levels=st.sampled_from([3, 5, 7, 127]),
    order=st.sampled_from(["conv norm act", "conv act", "conv norm norm act", "conv norm act norm act"]),
    pool=st.booleans(),
)


def block(step: Step, channels: int) -> nn.Sequential:
    """Convolution, then norms and activations in the step's order, with a pool anywhere after it."""
    make = {
        "conv": lambda: HEQConv2d(channels, 4, 3, padding=1, levels=step.levels),
        "norm": lambda: BatchNorm(4),
        "act": lambda: Activation(step.bits),
    }
    modules: list[nn.Module] = [make[word]() for word in step.order.split()]
    if step.pool:
        modules.insert(1 + step.second % len(modules), nn.MaxPool2d(3, 1, 1))
    return nn.Sequential(*modules)


class RandomNetwork(nn.Module):
    """A DAG of 6x6 feature maps of integer codes, ending in a classifier."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleList()
        self.skips = nn.ModuleList()
        self.channels = [1]
        for step in steps:
            first, second = (self.channels[i % len(self.channels)] for i in (step.first, step.second))
            joined = step.kind == "cat"
            self.parts.append(nn.Identity() if joined else block(step, first))
            self.skips.append(make_skip(step.kind if step.kind in SKIPS else "none", step.bits))
            self.channels.append(first + second if joined else 4)
        self.pool = GlobalSumPool()
        self.head = HEQClassifier(self.channels[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x]
        for step, part, skip in zip(self.steps, self.parts, self.skips, strict=True):
            first, second = (tensors[i % len(tensors)] for i in (step.first, step.second))
            if step.kind == "cat":
                tensors.append(torch.cat([first, second], 1))
            else:
                branch = part(first)
                alike = [t for t, n in zip(tensors, self.channels, strict=False) if n == 4] or [branch]
                tensors.append(skip(branch, alike[step.second % len(alike)]))
        return self.head(self.pool(tensors[-1]))


def scramble(model: nn.Module, seed: int) -> None:
    """Random batch norms, zero and negative slopes included, of the size of what reaches them."""
    g = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
            module.weight.data = torch.randint(-2, 3, (4,), generator=g) / 2
            module.bias.data = torch.randint(-1, 2, (4,), generator=g) / 2


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=5), seed=st.integers(0, 999))
def test_random_networks(steps: list[Step], seed: int) -> None:
    torch.manual_seed(seed)
    model = RandomNetwork(steps)
    scramble(model, seed)
    images = np.random.default_rng(seed).integers(0, 256, (6, 1, 6, 6))
    with torch.no_grad():
        model.train()(torch.from_numpy(images).float())
        reference = reference_model(model)
        logits = reference(torch.from_numpy(images).double())
    program = lower(model, (1, 6, 6), Interval(0, 255), "random")
    out = Interpreter(program).run({"image": images})
    assert torch.equal(torch.from_numpy(out["scores"]).double() * reference.head.scale.detach(), logits)
    assert np.array_equal(out["class"], logits.argmax(1).numpy())


EVEN = st.sampled_from([0.0, 0.25, -0.5, 1.0, -3.0, 1e-12, 1e12, -1e-300])


@settings(deadline=None)
@given(
    lo=st.integers(-300, 300),
    span=st.integers(0, 600),
    bits=st.sampled_from([1, 2, 5, 8]),
    norms=st.lists(st.tuples(*[EVEN | st.floats(-20, 20)] * 3), min_size=1, max_size=2),
)
def test_search_equals_the_function_on_every_integer(
    lo: int, span: int, bits: int, norms: list[tuple[float, float, float]]
) -> None:
    chain: list[nn.Module] = []
    for weight, bias, mean in norms:
        norm = BatchNorm(2, eps=0.0).double().eval().requires_grad_(False)
        norm.weight.copy_(torch.tensor([weight, -weight]))
        norm.bias.fill_(bias)
        norm.running_mean.fill_(mean)
        chain.append(norm)
    chain.append(Activation(bits))
    integers = torch.arange(lo, lo + span + 1)[:, None].expand(-1, 2)
    op = search_thresholds(chain, Interval(lo, lo + span), 2, 2**bits - 1)
    assert np.array_equal(op.evaluate(integers.numpy()), evaluate(chain, integers).numpy())
    assert op.thresholds.min() >= lo - 1
    assert op.thresholds.max() <= lo + span + 1
