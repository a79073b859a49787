"""Several outputs a float: what is packed is proved exact, at the bound as well."""

import numpy as np
import pytest

from runtime.ops import Dense
from runtime.packed.blas import Blas
from runtime.packed.layout import BATCH_FIRST
from runtime.packed.packing import pack_lanes, packings
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, Interval, TensorType
from runtime.weights import Weights
from tests.runtime.packed_runs import evaluate, layer_of, run_kernel

BIT = Interval(0, 1)


def weights(outputs: int, inputs: int, code: int = 1) -> np.ndarray:
    signs = np.random.default_rng(inputs).choice((-code, code), (1, outputs, inputs))
    return signs.astype(np.int64)


@pytest.mark.parametrize(
    ("inputs", "interval"), [(9, BIT), (1152, BIT), (4608, Interval(0, 3)), (300, Interval(-9, 9))]
)
def test_no_partial_sum_leaves_the_float(inputs: int, interval: Interval) -> None:
    codes = weights(7, inputs)
    for packing in packings(codes, interval):
        matrix = pack_lanes(codes, packing)[0].astype(np.int64)
        for part in packing.parts:
            ends = matrix[part] * interval.lo, matrix[part] * interval.hi
            highest = np.maximum(np.maximum(*ends), 0).sum(axis=0)
            lowest = np.minimum(np.minimum(*ends), 0).sum(axis=0)
            assert max(int(highest.max()), -int(lowest.min())) < FLOAT32_EXACT


def test_parts_make_room_for_more_lanes() -> None:
    found = {p.lanes: len(p.parts) for p in packings(weights(9, 1152), BIT)}
    assert found[1] == found[2] == 1
    assert found[3] > 1
    assert sorted(found) == [1, 2, 3]


def test_what_float32_cannot_hold_goes_to_float64_or_nowhere() -> None:
    (wide, *cut) = packings(weights(2, 64), Interval(0, 2**19))
    assert (wide.dtype, wide.lanes) == (np.float64, 1)
    assert all(p.dtype == np.float32 and len(p.parts) > 1 for p in cut)
    assert not list(packings(weights(2, 64), Interval(0, FLOAT64_EXACT)))


@pytest.mark.parametrize("top", [1, 3, 255, 2**14, 2**18, 2**19, 2**30])
@pytest.mark.parametrize("rows", [1, 70])
def test_sums_at_their_bounds(top: int, rows: int) -> None:
    codes = np.ones((5, 66), np.int8)
    codes[1], codes[2, ::2], codes[3, 5:] = -1, -1, 0
    type_ = TensorType((66,), Interval(0, top))
    layer = layer_of(Dense(Weights(codes, 3)), type_)
    x = np.full((rows, 66), top)
    x[rows // 2 :, ::2] = 0
    for packing in Blas.of(layer).options:
        found = run_kernel(Blas(layer, (packing,)), [type_], [x], layer.result, [BATCH_FIRST])
        assert np.array_equal(found, evaluate(layer, x))
