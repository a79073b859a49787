"""The generated C of every layout and kernel gives the interpreter's bits: no element differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sample_models
from exporters.c99.build import generate
from exporters.c99.plan import KERNELS
from exporters.c99.targets import TARGETS, Target
from runtime.ir import Builder, Program
from runtime.ops import (
    Clip,
    Conv2d,
    Dense,
    FloorSqrt,
    Lookup,
    MaxPool,
    Not,
    Or,
    Requantize,
    Reshape,
    Select,
    ShiftRight,
    SumPool,
    Threshold,
    Xor,
)
from runtime.serialize import load
from runtime.types import Interval
from runtime.weights import Weights
from tests.exporters.c99.natives import Native, assert_equal, check_samples
from tests.merging import merged
from tests.programs import LEVELS, pruned_codes, random_program, value_set_program
from toolchain.vectors import read_vectors

TRAINED = Path(sample_models.__file__).parent / "trained"

LAYOUTS = {
    "x86-64-v2": ("arm64",),
    "x86-64-v3": (),
    "x86-64-v4": (),
    "cortex-m4": ("cortex-m0plus", "cortex-m3", "cortex-m7", "rv32imc"),
    "avr": (),
    "rv32ec": (),
}
"""One target of each layout of integers and lanes, one without a multiplier, and the others, which only
choose by other costs."""

PREFERENCES = ("auto", *KERNELS)

SIZES = (
    (1, 1),
    (1, 9),
    (2, 2),
    (3, 3),
    (5, 7),
    (7, 4),
    (8, 8),
    (9, 33),
    (17, 13),
    (40, 3),
    (2, 70),
    (31, 64),
)

Rng = np.random.Generator


# --- layers with weights -----------------------------------------------------------------------------


def _weights(rng: Rng, shape: tuple[int, ...], levels: int, groups: int = 1) -> Weights:
    if groups == 1 and shape[0] % 4 == 0 and shape[1] % 4 == 0 and rng.random() < 0.25:
        quarter = (4, shape[0] // 4, shape[1] // 4, *shape[2:])
        return Weights.hamilton(pruned_codes(rng, quarter, levels), levels)
    codes = pruned_codes(rng, shape, levels)
    if levels % 2 and rng.random() < 0.1:
        codes = np.zeros_like(codes)
    return Weights(codes, levels)


def _thresholds(rng: Rng, b: Builder, x: str, count: int) -> str:
    """Thresholds, most of them where sums lie; some are reached always or never."""
    type_ = b.type_of(x)
    lo, hi = type_.interval.lo, type_.interval.hi
    spread = max(2, (hi - lo) // int(rng.choice((1, 4, 12))))
    middle = (lo + hi) // 2 + rng.integers(-spread, spread + 1, (type_.channels, count))
    beyond = rng.random(type_.channels) < 0.1
    middle[beyond] = rng.choice((lo - 5, lo, lo + 1, hi, hi + 1, hi + 7), middle[beyond].shape)
    direction = rng.choice((-1, 1), type_.channels) if rng.random() < 0.6 else np.ones(type_.channels, int)
    rows = np.sort(middle * direction[:, None], axis=1) * direction[:, None]
    return b.add(Threshold(rows, direction), x)


def _behind(rng: Rng, b: Builder, x: str) -> str:
    """What may follow a layer: nothing, thresholds, or chains that are thresholds in other words."""
    kind = rng.choice(("none", "one", "one", "many", "chain", "wide", "table"))
    interval, channels = b.type_of(x).interval, b.type_of(x).channels
    if kind == "one":
        return _thresholds(rng, b, x, 1)
    if kind == "many":
        return _thresholds(rng, b, x, int(rng.choice((2, 3, 5, 7, 15))))
    if kind == "chain":
        shift = max(1, interval.magnitude.bit_length() - 2)
        x = b.add(ShiftRight(shift, str(rng.choice(("floor", "half-up")))), x)
        x = b.add(Clip(0, int(rng.choice((1, 3, 14)))), x)
        return b.add(Not(b.type_of(x).bits), x) if rng.random() < 0.5 else x
    if kind == "wide":
        shift = rng.integers(0, 9, channels)
        return b.add(Requantize(rng.integers(-9, 40, channels), shift * 3, shift, -20, 200), x)
    if kind == "table" and interval.hi - interval.lo < 900:
        rows = channels if rng.random() < 0.5 else 1
        return b.add(Lookup(rng.integers(0, 16, (rows, interval.hi - interval.lo + 1)), interval.lo), x)
    return x


def random_layer(seed: int, wide: bool) -> Program:
    """One layer with weights on an image, what follows it, perhaps pooling, and a second layer on that.

    ``wide``: operands of up to 8 bits or signed and weights of many levels; else sums stay below 2**15.
    """
    rng = np.random.default_rng([seed, wide])
    b = Builder("layer")
    rows, columns = SIZES[seed % len(SIZES)]
    big = rows * columns > 500
    channels = int(rng.choice((1, 3, 4, 8, 12) if big else (1, 3, 4, 8, 9, 16, 20, 33)))
    bits = int(rng.integers(1, 9 if wide else 3))
    interval = Interval(0, (1 << bits) - 1 if rng.random() < 0.8 else max(1, (1 << bits) - 2))
    if wide and rng.random() < 0.25:
        interval = Interval(-int(rng.integers(1, 70_000)), int(rng.integers(1, 70_000)))
    x = b.input("x", (channels, rows, columns), interval)
    for number in range(2):
        channels, rows, columns = b.type_of(x).shape
        if rng.random() < (0.5 if rows * columns == 1 else 0.3 * number):
            x = _dense(rng, b, x, wide)
            break
        x = _conv(rng, b, x, wide, big)
        x = _behind(rng, b, x)
        _, rows, columns = b.type_of(x).shape
        if min(rows, columns) >= 2 and rng.random() < 0.5:
            x = b.add(MaxPool((2, 2), (2, 2)), x)
        elif rng.random() < 0.2:
            x = b.add(SumPool((rows, columns), (1, 1)), x)
    return b.build(outputs=(x,))


def _levels(rng: Rng, wide: bool) -> int:
    return int(rng.choice(LEVELS if wide else (2, 3, 3, 3, 5)))


def _outputs(rng: Rng, big: bool) -> int:
    return int(rng.choice((1, 3, 4, 8) if big else (1, 4, 8, 9, 24, 33, 64, 100, 200)))


def _dense(rng: Rng, b: Builder, x: str, wide: bool) -> str:
    size = b.type_of(x).size
    outputs = _outputs(rng, size > 2000)
    weights = _weights(rng, (outputs, size), _levels(rng, wide))
    bias = rng.integers(-50, 50, outputs) if rng.random() < 0.5 else None
    y = b.add(Dense(weights, bias), b.add(Reshape((size,)), x))
    return _behind(rng, b, y)


def _conv(rng: Rng, b: Builder, x: str, wide: bool, big: bool) -> str:
    channels, height, width = b.type_of(x).shape
    same = rng.random() < 0.7
    kernel = [int(rng.choice((1, 2, 3, 3, 5))) for _ in range(2)]
    dilation = [int(rng.choice((1, 1, 1, 2, 3))) for _ in range(2)]
    padding = [0, 0]
    for axis, side in enumerate((height, width)):
        if same:
            kernel[axis] = 3 if kernel[axis] % 2 == 0 else kernel[axis]
            padding[axis] = (kernel[axis] - 1) * dilation[axis] // 2
        else:
            padding[axis] = int(rng.integers(0, 3))
        if (kernel[axis] - 1) * dilation[axis] >= side + 2 * padding[axis]:
            kernel[axis] = 1
    stride = (1, 1) if same else tuple(int(rng.integers(1, 3)) for _ in range(2))
    groups = int(rng.choice([g for g in (2, channels) if channels % g == 0])) if rng.random() < 0.15 else 1
    outputs = groups * int(rng.integers(1, 4)) if groups > 1 else _outputs(rng, big)
    if outputs * height * width > 60_000:
        outputs = groups if groups > 1 else 8
    weights = _weights(rng, (outputs, channels // groups, *kernel), _levels(rng, wide), groups)
    bias = rng.integers(-50, 50, outputs) if rng.random() < 0.4 else None
    return b.add(Conv2d(weights, bias, stride, tuple(padding), tuple(dilation), groups), x)


def many_outputs() -> Program:
    """Layers that fill lanes of 512 bits with outputs."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Weights:
        return Weights(pruned_codes(rng, shape, 5), 5)

    b = Builder("outputs")
    x = b.input("x", (9, 2, 3), Interval(0, 3))
    wide = _thresholds(rng, b, b.add(Conv2d(weights(500, 9, 2, 2)), x), 3)
    few = _thresholds(rng, b, b.add(Conv2d(weights(9, 500, 1, 1)), wide), 1)
    dense = b.add(Dense(weights(390, 18)), b.add(Reshape((18,)), few))
    return b.build(outputs=(_thresholds(rng, b, dense, 7),))


