"""Table neurons: what they answer, what they learn from, which bits they read, and their program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporters import executors
from runtime.errors import InputError
from runtime.ops import Dense, Lookup
from runtime.session import Session
from runtime.types import Interval
from toolchain.compare import compare
from toolchain.layers import HEQClassifier, LookupNeurons, LoweringError, PixelBits, latent_layers
from toolchain.layers.lookup_neurons import draw_inputs
from toolchain.lowering import lower, reference_model
from toolchain.training.health import layer_health

torch.set_num_threads(1)


def neurons(inputs: list[list[int]], features: int) -> LookupNeurons:
    torch.manual_seed(0)
    return LookupNeurons(features, torch.tensor(inputs))


def every_pattern(bits: int) -> Tensor:
    return (torch.arange(1 << bits)[:, None] >> torch.arange(bits) & 1).float()


def network(fan_in: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    inputs = draw_inputs((2, 5, 5), 40, fan_in, window=3)
    layers = [PixelBits((100, 128)), nn.Flatten(), LookupNeurons(50, inputs)]
    second = torch.rand(12, 40).topk(fan_in, dim=1).indices
    return nn.Sequential(*layers, LookupNeurons(40, second), HEQClassifier(12, 3))


def test_a_neuron_answers_with_the_entry_of_its_pattern() -> None:
    layer = neurons([[2, 0], [1, 2]], features=3)
    with torch.no_grad():
        layer.table.copy_(torch.tensor([[1, -1, -1, 1], [-1, 1, 0, -1]]) * 0.5)
    x = every_pattern(3)
    first, second, third = x.T.bool()
    expected = torch.stack([first == third, second & ~third], dim=1)
    assert torch.equal(layer(x), expected.float())
    assert torch.equal(layer.double()(x.double()), expected.double())


def test_only_entries_that_were_read_learn() -> None:
    layer = neurons([[0, 1], [1, 2]], features=3)
    layer(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])).sum().backward()
    assert layer.table.grad is not None
    assert layer.table.grad.tolist() == [[0, 2, 0, 0], [1, 0, 1, 0]]


def test_a_bit_learns_half_of_what_it_changes() -> None:
    layer = neurons([[0, 1], [1, 2]], features=3)
    x = torch.tensor([[1.0, 0.0, 1.0]], requires_grad=True)
    layer(x).sum().backward()
    a, b = layer.table.detach()
    wanted = torch.stack([a[1] - a[0], a[3] - a[1] + b[3] - b[2], b[2] - b[0]]) / 2
    assert x.grad is not None
    assert torch.allclose(x.grad[0], wanted)


def test_entries_are_clipped_after_an_update() -> None:
    model = network()
    for layer in latent_layers(model):
        for parameter in layer.parameters():
            parameter.data.mul_(1000)
        layer.clamp_latent()
    assert [type(layer) for layer in latent_layers(model)] == [LookupNeurons, LookupNeurons, HEQClassifier]
    assert float(model[2].table.detach().abs().max()) == 1


def test_inputs_are_different_bits_of_one_window() -> None:
    torch.manual_seed(0)
    drawn = draw_inputs((2, 6, 9), 500, 6, window=3)
    assert bool((drawn.diff(dim=1) > 0).all())
    assert drawn.unique().tolist() == list(range(2 * 6 * 9))
    for axis in (drawn % 54 // 9, drawn % 9):
        assert int((axis.amax(1) - axis.amin(1)).max()) == 2
    assert draw_inputs((1, 2, 4), 3, 6, window=7).shape == (3, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 9, 9), 5, 7, 3), "fan_in must be within 1..6"),
        (((1, 9, 9), 5, 0, 3), "fan_in must be within 1..6"),
        (((1, 9, 9), 5, 6, 2), "at most the 4 bits"),
        (((1, 9, 9), 5, 6, 0), "window must be at least 1"),
    ],
)
def test_inputs_that_cannot_be_drawn_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_inputs(*arguments)


@pytest.mark.parametrize("inputs", [[[0, 0]], [[0, 3]], [[-1, 0]]])
def test_inputs_must_be_different_features(inputs: list[list[int]]) -> None:
    with pytest.raises(InputError, match=r"different features of 0..2"):
        neurons(inputs, features=3)


@pytest.mark.parametrize("fan_in", [1, 2, 6])
def test_the_program_equals_the_model_on_every_executor(fan_in: int) -> None:
    model = network(fan_in)
    program = lower(model, (1, 5, 5), Interval(0, 255), "tables")
    x = np.random.default_rng(0).integers(0, 256, (64, 1, 5, 5)).astype(np.uint8)
    reference = reference_model(model)
    with torch.no_grad():
        logits = reference(torch.from_numpy(x).double())
    out = Session(program).run({"image": x})
    assert torch.equal(torch.from_numpy(out["scores"]).double() * reference[-1].scale.detach(), logits)
    assert compare(program, [{"image": x}], executors()).ok


def test_a_pattern_is_numbered_by_powers_of_two() -> None:
    model = nn.Sequential(nn.Flatten(), neurons([[3, 1, 0]], features=4))
    program = lower(model, (4, 1, 1), Interval(0, 1), "one")
    dense, lookup = (node.op for node in program.nodes if isinstance(node.op, (Dense, Lookup)))
    assert dense.weights.codes.tolist() == [[4, 2, 0, 1]]
    assert dense.weights.levels == 9
    assert lookup.table.shape == (1, 8)


def test_neurons_take_bits_only() -> None:
    model = nn.Sequential(nn.Flatten(), neurons([[0, 1]], features=2))
    with pytest.raises(LoweringError, match="takes bits"):
        lower(model, (2, 1, 1), Interval(0, 2), "codes")


def test_a_sparse_classifier_keeps_its_largest_weights_and_makes_room_for_them() -> None:
    torch.manual_seed(0)
    layer = HEQClassifier(200, 10, density=0.1)
    with torch.no_grad():
        layer.weight.uniform_(-1, 1)
    largest = layer.weight.abs().flatten().topk(200).indices.sort().values
    before = layer.weight.detach().clone()
    layer.update_step()
    assert torch.equal(layer.codes().flatten().nonzero().flatten(), largest)
    assert float(layer.step) == 1
    assert torch.equal(layer.weight.sign(), before.sign())
    assert 0.5 < float(layer.weight.detach().abs().max()) < 0.6


def test_a_sparse_layer_is_not_told_to_be_unbalanced() -> None:
    torch.manual_seed(0)
    sparse, equalized = HEQClassifier(200, 10, density=0.1), HEQClassifier(200, 10)
    assert layer_health(nn.Sequential(sparse))["0"].imbalance is None
    equalized.step.fill_(9)
    assert layer_health(nn.Sequential(equalized))["0"].imbalance is not None
