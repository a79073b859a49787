"""Every kernel of layers with weights equals the definition, whatever geometry, value set and layout."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime.ops import Conv2d, Dense, Threshold
from runtime.packed.blas import Blas
from runtime.packed.counters import BitSliced
from runtime.packed.depthwise import Depthwise
from runtime.packed.layout import BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST, PLANES, fits_planes
from runtime.packed.words import XorCount, pack_weights
from runtime.types import Interval, TensorType
from runtime.weights import Weights, hamilton_matrix
from tests.programs import LEVELS, random_codes
from tests.runtime.packed_runs import evaluate, layer_of, run_kernel

KERNELS = {"blas": Blas, "xor-count": XorCount, "bit-sliced": BitSliced, "integer": Depthwise}
ORDERS = (BATCH_FIRST, CHANNELS_FIRST, CHANNELS_LAST)
INTERVALS = tuple(
    Interval(*ends)
    for ends in ((0, 1), (0, 1), (0, 3), (0, 100), (0, 255), (-7, 7), (-130, 2), (-(2**20), 9), (5, 2**36))
)


def sparse_codes(rng, shape, levels, density):
    """Random codes of which a share is kept; levels without a zero keep all."""
    codes = random_codes(rng, shape, levels)
    return np.where(rng.random(shape) < density, codes, 0).astype(np.int8) if levels % 2 else codes


def threshold_near(rng, sums, count):
    """Thresholds among the sums themselves and far beyond them, rising and falling."""
    direction = rng.choice((-1, 1), sums.shape[1])
    near = rng.choice(np.append(sums, (-(2**62), 2**62)), (sums.shape[1], count))
    return Threshold(np.sort(near * direction[:, None]) * direction[:, None], direction)


@st.composite
def cases(draw):
    """A layer, perhaps with a Threshold, an operand for it, and the layouts of both."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, density = draw(st.sampled_from(LEVELS)), draw(st.sampled_from((0, 0.03, 0.1, 0.5, 1)))
    interval, batch = draw(st.sampled_from(INTERVALS)), draw(st.sampled_from((1, 2, 7, 40)))
    if draw(st.integers(0, 3)) == 0:
        inputs, outputs = draw(st.sampled_from((1, 31, 64, 200))), draw(st.integers(1, 90))
        op = Dense(Weights(sparse_codes(rng, (outputs, inputs), levels, density), levels))
        shape = (inputs,)
    else:
        kernel, stride, dilation = ([draw(st.integers(1, 3)) for _ in "rc"] for _ in range(3))
        padding = [draw(st.integers(0, 3)) for _ in "rc"]
        least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
        size = [draw(st.integers(low, max(low, 12))) for low in least]
        groups = draw(st.sampled_from((1, 1, 2, 5)))
        channels, outputs = draw(st.sampled_from((1, 2, 9, 40, 70))), draw(st.integers(1, 9))
        channels = channels if groups == 1 else draw(st.integers(1, 2))
        codes = sparse_codes(rng, (groups * outputs, channels, *kernel), levels, density)
        bias = rng.integers(-(2**40), 2**40, groups * outputs) if draw(st.booleans()) else None
        op = Conv2d(Weights(codes, levels), bias, tuple(stride), tuple(padding), tuple(dilation), groups)
        shape = (groups * channels, *size)
    type_ = TensorType(shape, interval)
    x = rng.integers(interval.lo, interval.hi + 1, (batch, *shape))
    count = draw(st.sampled_from((0, 1, 3, 5)))
    layer = layer_of(op, type_, threshold_near(rng, op.evaluate(x), count) if count else None)
    return layer, x, draw(st.sampled_from(ORDERS)), draw(st.booleans())


@settings(max_examples=400, deadline=None)
@given(cases(), st.sampled_from(sorted(KERNELS)))
def test_layers_of_any_kind(case, name):
    layer, x, order, planes = case
    kernel = KERNELS[name].of(layer)
    assume(kernel is not None)
    planes = planes and fits_planes(layer.result) and layer.threshold is not None
    found = run_kernel(kernel, [layer.x], [x], layer.result, [order], planes)
    assert np.array_equal(found, evaluate(layer, x))
    if kernel.takes_planes:
        found = run_kernel(kernel, [layer.x], [x], layer.result, [PLANES], planes)
        assert np.array_equal(found, evaluate(layer, x))