def many_positions() -> Program:
    """Layers of more tiles than one on every target, pooled and plain."""
    rng = np.random.default_rng(0)
    b = Builder("positions")
    image = b.input("image", (16, 46, 45), Interval(0, 1))
    conv = Conv2d(Weights(pruned_codes(rng, (6, 16, 3, 3), 3), 3), None, (1, 1), (1, 1))
    pooled = b.add(MaxPool((2, 2), (2, 2)), _thresholds(rng, b, b.add(conv, image), 3))
    return b.build(outputs=(pooled, b.add(conv, image)))


def many_strides() -> Program:
    """Strided layers whose positions are those of a phase: of even and odd maps, windows that meet all
    phases, some or one, with holes between taps, one plane or three, in several tiles, pooled and plain."""
    rng = np.random.default_rng(0)
    b = Builder("strides")
    images = [
        b.input(f"image{i}", shape, Interval(0, hi))
        for i, (shape, hi) in enumerate(
            (((5, 28, 28), 1), ((3, 9, 13), 5), ((2, 70, 67), 1), ((4, 4, 1), 3))
        )
    ]

    def layer(source: str, size: tuple[int, int], *settings: tuple[int, int]) -> str:
        codes = pruned_codes(rng, (6, b.type_of(source).channels, *size), 5)
        return b.add(Conv2d(Weights(codes, 5), rng.integers(-9, 9, 6), *settings), source)

    one, two = (1, 1), (2, 2)
    ends = []
    for image in images:
        ends += [
            _thresholds(rng, b, layer(image, (3, 3), two, one), 3),
            _thresholds(rng, b, layer(image, (1, 1), two), 1),
            _thresholds(rng, b, layer(image, (3, 3), two, two, two), 1),
            _thresholds(rng, b, layer(image, (5, 5), (3, 2), (2, 2)), 3),
            _thresholds(rng, b, layer(image, (4, 3), (2, 1), one), 1),
            layer(image, (5, 3), (1, 2), (2, 1)),
        ]
    pooled = [
        b.add(MaxPool(two, two), _thresholds(rng, b, layer(x, (3, 3), two, one), 3)) for x in images[:3]
    ]
    return b.build(outputs=(*ends, *pooled))


