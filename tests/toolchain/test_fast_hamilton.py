"""The Hamilton product in 8 multiplications: equal on every input, chosen where it takes fewer gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import exporters
from runtime.errors import InputError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import ArgMax, Conv2d, Dense, MaxPool, Op, Reshape, Threshold
from runtime.serialize import load
from runtime.session import Session
from runtime.types import BIT, Interval, TensorType
from runtime.weights import HAMILTON, Weights
from tests.programs import random_codes
from tests.quick import UNSIMULATED
from toolchain.cli import main
from toolchain.cost import report
from toolchain.hamilton import SIGNS, SUBTRACTED, fast_program
from toolchain.passes import DEFAULT_PASSES, FastHamilton

Invoke = Callable[..., tuple[int, str, str]]

SEEDS = st.integers(0, 2**32 - 1)
INTERVALS = st.sampled_from([(0, 1), (0, 3), (0, 255), (-1, 1), (-7, 12), (3, 9), (-(2**30), 2**20)])
IMAGE = TensorType((8, 6, 5), Interval(0, 3))

FAST = [
    "Hadamard",
    "Conv2d",
    "Hadamard",
    "Requantize",
    "Slice",
    "Slice",
    "Slice",
    "Concat",
    "Conv2d",
    "Sub",
]


def quaternions(rng: np.random.Generator, *shape: int, levels: int) -> Weights:
    return Weights.hamilton(random_codes(rng, (4, *shape), levels), levels)


def samples(rng: np.random.Generator, x: TensorType, count: int = 20) -> NDArray[np.int64]:
    array = rng.integers(x.interval.lo, x.interval.hi + 1, (count, *x.shape))
    array[0], array[1] = x.interval.lo, x.interval.hi
    return array


def names(program: Program) -> list[str]:
    return [node.op.name for node in program.nodes]


def single(op: Op, x: TensorType, threshold: Threshold | None = None) -> Program:
    b = Builder("layer")
    value = b.add(op, b.input("x", x.shape, x.interval), name="y")
    return b.build((value if threshold is None else b.add(threshold, value, name="code"),))


def network(rng: np.random.Generator, levels: int) -> Program:
    """Quaternion layers read by a Threshold, by a MaxPool, by two ops, and by nothing."""
    b = Builder("net")
    x = b.input("image", (8, 6, 6), Interval(0, 15))
    b.at_layer("stem")
    conv = Conv2d(quaternions(rng, 3, 2, 3, 3, levels=levels), rng.integers(-9, 9, 12), (2, 1), (1, 1))
    x = b.add(conv, x, name="stem")
    b.at_layer("act")
    x = b.add(Threshold(np.sort(rng.integers(-99, 99, (12, 3)), axis=1), np.ones(12, int)), x, name="bits")
    b.at_layer("body")
    body = b.add(Conv2d(quaternions(rng, 2, 3, 2, 2, levels=levels)), x, name="body")
    x = b.add(MaxPool((2, 2), (2, 2)), body)
    x = b.add(Reshape((b.type_of(x).size,)), x)
    dense = Dense(quaternions(rng, 3, b.type_of(x).size // 4, levels=levels), rng.integers(-9, 9, 12))
    scores = b.add(dense, x, name="scores")
    return b.build((scores, b.add(ArgMax(), scores, name="class"), body))


def test_the_formula_gives_the_block_matrix_of_the_product() -> None:
    components = np.array([2, 3, 5, 7])
    found = np.zeros((4, 4), int)
    for m, (sign, (component, factor), column) in enumerate(
        zip(SIGNS, SUBTRACTED, (0, 2, 3, 1), strict=True)
    ):
        found[m] = [sign * components[m ^ n] for n in range(4)]
        found[m, column] -= factor * components[component]
    expected = [[sign * components[c] for c, sign in row] for row in HAMILTON]
    assert found.tolist() == [[int(value) for value in row] for row in expected]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([2, 3, 4, 5, 9, 15, 16, 31]), INTERVALS, st.booleans())
def test_a_convolution_is_the_same_in_8_multiplications(
    seed: int, levels: int, ends: tuple[int, int], clip: bool
) -> None:
    rng = np.random.default_rng(seed)
    outputs, inputs, rows, columns = (int(n) for n in rng.integers(1, 4, 4))
    x = TensorType((4 * inputs, int(rng.integers(5, 8)), int(rng.integers(5, 8))), Interval(*ends))
    bias = rng.integers(-50, 50, 4 * outputs) if rng.random() < 0.5 else None
    stride, padding, dilation = ((int(rng.integers(low, low + 2)), low) for low in (1, 0, 1))
    weights = quaternions(rng, outputs, inputs, rows, columns, levels=levels)
    op = Conv2d(weights, bias, stride, padding, dilation)
    fast = fast_program(op, x, clip)
    assert fast is not None
    array = samples(rng, x)
    (found,) = Interpreter(fast).run({"x": array}).values()
    assert np.array_equal(found, op.evaluate(array))
    if clip:
        assert fast.types[fast.outputs[0]] == op.infer(x)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([2, 3, 5, 8, 31]), INTERVALS, st.booleans())
def test_a_dense_layer_is_the_same_in_8_multiplications(
    seed: int, levels: int, ends: tuple[int, int], clip: bool
) -> None:
    rng = np.random.default_rng(seed)
    outputs, inputs = (int(n) for n in rng.integers(1, 9, 2))
    bias = rng.integers(-50, 50, 4 * outputs) if rng.random() < 0.5 else None
    op = Dense(quaternions(rng, outputs, inputs, levels=levels), bias)
    x = TensorType((4 * inputs,), Interval(*ends))
    fast = fast_program(op, x, clip)
    assert fast is not None
    array = samples(rng, x)
    (found,) = Interpreter(fast).run({"x": array}).values()
    assert np.array_equal(found, op.evaluate(array))
    if clip:
        assert fast.types[fast.outputs[0]] == op.infer(x)


@pytest.mark.parametrize("sign", [-1, 1])
def test_codes_of_31_levels_always_fit(sign: int) -> None:
    op = Conv2d(Weights.hamilton(np.full((4, 1, 2, 1, 1), 15 * sign), 31))
    fast = fast_program(op, IMAGE, clip=True)
    assert fast is not None
    array = samples(np.random.default_rng(0), IMAGE)
    assert np.array_equal(
        *(Interpreter(p).run({"x": array})[p.outputs[0]] for p in (single(op, IMAGE), fast))
    )


ZEROS = np.zeros((4, 1, 2, 1, 1), int)
ONE_LARGE, FOUR_LARGE = ZEROS.copy(), ZEROS + 16
ONE_LARGE[0] = 32


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Conv2d(Weights.hamilton(ONE_LARGE, 127)), IMAGE),
        (Conv2d(Weights.hamilton(FOUR_LARGE, 33)), IMAGE),
        (Conv2d(Weights(Weights.hamilton(ZEROS + 1, 3).codes, 3, "planes")), IMAGE),
        (Conv2d(Weights.hamilton(ZEROS + 1, 3)), TensorType((8, 2, 2), Interval(0, 2**57))),
        (MaxPool((2, 2), (1, 1)), IMAGE),
    ],
    ids=["2 w too large", "H w too large", "not declared", "sums too wide", "not linear"],
)
def test_layers_that_have_no_such_form_stay(op: Op, x: TensorType) -> None:
    program = single(op, x)
    assert fast_program(op, x, clip=True) is None
    assert FastHamilton("fast")(program) is program


@pytest.mark.parametrize("executor", sorted(UNSIMULATED))
@pytest.mark.parametrize("levels", [3, 15])
def test_the_pass_keeps_results_types_and_outputs_on_every_executor(levels: int, executor: str) -> None:
    rng = np.random.default_rng(levels)
    before = network(rng, levels)
    after = FastHamilton("fast")(before)
    assert names(after).count("Hadamard") == 2 * 3
    assert [after.types[name] for name in after.outputs] == [before.types[name] for name in before.outputs]
    array = samples(rng, before.inputs[0].type, 6)
    expected = Interpreter(before).run({"image": array})
    found = Session(after, executor, exporters.executors()).run(array)
    assert list(found) == list(expected)
    for name, wanted in expected.items():
        assert np.array_equal(found[name], wanted), name


def test_names_layers_and_ops_of_the_rewritten_network() -> None:
    program = FastHamilton("fast")(network(np.random.default_rng(0), 3))
    stem = [node for node in program.nodes if node.layer == "stem"]
    assert [node.op.name for node in stem] == FAST
    assert [node.result for node in stem[:2]] == ["stem.hadamard", "stem.conv2d"]
    assert stem[-1].result == "stem"
    assert stem[0].operands == ("image",)
    scores = [node.op.name for node in program.nodes if node.result.startswith("scores")]
    assert scores == ["Reshape", *FAST, "Reshape", "Requantize"]


def test_new_values_get_unused_names() -> None:
    b = Builder("names")
    x = b.add(MaxPool((1, 1), (1, 1)), b.input("x", IMAGE.shape, IMAGE.interval), name="y.hadamard")
    op = Conv2d(Weights.hamilton(ZEROS + 1, 3))
    program = FastHamilton("fast")(b.build((b.add(op, x, name="y"),)))
    assert {"y_hadamard", "y.hadamard"} <= set(program.types)


def test_an_unknown_choice() -> None:
    with pytest.raises(InputError) as caught:
        FastHamilton("slow")
    assert str(caught.value) == "a Hamilton form must be one of direct, fast, cost, not 'slow'"


def test_the_pass_has_to_be_asked_for() -> None:
    assert not any(isinstance(apply, FastHamilton) for apply in DEFAULT_PASSES)
    program = network(np.random.default_rng(0), 31)
    assert FastHamilton("direct")(program) is program


def test_a_rewritten_program_has_no_skip_connections() -> None:
    program = FastHamilton("fast")(network(np.random.default_rng(0), 3))
    assert not report(program).skip_cost["present"]


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.booleans())
def test_ternary_weights_on_bits_stay_direct(seed: int, thresholds: bool) -> None:
    rng = np.random.default_rng(seed)
    outputs, inputs = (int(n) for n in rng.integers(1, 9, 2))
    op = Conv2d(quaternions(rng, outputs, inputs, 3, 3, levels=3), padding=(1, 1))
    bits = (
        Threshold(rng.integers(-3, 4, (4 * outputs, 1)), np.ones(4 * outputs, int)) if thresholds else None
    )
    program = single(op, TensorType((4 * inputs, 6, 6), BIT), bits)
    assert FastHamilton("cost")(program) is program


QUATERNION_NETWORK = """
from torch import nn

