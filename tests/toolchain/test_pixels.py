"""The input encoder: its table, its lowering on every pixel, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from runtime.errors import InputError
from runtime.ops import Lookup
from runtime.session import Session
from runtime.types import Interval
from toolchain.layers import ConvBlock, HEQClassifier, HEQConv2d, LoweringError, PixelBits, PixelNorm
from toolchain.lowering import lower, reference_model

torch.set_num_threads(1)

MEAN, STD = (125.31, 0.0, 250.0), (62.99, 1.5, 40.0)


def every_pixel(channels: int = 3) -> torch.Tensor:
    """A 16x16 image with each value 0..255 once in each channel, in another order in each."""
    generator = torch.Generator().manual_seed(0)
    planes = [torch.randperm(256, generator=generator).reshape(16, 16) for _ in range(channels)]
    return torch.stack(planes)[None]


def test_a_pixel_becomes_its_distance_from_the_mean_in_units_of_the_deviation() -> None:
    norm = PixelNorm([100.0], [50.0], unit=32)
    pixels = torch.tensor([0, 50, 99, 100, 101, 150, 255]).reshape(1, 1, 1, 7).float()
    assert norm(pixels).flatten().tolist() == [-64, -32, -1, 0, 1, 32, 99]


def test_codes_are_clipped_to_eight_signed_bits_and_ties_go_to_even() -> None:
    norm = PixelNorm([100.0], [2.0], unit=1)
    assert norm.table[0, [95, 97, 99, 101, 103, 105]].tolist() == [-2, -2, 0, 0, 2, 2]
    steep = PixelNorm([100.0], [0.25], unit=32)
    assert (steep.table.min(), steep.table.max()) == (-127, 127)


def test_every_channel_has_its_own_table() -> None:
    x = every_pixel()
    codes = PixelNorm(MEAN, STD)(x.float())
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        expected = np.clip(np.rint(32 * (x[0, channel].double().numpy() - mean) / std), -127, 127)
        assert np.array_equal(codes[0, channel].numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_codes_come_in_the_dtype_of_the_pixels(dtype: torch.dtype) -> None:
    codes = PixelNorm(MEAN, STD)(every_pixel().to(dtype))
    assert codes.dtype == dtype
    assert torch.equal(codes.double(), PixelNorm(MEAN, STD)(every_pixel().double()))


def test_the_table_is_no_part_of_a_checkpoint() -> None:
    assert PixelNorm(MEAN, STD).state_dict() == {}
    assert [name for name, _ in PixelNorm(MEAN, STD).named_buffers()] == ["table", "row"]


def network(levels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        PixelNorm(MEAN, STD), ConvBlock(3, 4, levels=levels), nn.Flatten(), HEQClassifier(4 * 256, 10)
    )
    model[1].norm.running_mean.uniform_(-200, 200)
    model[1].norm.running_var.uniform_(1, 1e4)
    return model.eval()


@pytest.mark.parametrize("levels", [3, 4, 127])
def test_lowering_equals_the_module_on_all_256_pixels(levels: int) -> None:
    model = network(levels)
    program = lower(model, (3, 16, 16), Interval(0, 255), "pixels")
    tables = [node.op for node in program.nodes if isinstance(node.op, Lookup)]
    assert [table.table.tolist() for table in tables] == [model[0].table.tolist()]
    exact = reference_model(model)
    images = torch.cat([every_pixel(), every_pixel().flip(1), torch.randint(0, 256, (6, 3, 16, 16))])
    logits = exact(images.double())
    for executor in ("interpreter", "packed"):
        scores = Session(program, executor).run(images.numpy())["scores"]
        assert torch.equal(logits, torch.as_tensor(scores).double() * exact[-1].scale)


@pytest.mark.parametrize(
    ("make", "offender"),
    [
        (lambda: PixelNorm([1.0, 2.0], [1.0]), r"\[1.0, 2.0\], \[1.0\] and 32"),
        (lambda: PixelNorm([], []), r"\[\], \[\] and 32"),
        (lambda: PixelNorm([1.0], [0.0]), r"\[1.0\], \[0.0\] and 32"),
        (lambda: PixelNorm([1.0], [-2.0]), r"\[1.0\], \[-2.0\] and 32"),
        (lambda: PixelNorm([1.0], [2.0], unit=0), r"\[1.0\], \[2.0\] and 0"),
    ],
)
def test_bad_statistics_are_refused(make: Callable[[], object], offender: str) -> None:
    rule = "PixelNorm needs one mean and one positive std per channel and a unit of at least 1, not "
    with pytest.raises(InputError, match=rf"^{rule}{offender}$"):
        make()


def test_only_pixels_can_be_looked_up() -> None:
    model = nn.Sequential(PixelNorm([1.0], [1.0]), nn.Flatten(), HEQClassifier(4, 2))
    for interval in (Interval(-1, 255), Interval(0, 256)):
        with pytest.raises(
            LoweringError,
            match=r"cannot lower '0': PixelNorm takes integers within 0\.\.255, its operand is",
        ):
            lower(model.eval(), (1, 2, 2), interval, "pixels")


def test_pixels_are_normalized_before_anything_else() -> None:
    model = nn.Sequential(HEQConv2d(1, 1, 1), PixelNorm([1.0], [1.0]), nn.Flatten(), HEQClassifier(4, 2))
    model[0].weight.data.fill_(-1)
    with pytest.raises(LoweringError, match=r"cannot lower '1': PixelNorm takes integers within 0\.\.255"):
        lower(model.eval(), (1, 2, 2), Interval(0, 255), "pixels")


@pytest.mark.parametrize("thresholds", [(128,), (1, 64, 255)])
def test_bits_of_every_pixel_are_those_of_the_program(thresholds: tuple[int, ...]) -> None:
    bits, pixels = PixelBits(thresholds), every_pixel(2)
    got = bits(pixels.float())
    assert torch.equal(got, torch.cat([(pixels >= t).float() for t in thresholds], dim=1))
    program = lower(bits, (2, 16, 16), Interval(0, 255), "bits")
    (out,) = Session(program).run(pixels.numpy().astype(np.uint8)).values()
    assert np.array_equal(out, got.numpy())


@pytest.mark.parametrize("thresholds", [(), (0,), (256,), (9, 9), (9, 3)])
def test_thresholds_of_pixels_must_rise_within_a_byte(thresholds: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must rise within 1..255"):
        PixelBits(thresholds)