@pytest.mark.parametrize("kernel", ["blas", "xor-count"])
@pytest.mark.parametrize("channels", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_products_of_every_value_set(levels, channels, kernel):
    rng = np.random.default_rng(levels)
    op = Dense(Weights(random_codes(rng, (7, channels), levels), levels))
    layer = layer_of(op, TensorType((channels,), Interval(0, 7)))
    x = rng.integers(0, 8, (90, channels))
    found = run_kernel(KERNELS[kernel].of(layer), [layer.x], [x], layer.result, [BATCH_FIRST])
    assert np.array_equal(found, evaluate(layer, x))


@pytest.mark.parametrize("kernel", ["blas", "xor-count", "bit-sliced"])
@pytest.mark.parametrize("density", [0.05, 0.5])
def test_layers_of_several_tiles_and_lanes(kernel, density):
    rng = np.random.default_rng(0)
    op = Conv2d(Weights(sparse_codes(rng, (96, 130, 3, 3), 3, density), 3), padding=(1, 1))
    type_ = TensorType((130, 20, 20), Interval(0, 1))
    x = rng.integers(0, 2, (5, *type_.shape))
    sums = op.evaluate(x)
    for threshold in (None, threshold_near(rng, sums, 3)):
        layer = layer_of(op, type_, threshold)
        found = run_kernel(KERNELS[kernel].of(layer), [type_], [x], layer.result, [CHANNELS_LAST])
        assert np.array_equal(found, evaluate(layer, x))


@pytest.mark.parametrize("kernel", ["blas", "xor-count", "bit-sliced"])
def test_largest_codes_and_activations_do_not_overflow(kernel):
    codes = np.zeros((2, 80, 3, 3), np.int8)
    codes[:, ::4], codes[:, 1::4] = 63, -63
    op, type_ = Conv2d(Weights(codes, 127)), TensorType((80, 5, 5), Interval(0, 255))
    x = np.zeros((2, 80, 5, 5), np.int64)
    x[0, ::4], x[1, 1::4] = 255, 255
    layer = layer_of(op, type_)
    found = run_kernel(KERNELS[kernel].of(layer), [type_], [x], layer.result, [BATCH_FIRST])
    assert np.array_equal(found, evaluate(layer, x))


@pytest.mark.parametrize("bias", [-(2**62), 2**62])
@pytest.mark.parametrize("far", [-(2**62), 2**62])
def test_a_bias_at_the_limit_of_the_ir(bias, far):
    op = Dense(Weights(np.zeros((1, 4), np.int8), 3), np.array([bias]))
    for direction in (-1, 1):
        layer = layer_of(
            op, TensorType((4,), Interval(0, 1)), Threshold(np.array([[far]]), np.array([direction]))
        )
        x = np.ones((2, 4), np.int64)
        for kernel in KERNELS.values():
            if found := kernel.of(layer):
                got = run_kernel(found, [layer.x], [x], layer.result, [BATCH_FIRST])
                assert np.array_equal(got, evaluate(layer, x))


def test_a_plane_that_every_weight_has_masks_nothing():
    rng = np.random.default_rng(0)
    for levels, constant in ((2, [True]), (4, [True, False]), (3, [False]), (5, [False, False])):
        weights = pack_weights(random_codes(rng, (9, 70, 1), levels), levels)
        assert [m is None for m in weights.magnitudes] == constant


def test_hamilton_weights_run_from_their_components():
    rng = np.random.default_rng(0)
    components = sparse_codes(rng, (4, 3, 2, 3, 3), 5, 0.3)
    type_ = TensorType((8, 6, 6), Interval(0, 3))
    x = rng.integers(0, 4, (5, 8, 6, 6))
    plain = Conv2d(Weights(hamilton_matrix(components), 5, "base"), padding=(1, 1))
    for count in (0, 2):
        threshold = threshold_near(rng, plain.evaluate(x), count) if count else None
        layer = layer_of(Conv2d(Weights.hamilton(components, 5), padding=(1, 1)), type_, threshold)
        found = run_kernel(BitSliced.of(layer), [type_], [x], layer.result, [BATCH_FIRST])
        assert np.array_equal(found, evaluate(layer_of(plain, type_, threshold), x))
