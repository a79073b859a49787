"""Bitwise ops, thresholds and pools give the same on planes and on integers in any layout."""

import numpy as np
import pytest

from runtime.ops import And, ArgMax, MaxPool, Not, Or, Select, SumPool, Threshold, Xor
from runtime.packed.kernels import COMPILERS
from runtime.packed.layout import BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST, NEVER, PLANES
from runtime.types import Interval, TensorType
from tests.runtime.packed_runs import run_kernel

CASES = {
    "or": (Or(), (3, 1)),
    "and": (And(), (5, 255)),
    "xor": (Xor(), (7, 7)),
    "not": (Not(4), (6,)),
    "not-one": (Not(1), (1,)),
    "select": (Select(), (1, 9, 2)),
    "select-more": (Select(), (1, 2, 9)),
    "max": (MaxPool((3, 2), (2, 1), (1, 1)), (200,)),
    "max-one": (MaxPool((2, 2), (2, 2)), (1,)),
    "max-one-padded": (MaxPool((3, 2), (2, 1), (1, 1)), (1,)),
    "sum": (SumPool((3, 2), (2, 1), (4, 1)), (200,)),
    "sum-of-all": (SumPool((6, 5), (6, 5)), (200,)),
}
ORDERS = (BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST)


@pytest.mark.parametrize("orders", [*((o,) * 3 for o in ORDERS), ORDERS], ids="-".join)
@pytest.mark.parametrize("channels", [3, 64, 70])
@pytest.mark.parametrize("case", CASES)
def test_integers(case, channels, orders):
    op, tops = CASES[case]
    rng = np.random.default_rng(channels)
    types = [TensorType((channels, 6, 5), Interval(0, top)) for top in tops]
    arrays = [rng.integers(0, top + 1, (4, channels, 6, 5)) for top in tops]
    result = op.infer(*types)
    kernel = COMPILERS[type(op)](op, types, result)
    assert np.array_equal(run_kernel(kernel, types, arrays, result, orders), op.evaluate(*arrays))


@pytest.mark.parametrize("channels", [3, 64, 70])
@pytest.mark.parametrize("case", [c for c in CASES if c != "max"])
def test_planes(case, channels):
    op, tops = CASES[case]
    rng = np.random.default_rng(channels)
    types = [TensorType((channels, 6, 5), Interval(0, top)) for top in tops]
    arrays = [rng.integers(0, top + 1, (4, channels, 6, 5)) for top in tops]
    result = op.infer(*types)
    kernel = COMPILERS[type(op)](op, types, result)
    assert kernel.takes_planes
    planes = kernel.gives_planes != NEVER
    found = run_kernel(kernel, types, arrays, result, [PLANES] * 3, planes=planes)
    assert np.array_equal(found, op.evaluate(*arrays))


def test_a_maximum_of_wider_codes_has_no_planes():
    op, (top,) = CASES["max"]
    type_ = TensorType((3, 6, 5), Interval(0, top))
    kernel = COMPILERS[type(op)](op, [type_], op.infer(type_))
    assert (kernel.takes_planes, kernel.gives_planes) == (False, NEVER)


def test_a_condition_of_whole_channels():
    rng = np.random.default_rng(0)
    types = [
        TensorType((70, *size), Interval(0, top)) for size, top in (((1, 1), 1), ((6, 5), 3), ((6, 5), 9))
    ]
    arrays = [rng.integers(0, t.interval.hi + 1, (4, *t.shape)) for t in types]
    result = Select().infer(*types)
    kernel = COMPILERS[Select](Select(), types, result)
    for order in (*ORDERS, PLANES):
        found = run_kernel(kernel, types, arrays, result, [order] * 3, planes=order == PLANES)
        assert np.array_equal(found, Select().evaluate(*arrays))


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("count", [1, 3, 255])
@pytest.mark.parametrize("order", ORDERS)
def test_thresholds(order, count, planes):
    rng = np.random.default_rng(count)
    for interval in (Interval(0, 255), Interval(-9, 9), Interval(-(2**40), 2**40)):
        type_ = TensorType((5, 4, 3), interval)
        direction = np.array([1, -1, -1, 1, 1])
        limits = rng.integers(interval.lo - 2, interval.hi + 3, (5, count))
        limits[0] = interval.hi + 1
        op = Threshold(np.sort(limits * direction[:, None]) * direction[:, None], direction)
        x = rng.integers(interval.lo, interval.hi + 1, (6, *type_.shape))
        result = op.infer(type_)
        kernel = COMPILERS[Threshold](op, [type_], result)
        assert np.array_equal(run_kernel(kernel, [type_], [x], result, [order], planes), op.evaluate(x))


def test_the_first_of_the_largest():
    x = np.random.default_rng(0).integers(-3, 3, (50, 9))
    type_ = TensorType((9,), Interval(-3, 3))
    kernel = COMPILERS[ArgMax](ArgMax(), [type_], ArgMax().infer(type_))
    for order in (BATCH_FIRST, CHANNELS_FIRST):
        found = run_kernel(kernel, [type_], [x], ArgMax().infer(type_), [order])
        assert np.array_equal(found, ArgMax().evaluate(x))
