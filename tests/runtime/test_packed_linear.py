"""Products on bit planes against plain integers."""

import numpy as np
import pytest

from runtime.ir import Builder
from runtime.ops import Dense, Not, Threshold
from runtime.packed.linear import dot, pack_weights
from runtime.packed.planes import pack_codes
from runtime.session import Session
from runtime.types import Interval
from runtime.weights import Weights
from tests.programs import LEVELS, random_codes


@pytest.mark.parametrize("positions", [1, 90])
@pytest.mark.parametrize("channels", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_products_of_every_value_set(levels: int, channels: int, positions: int) -> None:
    rng = np.random.default_rng(levels)
    codes = random_codes(rng, (7, channels), levels)
    x = rng.integers(0, 8, (channels, positions))
    found = dot(pack_codes(x, 3), pack_weights(codes[:, :, None, None], levels, 7))
    assert np.array_equal(found, codes.astype(int) @ x)


def test_a_plane_that_every_weight_has_masks_nothing() -> None:
    rng = np.random.default_rng(0)
    for levels, constant in ((2, [True]), (4, [True, False]), (3, [False]), (5, [False, False])):
        weights = pack_weights(random_codes(rng, (9, 70, 1, 1), levels), levels, 1)
        assert [m is None for m in weights.magnitudes] == constant


@pytest.mark.parametrize("channels", [1, 3, 65])
def test_inverted_bits_leave_nothing_in_the_unused_ones(channels: int) -> None:
    b = Builder("inverted")
    x = b.input("x", (channels,), Interval(0, 9))
    bits = b.add(Threshold(np.full((channels, 1), 5), np.ones(channels, np.int64)), x)
    y = b.add(Dense(Weights(np.ones((2, channels), np.int8), 2)), b.add(Not(2), bits))
    x = np.random.default_rng(0).integers(0, 10, (6, channels))
    found = Session(b.build((y,)), "packed").run(x)[y]
    assert np.array_equal(found, np.repeat((3 - (x >= 5)).sum(axis=1)[:, None], 2, axis=1))