from runtime.types import Interval
from toolchain.layers import HEQClassifier, HEQQuaternionLinear
from toolchain.models import ModelRow


def build():
    layers = nn.Flatten(), HEQQuaternionLinear(64, 8, 15)
    return nn.Sequential(*layers, HEQClassifier(8, 10, input_max=1))


ROW = ModelRow("quaternions", "dense", build, (1, 8, 8), Interval(0, 16), "digits")
MODELS = {ROW.name: ROW}
"""

RECIPE = """
name = "quaternions"
model = "quaternions"
dataset = "digits"
threads = 1
phases = [{name = "qat", epochs = 1, precision = "quantized", learning_rate = 0.01, batch_size = 100}]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained run of a network with a quaternion layer, as a package of someone else would bring it."""
    site, directory = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("runs") / "quaternions"
    (site / "quaternion_networks.py").write_text(QUATERNION_NETWORK)
    (site / "quaternions-1.0.dist-info").mkdir()
    entry = "[gatefold.models]\nquaternions = quaternion_networks:MODELS\n"
    (site / "quaternions-1.0.dist-info" / "entry_points.txt").write_text(entry)
    (site / "recipe.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        with pytest.raises(SystemExit) as caught:
            main(["train", str(site / "recipe.toml"), "--out", str(directory)])
        assert not caught.value.code
        yield directory


def test_lower_takes_the_choice(run: Path, tmp_path: Path, invoke: Invoke) -> None:
    found = {}
    for choice in ("direct", "fast", "cost"):
        code, _, err = invoke("lower", run, "-o", tmp_path / choice, "--hamilton", choice)
        assert code == 0, err
        found[choice] = load(tmp_path / choice)
    assert names(found["direct"]) == ["Reshape", "Dense", "Dense", "ArgMax"]
    assert names(found["fast"]) == ["Reshape", "Reshape", *FAST, "Reshape", "Requantize", "Dense", "ArgMax"]
    assert names(found["cost"]) in (names(found["direct"]), names(found["fast"]))
    assert found["fast"].metadata == found["direct"].metadata
    invoke("lower", run, "-o", tmp_path / "default")
    assert (tmp_path / "default").read_bytes() == (tmp_path / "direct").read_bytes()
    array = samples(np.random.default_rng(0), found["direct"].inputs[0].type)
    results = [Session(program).run(array)["scores"] for program in found.values()]
    assert all(np.array_equal(result, results[0]) for result in results)
    code, _, err = invoke("lower", run, "--hamilton", "slow")
    assert code == 2
    assert "'slow' is not one of 'direct', 'fast', 'cost'" in err
