"""Hamilton weights: the algebra of the block matrix, its components in the file, and its evaluation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.encodings import ENCODINGS
from runtime.errors import ProgramError
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, Op
from runtime.printer import program_text
from runtime.serialize import dumps, loads
from runtime.types import Interval
from runtime.value_sets import Codes
from runtime.weights import HAMILTON, Weights, hamilton_matrix
from tests.programs import LEVELS, OP_CASES, random_codes

HAMILTON_ENCODINGS = [f"hamilton-{name}" for name in ENCODINGS]
seeds = st.integers(0, 2**32 - 1)
some_levels = st.sampled_from(sorted(set(LEVELS)))


def encodings_of(levels: int) -> list[str]:
    return [f"hamilton-{name}" for name, row in ENCODINGS.items() if row.allows(levels)]


def random_components(seed: int, levels: int, *shape: int) -> Codes:
    return random_codes(np.random.default_rng(seed), (4, *shape), levels)


def quaternion_product(p: list[int], q: list[int]) -> list[int]:
    """``p q`` from ``i^2 = j^2 = k^2 = ijk = -1``, on the table of products of the units."""
    units = {(0, n): (1, n) for n in range(4)} | {(n, 0): (1, n) for n in range(4)}
    units |= {(n, n): (-1, 0) for n in (1, 2, 3)}
    for a, b, c in ((1, 2, 3), (2, 3, 1), (3, 1, 2)):
        units |= {(a, b): (1, c), (b, a): (-1, c)}
    result = [0] * 4
    for a, b in product(range(4), repeat=2):
        sign, unit = units[a, b]
        result[unit] += sign * p[a] * q[b]
    return result


def conjugate(q: list[int]) -> list[int]:
    return [q[0], *(-part for part in q[1:])]


@given(some_levels, st.integers(1, 3), st.integers(1, 3), seeds)
def test_the_matrix_multiplies_quaternions_from_the_left(
    levels: int, outputs: int, inputs: int, seed: int
) -> None:
    components = random_components(seed, levels, outputs, inputs)
    x = np.random.default_rng(seed + 1).integers(-50, 50, (4, inputs))
    found = Weights.hamilton(components, levels).codes.astype(int) @ x.reshape(-1)
    expected = np.zeros((4, outputs), int)
    for o, i in np.ndindex(outputs, inputs):
        expected[:, o] += quaternion_product(components[:, o, i].tolist(), x[:, i].tolist())
    assert found.reshape(4, outputs).tolist() == expected.tolist()


def test_the_matrix_of_a_conjugate_is_the_transpose() -> None:
    """So ``W^T W`` is the squared norm of the quaternion, and the units anticommute."""
    for q in product((-1, 0, 2), repeat=4):
        matrix = hamilton_matrix(np.array(q)[:, None, None])
        turned = hamilton_matrix(np.array(conjugate(list(q)))[:, None, None])
        assert np.array_equal(turned, matrix.T)
        assert np.array_equal(matrix.T @ matrix, np.eye(4, dtype=int) * sum(part**2 for part in q))
    i, j, k = (hamilton_matrix(np.eye(4, dtype=int)[unit][:, None, None]) for unit in (1, 2, 3))
    assert np.array_equal(i @ j, k)
    assert np.array_equal(j @ i, -k)


def test_the_table_spells_the_matrix() -> None:
    letters = [[("-" if sign < 0 else "") + "rijk"[c] for c, sign in row] for row in HAMILTON]
    assert letters == [
        ["r", "-i", "-j", "-k"],
        ["i", "r", "-k", "j"],
        ["j", "k", "r", "-i"],
        ["k", "-j", "i", "r"],
    ]


@given(some_levels, st.sampled_from([(), (1,), (2, 3)]), st.floats(0, 1), seeds)
def test_the_components_alone_are_stored(
    levels: int, kernel: tuple[int, ...], density: float, seed: int
) -> None:
    components = random_components(seed, levels, 2, 3, *kernel)
    if levels % 2:
        components[np.random.default_rng(seed).random(components.shape) >= density] = 0
    for encoding in encodings_of(levels):
        weights = Weights.hamilton(components, levels, encoding)
        plain = Weights(components, levels, encoding.removeprefix("hamilton-"))
        assert (weights.shape, weights.is_hamilton) == ((8, 12, *kernel), True)
        assert np.array_equal(weights.components, components)
        assert np.shares_memory(weights.components, weights.codes)
        assert np.array_equal(weights.pack(), plain.pack())
        assert weights.stored_bytes == plain.stored_bytes
        again = Weights.unpack(weights.pack(), weights.shape, levels, encoding)
        assert np.array_equal(again.codes, weights.codes)
    default = Weights.hamilton(components, levels)
    assert default.encoding == f"hamilton-{Weights(components, levels).encoding}"


@pytest.mark.parametrize(
    ("levels", "encoding", "label"),
    [
        (3, "hamilton-base", "hamilton-base3"),
        (2, "hamilton-planes", "hamilton-planes"),
        (5, "hamilton-sparse", "hamilton-sparse"),
    ],
)
def test_programs_keep_and_print_the_encoding(levels: int, encoding: str, label: str) -> None:
    b = Builder("quaternion")
    weights = Weights.hamilton(random_components(0, levels, 1, 2), levels, encoding)
    program = b.build((b.add(Dense(weights), b.input("x", (8,), Interval(0, 9))),))
    assert f" 4x8 {label} " in program_text(program)
    (again,) = loads(dumps(program)).nodes
    assert isinstance(again.op, Dense)
    assert (again.op.weights.encoding, again.op.weights.is_hamilton) == (encoding, True)


ROUND = np.array([1, 0, -1, 1]).reshape(4, 1, 1)
BROKEN = hamilton_matrix(ROUND).copy()
BROKEN[2, 2] *= -1


@pytest.mark.parametrize("encoding", HAMILTON_ENCODINGS)
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            BROKEN,
            r"weights must be the Hamilton matrix of their first block column, .* shape \[4, 4\] are not",
        ),
        (BROKEN[:3], r"must have outputs and inputs in multiples of 4, not shape \[3, 4\]$"),
        (BROKEN[:, :2], r"must have outputs and inputs in multiples of 4, not shape \[4, 2\]$"),
        (BROKEN[0], r"must have outputs and inputs in multiples of 4, not shape \[4\]$"),
    ],
)
def test_other_matrices_are_refused(encoding: str, codes: Codes, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Weights(codes, 3, encoding)


@pytest.mark.parametrize(
    ("components", "encoding", "message"),
    [
        (np.ones((4, 2), int), "", r"must have shape \(4, outputs, inputs, \.\.\.\), not \[4, 2\]$"),
        (np.ones((3, 2, 2), int), "", r"must have shape \(4, outputs, inputs, \.\.\.\), not \[3, 2, 2\]$"),
        (np.full((4, 1, 1), 2), "", r"within -1\.\.1"),
        (np.full((4, 1, 1), 255, np.uint8), "", r"within -1\.\.1"),
        (np.ones((4, 1, 1)), "", "must be integers, not float64"),
        (ROUND, "base", r"Hamilton weights need an encoding that is hamilton-\*, not 'base'"),
        (ROUND, "hamilton-zip", "weight encoding must be one of .*, not 'hamilton-zip'"),
    ],
)
def test_bad_components(components: Codes, encoding: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Weights.hamilton(components, 3, encoding)


def test_other_weights_have_no_components() -> None:
    plain = Weights(hamilton_matrix(ROUND), 3)
    assert not plain.is_hamilton
    with pytest.raises(
        ProgramError, match="only Hamilton weights have components, not those encoded as base"
    ):
        _ = plain.components


def test_hamilton_convolutions_have_one_group() -> None:
    weights = Weights.hamilton(random_components(0, 3, 2, 1, 3, 3), 3)
    with pytest.raises(ProgramError, match=r"^Hamilton weights need groups 1, not 2$"):
        Conv2d(weights, groups=2)


def assert_same_results(hamilton: Op, plain: Op, shape: tuple[int, ...], top: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-top, top + 1, (3, *shape))
    assert np.array_equal(hamilton.evaluate(x), plain.evaluate(x))


tops = st.sampled_from([1, 9, 255, 2**40, 2**54])


@given(some_levels, st.integers(1, 3), st.integers(1, 3), st.booleans(), tops, seeds)
def test_dense_layers_equal_their_expansion(
    levels: int, outputs: int, inputs: int, bias: bool, top: int, seed: int
) -> None:
    weights = Weights.hamilton(random_components(seed, levels, outputs, inputs), levels)
    offsets = np.arange(4 * outputs) - 3 if bias else None
    plain = Weights(weights.codes, levels)
    assert_same_results(Dense(weights, offsets), Dense(plain, offsets), (4 * inputs,), top, seed)


pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@given(some_levels, pairs, pairs, pairs, pairs, pairs, st.booleans(), tops, seeds)
def test_convolutions_equal_their_expansion(
    levels: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    bias: bool,
    top: int,
    seed: int,
) -> None:
    weights = Weights.hamilton(random_components(seed, levels, *channels, *kernel), levels)
    offsets = np.arange(4 * channels[0]) - 3 if bias else None
    hamilton, plain = (
        Conv2d(w, offsets, stride, padding, dilation) for w in (weights, Weights(weights.codes, levels))
    )
    assert_same_results(hamilton, plain, (4 * channels[1], 5, 4), top, seed)


def encodings_in(programs: list[Program]) -> set[str]:
    return {n.op.weights.encoding for p in programs for n in p.nodes if isinstance(n.op, Conv2d | Dense)}


@pytest.mark.parametrize("op", ["Conv2d", "Dense"])
def test_the_conformance_cases_have_both_kinds(op: str) -> None:
    found = encodings_in(OP_CASES[op])
    assert found & set(ENCODINGS)
    assert found & set(HAMILTON_ENCODINGS)