def many_groups() -> Program:
    """Layers that are looked up: in tables of some of the groups, in several tiles, pooled and plain, on
    maps of one vector and on rows that end with one."""
    rng = np.random.default_rng(0)
    b = Builder("groups")
    x = b.input("x", (130, 17, 16), Interval(0, 3))
    narrow, wide = (
        b.input("narrow", (7, 6, 8), Interval(0, 1)),
        b.input("wide", (4, 3, 136), Interval(0, 3)),
    )

    def layer(
        source: str,
        outputs: int,
        levels: int,
        kernel: tuple[int, int] = (3, 3),
        **settings: tuple[int, int],
    ) -> str:
        codes = pruned_codes(rng, (outputs, b.type_of(source).channels, *kernel), levels)
        conv = Conv2d(Weights(codes, levels), rng.integers(-9, 9, outputs), (1, 1), **settings)
        return b.add(conv, source)

    first = _thresholds(rng, b, layer(x, 9, 5, padding=(1, 1)), 3)
    pooled = b.add(MaxPool((2, 2), (2, 2)), _thresholds(rng, b, layer(x, 6, 3, padding=(0, 1)), 7))
    second = _thresholds(rng, b, layer(first, 5, 9, padding=(3, 2), dilation=(2, 2)), 1)
    third = _thresholds(rng, b, layer(pooled, 4, 3, padding=(1, 1)), 1)
    moved = _thresholds(rng, b, layer(x, 9, 5, kernel=(5, 7), padding=(6, 6), dilation=(3, 2)), 3)
    ends = [_thresholds(rng, b, layer(source, 9, 3, padding=(1, 1)), 3) for source in (narrow, wide)]
    pools = [b.add(MaxPool((2, 2), (2, 2)), end) for end in ends]
    return b.build(outputs=(second, third, moved, *ends, *pools))


