"""``gatefold bench``: what it measures, what it refuses, and what the figures are of."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exporters
from runtime.errors import MismatchError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import Add
from runtime.packed.executor import KERNELS, PackedExecutor
from runtime.serialize import save
from runtime.session import EXECUTORS, ExecutorRow
from runtime.types import IntArray, Interval
from tests.exporters.onnx.test_twin import network
from tests.runtime.test_ir import tiny
from toolchain.bench import Bench, Settings, bench
from toolchain.bench.layers import layer_program, layers_of
from toolchain.bench.machine import blas_threads, describe_machine, one_blas_thread
from toolchain.bench.measure import uniform_samples
from toolchain.bench.text import milliseconds, times, to_plain_text
from toolchain.cli.bench import SLOW

Invoke = Callable[..., tuple[int, str, str]]

QUICK = ["--seconds", "0.001", "--repeats", "5"]


class Wrong(Interpreter):
    """Right on the first two samples, wrong in one bit of one output of the fourth."""

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        outputs = {name: array.copy() for name, array in super().run(inputs).items()}
        outputs["scores"][3:4, 0] ^= 1
        return outputs


WRONG = ExecutorRow(f"{__name__}:Wrong", "differs")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return save(tiny(), tmp_path / "tiny.gfold")


@pytest.fixture(scope="module")
def measured() -> Bench:
    """A network with a skip, at two batch sizes, with its layers, in two threads."""
    table = {name: row for name, row in exporters.executors().items() if name in ("packed", "onnx")}
    return bench(network(), table, Settings(batches=(1, 3), threads=2, seconds=0.001, layers=True))


def test_rows_have_the_keys_that_others_rely_on(
    program: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.cli.common.PATIENCE_S", float("inf"))
    saved = tmp_path / "folder" / "bench.json"
    code, out, err = invoke("bench", program, *QUICK, "--batch", "1,2", "--json", "--save", saved)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert json.loads(saved.read_text()) == found
    fast = [name for name, row in exporters.executors().items() if name not in SLOW and not row.missing()]
    assert [row["executor"] for row in found["rows"]] == [*fast, "fp32", "int8"] * 2
    for row in found["rows"]:
        assert {type(row[key]) for key in ("median_ms", "ratio_to_fp32", "ratio_to_int8")} == {float}
        assert row["quartile1_ms"] <= row["median_ms"] <= row["quartile3_ms"]
        assert row["threads"] == 1
        assert (row["engine_ms"] is None) == (row["kind"] == "twin")
    assert {"cpu", "flags", "cores", "versions", "date"} <= set(found["machine"])
    assert found["sha256"] == sha256(program.read_bytes()).hexdigest()
    assert (found["settings"]["batches"], found["settings"]["threads"]) == ([1, 2], 1)


def test_ratios_are_of_the_medians_at_the_same_batch(measured: Bench) -> None:
    medians = {(row.executor, row.batch): row.median_ms for row in measured.rows}
    for row in measured.rows:
        assert row.ratio_to_fp32 == medians["fp32", row.batch] / row.median_ms
        assert row.ratio_to_int8 == medians["int8", row.batch] / row.median_ms


def test_threads_are_those_that_are_used(measured: Bench) -> None:
    """packed cuts batches, so one image takes one thread."""
    used = {(row.executor, row.batch): row.threads for row in measured.rows}
    assert (used["packed", 1], used["packed", 3]) == (1, 2)
    assert {used[name, batch] for name in ("onnx", "fp32", "int8") for batch in (1, 3)} == {2}
    serial = bench(
        tiny(), {"interpreter": EXECUTORS["interpreter"]}, Settings((), threads=4, seconds=0.001)
    )
    assert [row.threads for row in serial.rows] == [1]


def test_layers_cover_every_node_once_on_values_of_a_real_run(measured: Bench) -> None:
    net = network()
    groups = list(layers_of(net))
    assert [node for nodes in groups for node in nodes] == list(net.nodes)
    assert [row.ops for row in measured.layers[: len(groups)]] == [
        "Conv2d + Threshold",
        "Conv2d + Threshold",
        "Or",
        "MaxPool",
        "Reshape",
        "Dense",
    ]
    assert [row.batch for row in measured.layers] == [1] * len(groups) + [3] * len(groups)
    for row in measured.layers:
        assert row.ratio_to_interpreter == row.interpreter_ms / row.packed_ms
        assert row.fp32_ms
        assert row.ratio_to_fp32 == row.fp32_ms / row.packed_ms
        assert row.kernel
    samples = uniform_samples(net, 2)
    values: dict[str, Any] = dict(samples)
    for nodes in groups:
        part = layer_program(net, nodes)
        values |= Interpreter(part).run({s.name: values[s.name] for s in part.inputs})
    assert np.array_equal(values[net.outputs[0]], Interpreter(net).run(samples)[net.outputs[0]])


def test_the_text_says_what_it_shows(measured: Bench) -> None:
    text = to_plain_text(measured)
    assert "x fp32, x int8: how many times faster than that twin" in text
    assert "ONNX Runtime fp32" in text
    assert "Conv2d + Threshold" in text
    assert text.count("\nsum ") == 2
    assert text.splitlines()[-1] == str(measured.machine)
    for load, busy in ((0.5, False), (measured.machine.cores + 0.5, True)):
        elsewhere = replace(measured, machine=replace(measured.machine, load=load))
        assert ("others keep this machine busy" in to_plain_text(elsewhere)) is busy


@pytest.mark.parametrize("batch", [1, 4])
def test_a_wrong_executor_is_caught_before_anything_is_timed(batch: int) -> None:
    """Planted in the fourth sample, which the interpreter is not asked about."""
    table = {"packed": EXECUTORS["packed"], "wrong": WRONG}
    settings = Settings(against=(), batches=(batch,), seconds=0.001)
    if batch == 1:
        assert bench(tiny(), table, settings).rows
        return
    with pytest.raises(MismatchError) as caught:
        bench(tiny(), table, settings)
    assert str(caught.value) == (
        "wrong differs from packed on 1 of 4 samples at batch 4, so its speed means nothing; "
        "look closer with `gatefold verify`"
    )


def test_a_wrong_first_executor_is_caught_too(
    program: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrongAtOnce(Wrong):
        def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
            return {name: array + 1 for name, array in Interpreter.run(self, inputs).items()}

    monkeypatch.setattr(f"{__name__}.Wrong", WrongAtOnce)
    monkeypatch.setattr(exporters, "executors", lambda: {"wrong": WRONG})
    code, out, err = invoke("bench", program, *QUICK, "--against", "none")
    assert (code, out) == (4, "")
    assert err.startswith("gatefold: wrong differs from interpreter on 1 of 1 samples at batch 1")


def test_without_twins_there_are_no_ratios(program: Path, invoke: Invoke) -> None:
    arguments = ["--executors", "packed,interpreter", "--against", "none"]
    code, out, _ = invoke("bench", program, *QUICK, *arguments, "--json")
    assert code == 0
    found = json.loads(out)["rows"]
    assert [(row["executor"], row["ratio_to_fp32"]) for row in found] == [
        ("packed", None),
        ("interpreter", None),
    ]
    code, out, _ = invoke("bench", program, *QUICK, *arguments)
    assert "x fp32 " not in out.splitlines()[1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_of_packed(program: Path, kernel: str, invoke: Invoke) -> None:
    arguments = ["--executors", "packed", "--against", "none", "--kernel", kernel, "--json"]
    code, out, _ = invoke("bench", program, *QUICK, *arguments)
    assert code == 0
    assert [row["kernel"] for row in json.loads(out)["rows"]] == [kernel]


def test_images_of_a_data_set(tmp_path: Path, invoke: Invoke) -> None:
    trained = Path(__file__).parents[2] / "sample_models/trained/digits-ternary/program.gfold"
    arguments = ["--executors", "packed", "--against", "none", "--data", "digits"]
    code, out, _ = invoke("bench", trained, *QUICK, *arguments, "--batch", 4, "--json")
    assert code == 0
    assert json.loads(out)["settings"]["data"] == "digits"
    code, _, err = invoke("bench", trained, *QUICK, *arguments, "--batch", 4000)
    assert (code, err) == (2, "gatefold: digits has 359 test images, too few for --batch 4000\n")
    code, _, err = invoke("bench", save(tiny(), tmp_path / "tiny.gfold"), *QUICK, *arguments)
    assert code == 2
    assert "input 'image' must have shape (batch, 1, 4, 4), not (1, 1, 8, 8)" in err
    b = Builder("pair")
    x, y = (b.input(name, (1, 8, 8), Interval(0, 16)) for name in "xy")
    both = save(b.build((b.add(Add(), x, y),)), tmp_path / "pair.gfold")
    code, _, err = invoke("bench", both, *QUICK, *arguments)
    assert (code, err) == (2, "gatefold: --data is for programs of one input; pair has 2\n")
    assert invoke("bench", both, *QUICK, "--layers")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--batch", "1,x"],
            "--batch must be whole numbers from 1 to 65536 with commas, such as 1,64; not 'x'",
        ),
        (
            ["--batch", "0"],
            "--batch must be whole numbers from 1 to 65536 with commas, such as 1,64; not '0'",
        ),
        (["--against", "int4"], "--against must be none, or of fp32, int8, not 'int4'"),
        (["--against", ","], "--against must be none, or of fp32, int8"),
        (["--executors", ","], "--executors must name at least one of "),
        (["--executors", "gpu"], "executor must be one of "),
        (
            ["--executors", "onnx-reference", "--kernel", "blas"],
            "--kernel is for packed, not for onnx-reference; leave it out, or choose another executor",
        ),
        (["--threads", 100_000], "Invalid value for '--threads': 100000 is not in the range 1<=x<=256."),
    ],
)
def test_mistakes_are_one_line(
    program: Path, arguments: list[object], message: str, invoke: Invoke
) -> None:
    code, out, err = invoke("bench", program, *QUICK, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"gatefold: {message}")
    assert len(err.splitlines()) == 1


def test_run_and_evaluate_take_kernel_and_threads(program: Path, tmp_path: Path, invoke: Invoke) -> None:
    trained = Path(__file__).parents[2] / "sample_models/trained/digits-ternary/program.gfold"
    plain = json.loads(invoke("evaluate", trained, "--json")[1])
    tuned = json.loads(invoke("evaluate", trained, "--kernel", "bit-sliced", "--threads", 2, "--json")[1])
    assert tuned == plain
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 4, 4), np.uint8))
    files = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    assert invoke("run", program, *files, "--executor", "onnx-modern", "--threads", 2)[0] == 0
    code, _, err = invoke("run", program, *files, "--executor", "interpreter", "--threads", 2)
    assert code == 2
    assert err.startswith("gatefold: --threads is for packed, ")
    assert err.endswith("not for interpreter; leave it out, or choose another executor\n")


def test_a_pinned_blas_is_a_warning(program: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    code, _, err = invoke("bench", program, *QUICK, "--executors", "packed", "--against", "none")
    assert (code, err) == (
        0,
        "warning: OPENBLAS_CORETYPE=Prescott is set, which can halve the speed of NumPy's BLAS and with it "
        "of `packed`; unset it before you measure\n",
    )


def test_blas_runs_in_one_thread_while_it_is_measured() -> None:
    before = blas_threads()
    with one_blas_thread():
        assert blas_threads() in (1, None)
        assert describe_machine().blas_threads in (1, None)
    assert blas_threads() == before


def test_without_onnx_runtime_it_says_what_to_do(program: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxruntime', 'ml_dtypes']))\n"
        "from toolchain.cli import main; main(sys.argv[1:])"
    )

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [
            sys.executable,
            "-c",
            code,
            "bench",
            str(program),
            *QUICK,
            "--executors",
            "packed",
            *arguments,
        ]
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    done = call()
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "gatefold: the fp32 twin needs onnx: pip install 'gatefold[onnx]', or give --against none\n"
    )
    assert call("--against", "none").returncode == 0


def test_what_takes_longer_than_two_seconds_says_what_it_does(
    program: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.cli.common.PATIENCE_S", 0.0)
    arguments = ["--executors", "packed", "--against", "none", "--layers"]
    _, _, err = invoke("bench", program, *QUICK, *arguments)
    assert err.splitlines() == ["preparing", "checking batch 1", "measuring batch 1", "layers"]


def test_layers_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(PackedExecutor):
        def __init__(self, program: Program, **options: Any) -> None:
            super().__init__(program, **options)
            self._alone = len(program.nodes) < len(tiny().nodes)

        def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
            return {name: array + self._alone for name, array in super().run(inputs).items()}

    monkeypatch.setattr("runtime.packed.executor.PackedExecutor", Off)
    with pytest.raises(MismatchError, match=r"packed differs from interpreter in layer '.*' alone"):
        bench(tiny(), {"packed": EXECUTORS["packed"]}, Settings((), seconds=0.001, layers=True))


def test_numbers_as_they_are_shown() -> None:
    assert [milliseconds(x) for x in (None, 0.0123, 9.9, 12.346, 1234.5)] == [
        "-",
        "0.012",
        "9.900",
        "12.35",
        "1,234.5",
    ]
    assert [times(x) for x in (None, 0.5, 150.4)] == ["-", "0.50", "150"]
