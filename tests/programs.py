"""Random valid programs for property tests: every op, every kind of range, reproducible by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st

from runtime.encodings import ENCODINGS
from runtime.errors import ProgramError
from runtime.ir import Builder, Program
from runtime.ops import (
    OPS,
    Add,
    And,
    ArgMax,
    Clip,
    Concat,
    Conv2d,
    Dense,
    FloorSqrt,
    Hadamard,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Not,
    Op,
    Or,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    Select,
    ShiftRight,
    Slice,
    Square,
    Sub,
    SumPool,
    Threshold,
    Transpose,
    Xor,
)
from runtime.types import IntArray, Interval
from runtime.value_sets import Codes, code_step, codes_of, max_code
from runtime.weights import HAMILTON_PREFIX, Weights

Rng = np.random.Generator
Rule = Callable[[Rng, Builder, list[str]], str]

RANGES = (
    Interval(0, 1),
    Interval(0, 3),
    Interval(0, 16),
    Interval(0, 255),
    Interval(-1, 1),
    Interval(-7, 12),
    Interval(1, 9),
    Interval(-70_000, 90_000),
    Interval(-(2**36), 2**35),
)
LEVELS = (3, 3, 3, 5, 5, 7, 15, 17, 127, 2, 2, 4, 4, 6, 8, 16, 18, 64)


def random_codes(rng: Rng, shape: tuple[int, ...], levels: int) -> Codes:
    """Uniform codes of one value set."""
    return codes_of(rng.integers(0, levels, shape), levels)


def pruned_codes(rng: Rng, shape: tuple[int, ...], levels: int) -> Codes:
    """Uniform codes of which, in every second array, most are zero where the value set has a zero."""
    codes = random_codes(rng, shape, levels)
    kept = rng.random(shape) < rng.choice((0.15, 1.0))
    return codes if levels % 2 == 0 else np.where(kept, codes, np.int8(0))


def random_weights(rng: Rng, shape: tuple[int, ...], hamilton: bool = False) -> Weights:
    """Codes of a random value set, density and encoding, perhaps a Hamilton matrix."""
    levels = int(rng.choice(LEVELS))
    encoding = str(rng.choice([name for name, row in ENCODINGS.items() if row.allows(levels)]))
    if not hamilton:
        return Weights(pruned_codes(rng, shape, levels), levels, encoding)
    quarter = (4, shape[0] // 4, shape[1] // 4, *shape[2:])
    return Weights.hamilton(pruned_codes(rng, quarter, levels), levels, HAMILTON_PREFIX + encoding)


def _pick(rng: Rng, b: Builder, values: list[str], rank: int | None = None) -> str:
    """A value of the wanted rank (1 or 3), recent ones more often, reshaped where none is there."""
    fitting = [v for v in values if rank is None or len(b.type_of(v).shape) == rank]
    if fitting:
        return fitting[-1] if rng.random() < 0.6 else str(rng.choice(fitting))
    source = values[-1]
    size = b.type_of(source).size
    return b.add(Reshape((size,) if rank == 1 else (size, 1, 1)), source)


def _bits(rng: Rng, b: Builder, source: str, count: int = 1) -> str:
    """``source`` reduced to 0..count by thresholds near the middle of its interval."""
    type_ = b.type_of(source)
    if not type_.shape:
        source = b.add(Reshape((1,)), source)
        type_ = b.type_of(source)
    lo, hi = type_.interval.lo, type_.interval.hi
    direction = rng.choice((-1, 1), type_.channels)
    middle = rng.integers(lo - 1, hi + 2, (type_.channels, count))
    return b.add(Threshold(np.sort(middle * direction[:, None]) * direction[:, None], direction), source)


def _like(rng: Rng, b: Builder, values: list[str], first: str) -> str:
    """A second value of the shape of ``first``."""
    same = [v for v in values if b.type_of(v).shape == b.type_of(first).shape]
    return str(rng.choice(same)) if same else first


def _conv(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values, 3)
    channels, height, width = b.type_of(x).shape
    hamilton = channels % 4 == 0 and rng.random() < 0.5
    groups = 1 if hamilton else int(rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0]))
    rows, columns = (int(rng.integers(1, min(3, side) + 1)) for side in (height, width))
    dilation = tuple(
        int(rng.integers(1, 3)) if (k - 1) * 2 < side else 1
        for k, side in ((rows, height), (columns, width))
    )
    outputs = int(rng.integers(1, 3)) * 4 if hamilton else groups * int(rng.integers(1, 5))
    weights = random_weights(rng, (outputs, channels // groups, rows, columns), hamilton)
    bias = rng.integers(-50, 50, outputs) if rng.random() < 0.3 else None
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    padding = (int(rng.integers(0, 2)), int(rng.integers(0, 2)))
    return b.add(Conv2d(weights, bias, stride, padding, dilation, groups), x)


def _dense(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values, 1)
    inputs = b.type_of(x).size
    hamilton = inputs % 4 == 0 and rng.random() < 0.5
    outputs = int(rng.integers(1, 3)) * 4 if hamilton else int(rng.integers(1, 8))
    bias = rng.integers(-50, 50, outputs) if rng.random() < 0.5 else None
    return b.add(Dense(random_weights(rng, (outputs, inputs), hamilton), bias), x)


def _threshold(rng: Rng, b: Builder, values: list[str]) -> str:
    return _bits(rng, b, _pick(rng, b, values), int(rng.choice((1, 1, 3, 15))))


def _binary(op: type[Op]) -> Rule:
    def rule(rng: Rng, b: Builder, values: list[str]) -> str:
        first = _pick(rng, b, values)
        words = [first, _like(rng, b, values, first)]
        for index, word in enumerate(words):
            if b.type_of(word).interval.signed:
                words[index] = _bits(rng, b, word, 3)
        if b.type_of(words[0]).shape != b.type_of(words[1]).shape:
            words[1] = words[0]
        return b.add(op(), *words)

    return rule


def _not(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    type_ = b.type_of(x)
    if type_.interval.signed or type_.bits > 32:
        x = _bits(rng, b, x)
    return b.add(Not(min(32, b.type_of(x).bits + int(rng.integers(0, 2)))), x)


def _select(rng: Rng, b: Builder, values: list[str]) -> str:
    if rng.random() < 0.5:
        a = _pick(rng, b, values, 3)
        kernel = b.type_of(a).shape[1:]
        condition = _bits(rng, b, b.add(SumPool(kernel, kernel), a))
    else:
        a = _pick(rng, b, values)
        if not b.type_of(a).shape:
            a = b.add(Reshape((1,)), a)
        condition = _bits(rng, b, a)
    return b.add(Select(), condition, a, _like(rng, b, values, a))


def _hadamard(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    if b.type_of(x).channels % 4:
        x = b.add(Concat(), *[x if b.type_of(x).shape else b.add(Reshape((1,)), x)] * 4)
    return b.add(Hadamard(), x)


def _slice(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    if not b.type_of(x).shape:
        x = b.add(Reshape((1,)), x)
    start = int(rng.integers(0, b.type_of(x).channels))
    return b.add(Slice(start, int(rng.integers(start, b.type_of(x).channels)) + 1), x)


def _requantize(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    if not b.type_of(x).shape:
        x = b.add(Reshape((1,)), x)
    channels = b.type_of(x).channels
    shift = rng.integers(0, 12, channels)
    offset = (1 << shift) // 2 + rng.integers(-9, 9, channels)
    lo = int(rng.integers(-300, 1))
    return b.add(
        Requantize(rng.integers(-30, 60, channels), offset, shift, lo, lo + int(rng.integers(0, 600))), x
    )


def _lookup(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    if not b.type_of(x).shape:
        x = b.add(Reshape((1,)), x)
    if b.type_of(x).interval.hi - b.type_of(x).interval.lo > 600:
        x = _bits(rng, b, x, 3)
    interval = b.type_of(x).interval
    first = interval.lo - int(rng.integers(0, 3))
    rows = b.type_of(x).channels if rng.random() < 0.5 else 1
    size = interval.hi - first + 1 + int(rng.integers(0, 3))
    return b.add(Lookup(rng.integers(-40, 200, (rows, size)), first), x)


def _pool(op: type[MaxPool] | type[SumPool]) -> Rule:
    def rule(rng: Rng, b: Builder, values: list[str]) -> str:
        x = _pick(rng, b, values, 3)
        sides = b.type_of(x).shape[1:]
        if rng.random() < 0.2:
            return b.add(op(sides, sides), x)
        kernel = tuple(int(rng.integers(1, min(3, side) + 1)) for side in sides)
        stride = tuple(int(rng.integers(1, 3)) for _ in sides)
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        return b.add(op(kernel, stride, padding), x)

    return rule


def _argmax(rng: Rng, b: Builder, values: list[str]) -> str:
    return b.add(ArgMax(), _pick(rng, b, values, 1))


def _reshape(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    type_ = b.type_of(x)
    divisors = [d for d in range(1, type_.size + 1) if type_.size % d == 0]
    rows = int(rng.choice(divisors))
    rest = type_.size // rows
    shapes = ((type_.size,), (rows, rest, 1), (rest, 1, rows))
    return b.add(Reshape(shapes[rng.integers(0, 3)]), x)


def _concat(rng: Rng, b: Builder, values: list[str]) -> str:
    first = _pick(rng, b, values)
    if not b.type_of(first).shape:
        first = b.add(Reshape((1,)), first)
    rest = [
        v for v in values if b.type_of(v).shape and b.type_of(v).shape[1:] == b.type_of(first).shape[1:]
    ]
    return b.add(Concat(), first, *rest[: int(rng.integers(0, 3))])


def _broadcast(op: type[Op]) -> Rule:
    """Two operands, of which one may be summed over some axes first."""

    def rule(rng: Rng, b: Builder, values: list[str]) -> str:
        first = _pick(rng, b, values)
        operands = [first, _like(rng, b, values, first)]
        axes = tuple(axis for axis in range(len(b.type_of(first).shape)) if rng.random() < 0.3)
        if axes:
            operands[1] = b.add(ReduceSum(axes), operands[1])
        return b.add(op(), *map(str, rng.permutation(operands)))

    return rule


def _round_div(rng: Rng, b: Builder, values: list[str]) -> str:
    dividend = _pick(rng, b, values)
    divisor = _like(rng, b, values, dividend)
    axes = tuple(axis for axis in range(len(b.type_of(dividend).shape)) if rng.random() < 0.3)
    if axes:
        divisor = b.add(ReduceSum(axes), divisor)
    highest = max(1, b.type_of(divisor).interval.hi)
    divisor = b.add(Clip(int(rng.integers(1, min(highest, 9) + 1)), highest), divisor)
    return b.add(RoundDiv(), dividend, divisor)


def _floor_sqrt(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    return b.add(FloorSqrt(), b.add(Square(), x) if b.type_of(x).interval.signed else x)


def _mat_mul(rng: Rng, b: Builder, values: list[str]) -> str:
    a = _pick(rng, b, values, 3)
    other = b.add(Transpose((0, 2, 1)), _like(rng, b, values, a))
    return b.add(MatMul(), a, other)


def _reduce_sum(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values, 3)
    axes = [(0,), (1,), (1, 2), (0, 1, 2), (0, 2)]
    return b.add(ReduceSum(axes[rng.integers(0, len(axes))]), x)


def _transpose(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values, 3)
    return b.add(Transpose(tuple(rng.permutation(3).tolist())), x)


def _roll(rng: Rng, b: Builder, values: list[str]) -> str:
    x = _pick(rng, b, values)
    if b.type_of(x).channels == 1:
        x = b.add(Concat(), *[x if b.type_of(x).shape else b.add(Reshape((1,)), x)] * 3)
    return b.add(Roll(int(rng.integers(1, b.type_of(x).channels))), x)


def _shift_right(rng: Rng, b: Builder, values: list[str]) -> str:
    rounding = str(rng.choice(("floor", "half-up")))
    return b.add(ShiftRight(int(rng.integers(1, 9)), rounding), _pick(rng, b, values))


def _clip(rng: Rng, b: Builder, values: list[str]) -> str:
    lo = int(rng.integers(-200, 3))
    return b.add(Clip(lo, lo + int(rng.integers(0, 400))), _pick(rng, b, values))


def _square(rng: Rng, b: Builder, values: list[str]) -> str:
    return b.add(Square(), _pick(rng, b, values))


RULES: dict[str, Rule] = {
    "Conv2d": _conv,
    "Dense": _dense,
    "Threshold": _threshold,
    "Or": _binary(Or),
    "And": _binary(And),
    "Xor": _binary(Xor),
    "Not": _not,
    "Select": _select,
    "Add": _broadcast(Add),
    "Sub": _broadcast(Sub),
    "Mul": _broadcast(Mul),
    "Square": _square,
    "MatMul": _mat_mul,
    "RoundDiv": _round_div,
    "FloorSqrt": _floor_sqrt,
    "ShiftRight": _shift_right,
    "Clip": _clip,
    "Hadamard": _hadamard,
    "Requantize": _requantize,
    "Lookup": _lookup,
    "MaxPool": _pool(MaxPool),
    "SumPool": _pool(SumPool),
    "ReduceSum": _reduce_sum,
    "ArgMax": _argmax,
    "Reshape": _reshape,
    "Concat": _concat,
    "Slice": _slice,
    "Transpose": _transpose,
    "Roll": _roll,
}


def random_program(ops: Sequence[str], seed: int) -> Program:
    """A program that uses ``ops`` in that order (and helpers they need) on random operands.

    An op that would break a limit of the IR (62-bit ranges) is left out.
    """
    rng = np.random.default_rng(seed)
    b = Builder("random")
    interval = RANGES[rng.integers(0, len(RANGES))]
    shape = (int(rng.choice((1, 2, 3, 4, 4, 9))), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    values = [b.input("x", shape, interval)]
    for op in ops:
        b.at_layer(f"layers.{len(values)}")
        try:
            values.append(RULES[op](rng, b, values))
        except ProgramError as error:
            if "62 bits" not in str(error):
                raise
    if len(values) == 1:
        values.append(_reshape(rng, b, values))
    extra = [v for v in values[1:-1] if rng.random() < 0.2]
    return b.build(outputs=(values[-1], *dict.fromkeys(v for v in extra if v != values[-1])))


def programs(max_ops: int = 8) -> st.SearchStrategy[Program]:
    """Hypothesis strategy of random valid programs of up to ``max_ops`` drawn ops."""
    ops = st.lists(st.sampled_from(sorted(OPS)), min_size=1, max_size=max_ops)
    return st.builds(random_program, ops, st.integers(0, 2**32 - 1))


def random_inputs(program: Program, count: int, seed: int) -> dict[str, IntArray]:
    """``count`` samples per input: uniform over its interval, with both ends present."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for spec in program.inputs:
        lo, hi = spec.type.interval.lo, spec.type.interval.hi
        array = rng.integers(lo, hi + 1, (count, *spec.type.shape))
        flat = array.reshape(-1)
        flat[: flat.size // 8] = lo
        flat[flat.size // 8 : flat.size // 4] = hi
        arrays[spec.name] = rng.permuted(array, axis=-1) if array.ndim > 1 else array
    return arrays


def value_set_program(levels: int) -> Program:
    """Linear ops whose weights have one value set: on pixels, bits, counts and wide sums; with borders,
    strides and groups; dense, pruned and Hamilton; with and without a Threshold behind them, which rises
    or falls."""
    rng = np.random.default_rng(levels)
    top = max_code(levels)

    def weights(*shape: int) -> Weights:
        return Weights(random_codes(rng, shape, levels), levels)

    def hamilton(outputs: int, inputs: int, *kernel: int) -> Weights:
        return Weights.hamilton(random_codes(rng, (4, outputs // 4, inputs // 4, *kernel), levels), levels)

    def steps(channels: int, count: int, spread: int) -> Threshold:
        direction = np.where(np.arange(channels) % 2, -1, 1)
        rows = np.sort(rng.integers(-spread, spread + 1, (channels, count)), axis=1)
        return Threshold(np.where(direction[:, None] > 0, rows, rows[:, ::-1]), direction)

    b = Builder(f"levels-{levels}")
    x = b.input("image", (3, 7, 5), Interval(0, 255))
    bits = b.add(steps(8, 1, 300 * top), b.add(Conv2d(weights(8, 3, 3, 3), padding=(1, 1)), x))
    counts = b.add(steps(8, 3, 2 * top), b.add(Conv2d(weights(8, 4, 3, 3), padding=(1, 1), groups=2), bits))
    turned = b.add(steps(8, 1, 4 * top), b.add(Conv2d(hamilton(8, 8, 3, 3), padding=(1, 1)), counts))
    sums = b.add(Conv2d(hamilton(68, 8, 3, 2), rng.integers(-9, 9, 68), (2, 1), (1, 0)), turned)
    wide = b.add(Conv2d(weights(2, 68, 1, 1)), sums)
    wider = b.add(Conv2d(hamilton(4, 68, 1, 1)), sums)
    hidden = b.add(steps(68, 1, 4 * top), sums)
    size = b.type_of(hidden).size
    scores = b.add(Dense(weights(9, size)), b.add(Reshape((size,)), hidden))
    pruned = Weights(np.where(rng.random((8, 9)) < 0.3, weights(8, 9).codes, code_step(levels) - 1), levels)
    scores = b.add(Dense(hamilton(4, 8), rng.integers(-9, 9, 4)), b.add(Dense(pruned), scores))
    return b.build(outputs=(scores, wide, wider, counts))


OP_CASES: dict[str, list[Program]] = {
    name: [random_program([name], seed) for seed in range(12)] for name in OPS
}
"""Programs around one op each, for the conformance tests: a new op needs a row in ``RULES``."""