def many_bytes() -> Program:
    """Layers on bytes with thresholds: signed and not, in whole runs and in parts, in steps, with holes
    between taps, with biases far apart; each plain and pooled."""
    rng = np.random.default_rng(0)
    b = Builder("bytes")
    x = b.input("x", (3, 9, 70), Interval(0, 255))
    signed = b.input("signed", (2, 8, 32), Interval(-128, 127))
    far, one = 2**40 * np.arange(-4, 5), (1, 1)

    def layer(source: str, levels: int, size: tuple[int, int], *settings: tuple[int, int]) -> str:
        codes = pruned_codes(rng, (9, b.type_of(source).channels, *size), levels)
        return b.add(Conv2d(Weights(codes, levels), None, *settings), source)

    ends = []
    for _ in range(2):
        ends += [
            _thresholds(rng, b, layer(x, 127, (3, 3), one, one), 1),
            _thresholds(rng, b, layer(x, 3, (2, 5), one, (3, 2), (2, 3)), 15),
            _thresholds(rng, b, layer(x, 16, (3, 2), (2, 2), (0, 1)), 3),
            _thresholds(rng, b, layer(signed, 127, (3, 3), one, one), 1),
            _thresholds(rng, b, layer(signed, 64, (1, 3), (1, 3), (0, 3)), 3),
        ]
        biased = Conv2d(Weights(pruned_codes(rng, (9, 2, 3, 3), 5), 5), far, one)
        ends.append(b.add(Threshold(far[:, None], np.array([1, -1, -1] * 3)), b.add(biased, signed)))
    return b.build(outputs=(*ends[:6], *(b.add(MaxPool((2, 2), (2, 2)), end) for end in ends[6:])))


BESIDE = {
    "columns": [many_outputs()],
    "lanes": [many_positions(), many_strides()],
    "nibbles": [many_groups()],
    "quads": [many_bytes()],
    "listed": [random_layer(0, wide=False)],
}
"""Programs beside random layers that each kernel has to meet."""


def mixed_programs(number: int) -> list[Program]:
    """Random programs in which layers meet what works on bits: skips, multiplexers, pooling, sums."""
    first = ["Conv2d", "Threshold"]
    rest = ["Conv2d", "Threshold", "Or", "And", "Xor", "Not", "Select", "MaxPool", "SumPool", "Dense"]
    rest += ["Concat", "Slice", "Roll", "Transpose", "Add", "Requantize", "Lookup", "Hadamard", "FloorSqrt"]
    found = []
    for seed in range(6 * number, 6 * number + 6):
        rng = np.random.default_rng(seed)
        found.append(random_program([*first, *rng.choice(rest, 7).tolist(), *first], seed))
    return [*found, *map(bit_program, range(6))]


def bit_program(seed: int) -> Program:
    """Layers joined on packed bits: of unequal widths, per channel and per element, pooled and inverted."""
    rng = np.random.default_rng(seed)
    b = Builder("bits")
    shape = ((8, 5, 9), (64, 3, 3), (33, 4, 4), (16, 9, 11), (70, 2, 2), (4, 17, 16))[seed]
    x = b.input("x", shape, Interval(0, 3))

    def layer(source: str, count: int) -> str:
        weights = _weights(rng, (shape[0], shape[0], 3, 3), 3)
        return _thresholds(rng, b, b.add(Conv2d(weights, None, (1, 1), (1, 1)), source), count)

    one, two, three = layer(x, 1), layer(x, 3), layer(x, 7)
    mixed = b.add(Xor(), b.add(Or(), one, three), b.add(Not(4), two))
    gate = b.add(SumPool(shape[1:], (1, 1)), two)
    gate = _thresholds(rng, b, gate, 1)
    chosen = b.add(Select(), gate, three, two)
    element = b.add(Select(), one, chosen, mixed)
    pooled = b.add(MaxPool((2, 2), (2, 2)), element)
    padded = b.add(MaxPool((3, 2), (1, 2), (1, 1)), element)
    total = b.add(FloorSqrt(), b.add(SumPool(b.type_of(pooled).shape[1:], (1, 1)), pooled))
    return b.build(outputs=(layer(element, 15), pooled, padded, total, mixed))


