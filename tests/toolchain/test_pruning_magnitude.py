"""Global magnitude pruning against a slow definition, and what it leaves alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runtime.errors import InputError
from toolchain.layers import QuaternionConv2d, QuaternionLinear, RealConv2d, RealLinear, prunable_layers
from toolchain.models import model_row
from toolchain.pruning.magnitude import masks_of, prune, set_masks, size_of

torch.set_num_threads(1)


def real_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(RealConv2d(2, 4, 3), nn.Flatten(), RealLinear(16, 5), RealLinear(5, 3))


def quaternion_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        QuaternionConv2d(4, 16, 3), nn.Flatten(), QuaternionLinear(32, 16), RealLinear(16, 3)
    )


def flat(model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Absolute weights and masks of all layers, one after the other."""
    layers = prunable_layers(model).values()
    weights = [layer.weight.detach().abs().numpy().ravel() for layer in layers]
    return np.concatenate(weights), np.concatenate([m.numpy().ravel() for m in masks_of(model).values()])


@given(
    share=st.floats(0.01, 0.99), rounds=st.integers(1, 4), levels=st.integers(1, 6), seed=st.integers(0, 9)
)
def test_exactly_the_smallest_weights_go_and_the_first_of_equal_ones(share, rounds, levels, seed):
    model = real_network(seed)
    for layer in prunable_layers(model).values():  # few different magnitudes, so that many are equal
        layer.weight.data = torch.randint(-levels, levels + 1, layer.weight.shape).float()
    for _ in range(rounds):
        before, mask = flat(model)
        survivors = np.flatnonzero(mask)
        count = round(share * len(survivors))
        order = sorted(survivors, key=lambda place: (before[place], place))
        expected = mask.copy()
        expected[order[:count]] = False
        assert prune(model, share, "weight") == count
        assert (flat(model)[1] == expected).all()
        assert (flat(model)[0][~expected] == 0).all()
        assert (flat(model)[0][expected] == before[expected]).all()


@pytest.mark.parametrize("make", [real_network, quaternion_network])
def test_biases_are_kept_and_counted(make):
    model = make()
    biases = {name: tensor.clone() for name, tensor in model.named_parameters() if name.endswith("bias")}
    dense = size_of(model)
    assert dense.parameters - dense.weights == sum(bias.numel() for bias in biases.values())
    pruned = prune(model, 0.5, "weight")
    assert pruned == round(0.5 * dense.weights)
    assert size_of(model).weights == dense.weights - pruned
    assert size_of(model).parameters == dense.parameters - pruned
    assert all(torch.equal(tensor, dict(model.named_parameters())[name]) for name, tensor in biases.items())


def test_the_output_layer_is_pruned_too():
    model = real_network()
    model[3].weight.data *= 1e-3
    prune(model, 0.1, "weight")
    assert int(model[3].survivors()) == 0 < int(model[2].survivors())


@pytest.mark.parametrize("share", [0.2, 0.55, 0.9])
def test_quaternions_go_whole_by_their_root_mean_square(share):
    model = quaternion_network()
    before = size_of(model).weights
    components = [model[index].weight.detach().unflatten(0, (4, -1)) for index in (0, 2)]
    scores = torch.cat([part.square().mean(0).flatten() for part in components])
    pruned = prune(model, share, "quaternion")
    assert 0 <= pruned - round(share * before) < 4
    masks = [model[index].mask.unflatten(0, (4, -1)) for index in (0, 2)]
    assert all(torch.equal(mask.all(0), mask.any(0)) for mask in masks)
    whole = torch.cat([mask.all(0).flatten() for mask in masks])
    assert scores[~whole].max() < scores[whole].min()
    real = model[3].weight[model[3].mask].abs().min()
    assert real > scores[~whole].max().sqrt()


@pytest.mark.parametrize("make", [real_network, quaternion_network])
def test_channels_go_whole_but_not_those_of_the_output_layer_nor_the_last_of_a_layer(make):
    model = make()
    first, second, last = prunable_layers(model).values()
    first.weight.data *= 1e-3  # so that all channels of the first layer are the worst
    channel = first.weight.numel() // 4
    pruned = prune(model, 3 * channel / (first.weight.numel() + second.weight.numel()), "channel")
    assert pruned == 3 * channel
    assert last.mask is None
    for layer in (first, second):
        blocks = layer.algebra.blocks
        channels = layer.mask.unflatten(0, (blocks, -1)).transpose(0, 1).flatten(1)
        assert torch.equal(channels.all(1), channels.any(1))
        assert channels.any()
    assert int(first.survivors()) == channel
    prune(model, 0.2, "channel")
    assert int(first.survivors()) == channel, "the last channel stays, however small its weights are"


def test_nothing_left_to_prune_and_nothing_to_prune_are_told_in_one_line():
    model = real_network()
    with pytest.raises(
        InputError,
        match=r"^only 118 weights are left to prune, not 150; ask for fewer rounds or a smaller share$",
    ):
        prune(model, 0.99, "channel")
    with pytest.raises(
        InputError, match=r"^pruning by weight needs layers whose weights can be pruned, this network has "
    ):
        prune(nn.Linear(2, 2), 0.2, "weight")
    with pytest.raises(
        InputError, match=r"^granularity must be one of weight, quaternion, channel, not 'x'"
    ):
        prune(model, 0.2, "x")


def test_masks_prune_another_network_of_the_same_shape():
    model, other = quaternion_network(), quaternion_network(1)
    prune(model, 0.3, "weight")
    set_masks(other, masks_of(model))
    assert all(torch.equal(mask, masks_of(other)[path]) for path, mask in masks_of(model).items())
    assert all(not layer.weight[~layer.mask].any() for layer in prunable_layers(other).values())
    with pytest.raises(InputError, match=r"^masks must be those of the layers 0, 2, 3, not 0, 1$"):
        set_masks(other, {"0": model[0].mask, "1": model[2].mask})


@pytest.mark.parametrize(
    ("name", "real", "quaternion"),
    [
        ("lenet-300-100", 266_610, 67_710),
        ("lenet-12", 9_550, 2_494),
        ("conv-2", 4_301_642, 1_077_962),
        ("conv-4", 2_425_930, 609_226),
        ("conv-6", 2_262_602, 568_778),
    ],
)
def test_parameters_are_counted_as_in_the_paper(name, real, quaternion):
    counts = [
        size_of(model_row(name).build(algebra=algebra)).parameters for algebra in ("real", "quaternion")
    ]
    assert counts == [real, quaternion]
