"""The networks of the pruning studies: their sizes, their two forms, and programs of the quantized ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.errors import InputError
from runtime.interpreter import Interpreter
from sample_models.lottery import MODELS
from tests.quick import NETWORKS
from toolchain.calibration import adopt_weights, calibrate
from toolchain.compare import compare
from toolchain.layers import BatchNorm, LoweringError, prunable_layers, quantized_layers
from toolchain.lowering import CLASS, lower, reference_model

torch.set_num_threads(1)

TABLE_1 = {
    "lenet-300-100": (266_610, 67_710),
    "lenet-12": (9_550, 2_494),
    "conv-2": (4_301_642, 1_077_962),
    "conv-4": (2_425_930, 609_226),
    "conv-6": (2_262_602, 568_778),
}
"""Parameters of the real and the quaternion network (arXiv 2308.06780)."""

SMALL = {"lenet-300-100": {}, "conv-4": {"width": 8, "hidden": 16}, "conv-6": {"width": 4, "hidden": 8}}


def images(name: str, count: int, seed: int = 0) -> torch.Tensor:
    """Random images with some structure: blocks of one shade."""
    channels, height, width = MODELS[name].input_shape
    coarse = torch.randint(0, 256, (count, channels, 4, 4), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse.float(), (height, width))


@pytest.mark.parametrize("name", TABLE_1)
def test_networks_have_the_parameters_of_the_paper(name: str) -> None:
    real, quaternion = (MODELS[name].build(algebra=algebra) for algebra in ("real", "quaternion"))
    counts = tuple(sum(p.numel() for p in model.parameters()) for model in (real, quaternion))
    assert counts == TABLE_1[name]
    assert list(prunable_layers(real)) == list(prunable_layers(quaternion))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "conv-4",
            {"algebra": "quaternion", "width": 18},
            "layer conv1: outputs of a QuaternionConv2d must be",
        ),
        (
            "conv-2",
            {"algebra": "quaternion", "hidden": 30},
            "layer fc1: outputs of a QuaternionLinear must be a",
        ),
        (
            "conv-2",
            {"algebra": "quaternion", "hidden": 30, "levels": 3},
            "layer fc1: outputs of a HEQQuaternionL",
        ),
        ("conv-2", {"width": 0}, "width must be within 1..1024, not 0"),
        ("conv-2", {"hidden": 4000}, "hidden must be within 1..1024, not 4000"),
        ("lenet-12", {"algebra": "octonion"}, "algebra must be one of real, quaternion, not 'octonion'"),
        ("lenet-12", {"levels": 129}, "layer fc1: weight levels must be odd within 3..127"),
        ("lenet-12", {"levels": 3, "bits": 9}, "activation bits must be within 1..8, not 9"),
        ("lenet-12", {"levels": 3, "steps": "row"}, "layer fc1: steps must be one of layer, component"),
    ],
)
def test_options_are_checked_and_the_layer_is_named(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MODELS[name].build(**options)


def test_quaternions_see_flat_images_in_four_blocks_and_colours_with_gray() -> None:
    lenet = MODELS["lenet-300-100"].build(algebra="quaternion")
    pixels = images("lenet-300-100", 2)
    flat = lenet.flatten(lenet.scale(lenet.pixels(pixels)))
    assert torch.equal(flat.reshape(2, 4, 196)[:, 1], lenet.pixels(pixels)[:, 0, 7:14].reshape(2, 196) / 32)
    conv = MODELS["conv-2"].build(algebra="quaternion", width=8, hidden=8)
    colours = conv.gray(conv.pixels(images("conv-2", 3)))
    assert colours.shape == (3, 4, 32, 32)
    luma = (colours[:, :3] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    assert float((colours[:, 3] - luma).abs().max()) < 1.6
    assert colours.to(memory_format=torch.channels_last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("levels", "bits"), [(3, 1), (5, 2), (15, 4)])
def test_the_quantized_twin_follows_the_plain_network(
    name: str, algebra: str, levels: int, bits: int
) -> None:
    torch.manual_seed(0)
    options = {**SMALL[name], "algebra": algebra}
    plain = MODELS[name].build(**options)
    layer = next(iter(prunable_layers(plain).values()))
    layer.set_mask(layer.scores() > layer.scores().quantile(0.3))
    twin = MODELS[name].build(**options, levels=levels, bits=bits, last_levels=127)
    assert list(quantized_layers(twin)) == list(prunable_layers(plain))
    adopt_weights(twin, plain)
    calibrate(twin, plain, images(name, 64))
    assert torch.equal(next(iter(prunable_layers(twin).values())).mask, layer.mask)
    wanted, found = (model(images(name, 200, seed=1)).detach() for model in (plain, twin))
    if bits > 1:  # of random weights, single bits through six layers keep next to nothing
        assert np.corrcoef(wanted.flatten(), found.flatten())[0, 1] > {2: 0.5, 4: 0.8}[bits]

    program = lower(twin, MODELS[name].input_shape, MODELS[name].input_interval, name)
    inputs = images(name, 4, seed=2).numpy().astype(np.int64)
    classes = reference_model(twin)(torch.from_numpy(inputs).double()).argmax(1)
    compared = compare(program, [{"image": inputs}], NETWORKS, strict=True)
    assert compared.ok
    assert np.array_equal(Interpreter(program).run({"image": inputs})[CLASS], classes)


@torch.no_grad()
def test_calibration_gives_norms_the_moments_of_the_plain_layer() -> None:
    torch.manual_seed(0)
    plain = MODELS["lenet-12"].build()
    twin = MODELS["lenet-12"].build(levels=127, bits=8)
    adopt_weights(twin, plain)
    pixels = images("lenet-12", 300)
    calibrate(twin, plain, pixels)
    sums = plain.fc1.linear(plain.flatten(plain.scale(plain.pixels(pixels))))
    seen = twin.fc1.norm(twin.fc1.linear(twin.flatten(twin.pixels(pixels))))
    unit = float(sums.std() / seen.std())
    assert torch.allclose(seen.std(0) * unit, sums.std(0), rtol=0.02)
    logits, scores = plain(pixels), twin(pixels)
    assert float((logits - scores).abs().mean()) < 0.1 * float(logits.std())


def test_a_layer_without_survivors_and_one_without_activity_are_calibrated_too() -> None:
    plain = MODELS["lenet-12"].build()
    layer = plain.fc1.linear
    layer.set_mask(torch.zeros_like(layer.weight, dtype=torch.bool))
    layer.bias.data.fill_(-1.0)
    twin = MODELS["lenet-12"].build(levels=3)
    adopt_weights(twin, plain)
    calibrate(twin, plain, images("lenet-12", 20))
    norm = next(m for m in twin.modules() if isinstance(m, BatchNorm))
    assert bool(torch.isfinite(norm.slope()).all())
    assert not twin.fc1(twin.flatten(twin.pixels(images("lenet-12", 3)))).any()


def test_networks_that_do_not_fit_and_plain_ones_are_refused() -> None:
    plain = MODELS["conv-2"].build(width=4, hidden=8)
    with pytest.raises(
        InputError, match=r"needs weights conv1.conv of shape \[8, 3, 3, 3\], the plain one has"
    ):
        adopt_weights(MODELS["conv-2"].build(width=8, hidden=8, levels=3), plain)
    with pytest.raises(LoweringError, match="cannot lower 'scale': PixelScale feeds plain float32 layers"):
        lower(plain, (3, 32, 32), MODELS["conv-2"].input_interval, "plain")