# --- equal bits --------------------------------------------------------------------------------------


def roomy(name: str) -> Target:
    """The target, with addresses for many programs at once."""
    return replace(TARGETS[name], address=max(32, TARGETS[name].address))


def assert_right(
    program: Program, target: Target, kernel: str, folder: Path, seed: int, level: str = "-O1"
) -> Native:
    """Compile ``program``, run it, and compare it with the interpreter."""
    native = Native(generate(program, target, vectors=0, kernel=kernel), folder, (level,))
    assert_equal(native, program, 3, seed)
    return native


@pytest.mark.parametrize("kernel", PREFERENCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_layers_on_every_layout_and_kernel(layout: str, kernel: str, tmp_path: Path) -> None:
    number = list(LAYOUTS).index(layout) * len(PREFERENCES) + PREFERENCES.index(kernel)
    wide = number % 3 == 2
    layers = [random_layer(seed, wide) for seed in range(10 * number, 10 * number + 10)]
    layers += BESIDE.get(kernel, [])
    level = ("-O0", "-O1")[number % 2]
    native = assert_right(merged("layers", layers), roomy(layout), kernel, tmp_path, number, level)
    used = {step.candidate.kernel for step in native.source.plan.steps if step.candidate}
    costs = TARGETS[layout].costs
    offered = {"nibbles": costs.look, "quads": costs.quad}.get(kernel, 1)
    assert kernel in used or kernel == "auto" or not offered


@pytest.mark.parametrize("kernel", ["nibbles", "quads"])
def test_instructions_beyond_a_level_on_a_processor_without_them(kernel: str, tmp_path: Path) -> None:
    plain = replace(roomy("x86-64-v4"), name="plain")
    program = merged("layers", [*BESIDE[kernel], *(random_layer(seed, False) for seed in range(6, 30, 6))])
    native = assert_right(program, plain, kernel, tmp_path, 0)
    assert kernel in {step.candidate.kernel for step in native.source.plan.steps if step.candidate}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_value_set_on_every_layout(layout: str, tmp_path: Path) -> None:
    """Each with the next kernel to prefer, so that over the layouts all meet all."""
    first = list(LAYOUTS).index(layout)
    sets = sorted(set(LEVELS))
    for number in range(2):
        program = merged("sets", [value_set_program(levels) for levels in sets[number::2]])
        kernel = PREFERENCES[(first + 3 * number) % len(PREFERENCES)]
        native = Native(
            generate(program, roomy(layout), vectors=0, kernel=kernel), tmp_path / kernel, ("-O0",)
        )
        assert_equal(native, program, 3, first)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layers_amid_other_ops_on_every_layout(layout: str, tmp_path: Path) -> None:
    program = merged("mixed", mixed_programs(list(LAYOUTS).index(layout)))
    native = assert_right(program, roomy(layout), "auto", tmp_path, 5)
    assert {step.kind for step in native.source.plan.steps} >= {"layer", "convert", "loop", "bits", "total"}


@pytest.mark.parametrize("name", [name for names in LAYOUTS.values() for name in names])
def test_targets_that_choose_by_other_costs(name: str, tmp_path: Path) -> None:
    layout = next(layout for layout, names in LAYOUTS.items() if name in names)
    same = ("unit", "lane", "word", "block", "positions", "table_bytes")
    assert all(getattr(TARGETS[name], f) == getattr(TARGETS[layout], f) for f in same)
    seed = 1000 + 8 * list(TARGETS).index(name)
    program = merged("costs", [random_layer(s, s % 2 == 0) for s in range(seed, seed + 8)])
    assert_right(program, roomy(name), "auto", tmp_path, seed)


def test_every_target_is_tested() -> None:
    assert {*LAYOUTS, *(name for names in LAYOUTS.values() for name in names)} == set(TARGETS)


def test_shifts_of_more_bits_than_the_value_has(tmp_path: Path) -> None:
    """C leaves a shift by the width of its operand undefined; processors then shift by nothing."""
    b = Builder("shifts")
    x = b.input("x", (3, 5), Interval(-100, 100))
    shifts = [b.add(ShiftRight(n, r), x) for n in (31, 32, 33, 62) for r in ("floor", "half-up")]
    requantize = Requantize(np.array([3, -2, 1]), np.array([5, -5, 0]), np.array([40, 32, 62]), -9, 9)
    b_out = (*shifts, b.add(requantize, x))
    assert_right(b.build(outputs=b_out), TARGETS["x86-64-v3"], "auto", tmp_path, 0)


@pytest.mark.parametrize("layout", ["x86-64-v3", "cortex-m4"])
def test_layers_without_any_weight_that_is_not_zero(layout: str, tmp_path: Path) -> None:
    b = Builder("zeros")
    x = b.input("x", (32, 9, 8), Interval(0, 3))
    conv = Conv2d(Weights(np.zeros((32, 32, 3, 3), np.int8), 3), np.arange(32) - 16, (1, 1), (1, 1))
    sums = b.add(conv, x)
    bits = b.add(Threshold(np.array([[0, 1, 3]] * 32), np.ones(32, int)), b.add(conv, x))
    program = b.build(outputs=(sums, bits))
    for kernel in KERNELS:
        assert_right(program, TARGETS[layout], kernel, tmp_path / kernel, 0)


def test_a_layer_whose_lists_are_longer_than_their_counters(tmp_path: Path) -> None:
    """Six bits of 4096 x 3 weights of one output: more entries than 16 bits count."""
    b = Builder("long")
    x = b.input("x", (4096, 1, 2), Interval(0, 1))
    conv = Conv2d(Weights(np.full((2, 4096, 1, 3), 63, np.int8), 127), None, (1, 1), (0, 1))
    program = b.build(outputs=(b.add(conv, x),))
    for kernel in KERNELS:
        assert_right(program, roomy("cortex-m4"), kernel, tmp_path / kernel, 0)


def test_one_window_as_large_as_the_image_but_beside_it(tmp_path: Path) -> None:
    """Padding and dilation or strides leave one position, whose taps are not those of a matrix product."""
    rng = np.random.default_rng(3)
    b = Builder("beside")
    x = b.input("x", (5, 2, 2), Interval(0, 3))
    cases = (((0, 1), (1, 3), (1, 1)), ((1, 1), (1, 1), (3, 3)), ((0, 0), (1, 1), (2, 1)))
    outputs = [
        b.add(Conv2d(Weights(pruned_codes(rng, (6, 5, 2, 2), 5), 5), None, stride, padding, dilation), x)
        for padding, dilation, stride in cases
    ]
    assert all(b.type_of(name).shape == (6, 1, 1) for name in outputs)
    program = b.build(outputs=tuple(outputs))
    for kernel in PREFERENCES:
        assert_right(program, TARGETS["x86-64-v3"], kernel, tmp_path / kernel, 0)


# --- trained programs --------------------------------------------------------------------------------

NAMES = sorted(path.name for path in TRAINED.iterdir() if (path / "program.gfold").is_file())


@pytest.mark.parametrize("name", NAMES)
def test_trained_programs_on_their_vectors(name: str, tmp_path: Path) -> None:
    program = load(TRAINED / name / "program.gfold")
    vectors = read_vectors(TRAINED / name / "vectors.npz", program)
    target = list(TARGETS)[NAMES.index(name) * 3 % len(TARGETS)]
    native = Native(generate(program, roomy(target), vectors=0), tmp_path)
    check_samples(native, program, vectors.inputs, vectors.outputs)


# --- longer ------------------------------------------------------------------------------------------


@pytest.mark.study
@pytest.mark.parametrize("number", range(400))
def test_many_more_random_layers(number: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([number, 99])
    layout, kernel = str(rng.choice(list(LAYOUTS))), str(rng.choice(PREFERENCES))
    layers = [random_layer(100_000 + 12 * number + i, bool(rng.random() < 0.4)) for i in range(12)]
    layers += mixed_programs(100 + number)[:2]
    assert_right(merged("study", layers), roomy(layout), kernel, tmp_path, number)
