"""The plain int8 baseline, and its comparison with the C that Gatefold writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.mcu.__main__ import main, table
from benchmarks.mcu.int8 import baseline
from runtime.errors import InputError
from runtime.ir import Builder
from runtime.ops import ArgMax, Conv2d, Dense, MaxPool, Or, Reshape, SumPool, Threshold
from runtime.serialize import save
from runtime.types import Interval
from runtime.weights import Weights
from tests.toolchain.mcu_builds import MEMORY, program
from toolchain.mcu.build import build
from toolchain.mcu.cores import CORES
from toolchain.mcu.emulate import Emulator


def small(mean: bool):
    """A network with every op that the baseline knows."""
    rng = np.random.default_rng(1)
    b = Builder("small")

    def weights(*shape: int) -> Weights:
        return Weights(rng.integers(-1, 2, shape).astype(np.int8), 3)

    def levels(x: str, channels: int) -> str:
        thresholds = np.arange(channels)[:, None] % 3
        return b.add(Threshold(thresholds, np.ones(channels, int)), x)

    x = levels(
        b.add(
            Conv2d(weights(6, 2, 3, 2), stride=(2, 1), padding=(1, 0)),
            b.input("x", (2, 7, 6), Interval(0, 9)),
        ),
        6,
    )
    y = levels(b.add(Conv2d(weights(6, 6, 3, 3), padding=(1, 1)), x), 6)
    y = b.add(MaxPool((3, 3), (2, 2), (1, 1)), b.add(Or(), x, y))
    if mean:
        y = b.add(SumPool((2, 3), (2, 3)), y)
    size = b.type_of(y).size
    scores = b.add(Dense(weights(5, size)), b.add(Reshape((size,)), y), name="scores")
    return b.build(outputs=(scores, b.add(ArgMax(), scores, name="class")))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("core", ["cortex-m0plus", "rv32imc"])
def test_the_baseline_computes_what_it_is_defined_to(core: str, mean: bool) -> None:
    plain = baseline(small(mean), core)
    emulator = Emulator(build(plain.source, CORES[core], MEMORY))
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(-128, 128, plain.source.inputs[0].type.shape)
        run = emulator.run({"x": pixels})
        wanted = plain.run(pixels)
        assert set(wanted) == {"scores", "class"}
        assert len(set(wanted["scores"].tolist())) > 2
        for name, array in wanted.items():
            assert (run.outputs[name].reshape(-1) == array.reshape(-1)).all(), name


def test_a_byte_per_weight_and_what_a_channel_needs() -> None:
    plain = baseline(program(), "cortex-m4")
    weights = 288 + 9216 + 18432 + 36864 + 2560
    assert plain.source.constant_bytes == weights + 9 * (32 + 32 + 64 + 64 + 10)


def test_an_op_without_a_rule_is_named() -> None:
    with pytest.raises(InputError, match=r"^\w+: the int8 baseline has no Select$"):
        baseline(program("fashion-mux"), "cortex-m4")


def test_the_comparison_is_a_table_and_json(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(save(small(True), tmp_path / "small.gfold"))
    assert main([path, "--device", "rp2040", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["code"], row["level"]) for row in found] == [
        ("gatefold", "-Os"),
        ("int8", "-Os"),
        ("gatefold", "-O2"),
        ("int8", "-O2"),
    ]
    for row in found:
        assert row["flash"] > row["of it code"] > 0
        assert row["ram"] > row["stack"] > 0
        assert row["per_mac"] == pytest.approx(row["instructions"] / row["macs"], abs=1e-3)
    made = table(found)
    assert [row[2] for row in made.rows] == ["-Os", "-O2"]
    assert all(len(row) == len(made.headers) for row in made.rows)


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.gfold"]) == 2
    assert capsys.readouterr().err == "error: cannot read gone.gfold: No such file or directory\n"
