"""The command line: what a user types, what comes back, and what a mistake costs: one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exporters
from runtime.serialize import load, save
from tests.runtime.test_ir import tiny
from toolchain.cli import main
from toolchain.cli.main import VERBS

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digits network trained for three epochs, and its program."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("runs") / "digits"
    for arguments in (
        ["train", "digits-ternary", "--epochs", "3", "--set", "options.width=8", "--out", str(run)],
        ["lower", str(run)],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert not caught.value.code
    return run


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return save(tiny(), tmp_path / "tiny.gfold")


def test_help_lists_every_verb_and_every_verb_has_help(invoke: Invoke) -> None:
    code, out, _ = invoke()
    assert code == 0
    for verb in VERBS:
        assert verb in out
        assert invoke(verb, "--help")[0] == 0


def test_version(invoke: Invoke) -> None:
    assert invoke("--version")[1].startswith("gatefold, version 0.")


def test_train_lower_evaluate_verify_export_report(trained: Path, tmp_path: Path, invoke: Invoke) -> None:
    lowered = trained / "program.gfold"
    metadata = load(lowered).metadata
    assert (metadata["dataset"], metadata["model"], metadata["seed"]) == ("digits", "ornet-digits", 0)

    code, out, _ = invoke("evaluate", lowered, "--json")
    evaluated = json.loads(out)
    assert code == 0
    assert evaluated["accuracy"] == pytest.approx(metadata["accuracy"])
    assert (evaluated["samples"], evaluated["executor"]) == (359, "packed")

    code, out, _ = invoke(
        "verify", lowered, "--samples", 20, "--data", "digits", "--model", trained, "--json"
    )
    verified = json.loads(out)
    assert code == 0
    assert verified["ok"] is True
    assert set(verified["executors"]) == set(exporters.executors())
    assert "a simulated design may add up at most" in verified["executors"].pop("verilog")["skipped"]
    for row in verified["executors"].values():
        assert row == {"samples": 379, "mismatches": 0, "skipped": None}
    assert verified["model"]["mismatches"] == 0

    onnx = tmp_path / "model.onnx"
    code, out, _ = invoke("export", lowered, "--to", "onnx", "-o", onnx, "--profile", "modern", "--json")
    assert code == 0
    assert json.loads(out)["bytes"] == onnx.stat().st_size

    code, out, _ = invoke("report", lowered, "--json")
    report = json.loads(out)
    assert code == 0
    assert {"layers", "total", "devices", "skip_cost"} <= set(report)
    assert {"ge", "and", "or", "xor", "not", "mux", "full_adder", "register"} <= set(
        report["total"]["gates"]
    )


def test_verify_names_the_first_difference_to_a_run_of_another_network(
    trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    program = load(trained / "program.gfold")
    arguments = [
        "--samples",
        0,
        "--data",
        "digits",
        "--images",
        8,
        "--executors",
        "packed",
        "--model",
        trained,
    ]
    other = program.metadata | {"options": {**program.metadata["options"], "width": 16}}
    for name, metadata in (("same", program.metadata), ("other", other), ("foreign", {"author": "me"})):
        save(replace(program, metadata=metadata), tmp_path / f"{name}.gfold")
    warnings = {
        name: invoke("verify", tmp_path / f"{name}.gfold", *arguments)[2]
        for name in ("same", "other", "foreign")
    }
    assert warnings == {
        "same": "",
        "other": f"warning: {trained} is of another network: its options.width is 8, the program's 16\n",
        "foreign": "",
    }


def test_the_scores_of_run_are_those_of_the_onnx_file(
    trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    import onnxruntime

    images = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
    source, target, onnx = (tmp_path / n for n in ("x.npy", "y.npy", "p.onnx"))
    np.save(source, images)
    lowered = trained / "program.gfold"
    assert invoke("run", lowered, "--input", source, "--output", target)[0] == 0
    assert invoke("export", lowered, "--to", "onnx", "-o", onnx)[0] == 0
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {session.get_inputs()[0].name: images})
    written = np.load(target)
    assert np.issubdtype(written.dtype, np.integer)
    assert np.array_equal(written, scores)


def test_run_writes_every_output_to_an_npz(program: Path, tmp_path: Path, invoke: Invoke) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((2, 1, 4, 4), np.uint8))
    code, out, _ = invoke("run", program, "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    assert code == 0
    assert "scores int8 [2, 3] by packed" in out
    with np.load(tmp_path / "y.npz") as outputs:
        assert set(outputs.files) == {"scores", "class"}


def test_inspect(program: Path, invoke: Invoke) -> None:
    code, out, _ = invoke("inspect", program)
    assert code == 0
    assert "%or: u1[2x4x4] in [0, 1] = Or(%threshold, %stem_act)  # block" in out
    assert json.loads(invoke("inspect", program, "--json")[1])["outputs"] == ["scores", "class"]
    code, out, _ = invoke("inspect", program, "--layers")
    assert code == 0
    assert "total" in out.lower()


@pytest.mark.parametrize("verb", ["models", "executors", "devices"])
def test_listings_print_text_and_json(verb: str, invoke: Invoke) -> None:
    code, out, _ = invoke(verb)
    assert code == 0
    assert len(out.splitlines()) > 4
    assert json.loads(invoke(verb, "--json")[1])[verb]


def test_show_prints_the_recipe_with_its_changes(invoke: Invoke) -> None:
    code, out, _ = invoke("train", "muxnet-digits", "--set", "seed=7", "--show")
    assert code == 0
    assert (json.loads(out)["seed"], json.loads(out)["model"]) == (7, "muxnet-digits")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


BAD_RUN: dict[str, tuple[Callable[[Path], list[Any]], int, str]] = {
    "missing program": (lambda d: ["inspect", d / "none.gfold"], 2, "cannot read .*: No such file"),
    "not a program": (lambda d: ["inspect", write(d / "p", b"hello")], 1, "not a .gfold program"),
    "missing input": (
        lambda d: ["run", d / "tiny.gfold", "--input", d / "x.npy", "--output", d / "y.npy"],
        2,
        "cannot read .*x.npy: No such file",
    ),
    "input is no array": (
        lambda d: ["run", d / "tiny.gfold", "--input", write(d / "x.npy", b"zip"), "--output", d / "y.npy"],
        2,
        "is not an intact .npy or .npz file of plain numbers",
    ),
    "empty input file": (
        lambda d: ["run", d / "tiny.gfold", "--input", write(d / "x.npy", b""), "--output", d / "y.npy"],
        2,
        "is not an intact .npy or .npz file of plain numbers",
    ),
    "unknown executor": (
        lambda d: ["evaluate", d / "tiny.gfold", "--executor", "gpu", "--data", "digits"],
        2,
        f"executor must be one of {', '.join(exporters.executors())}, not 'gpu'",
    ),
    "no executor in verify": (
        lambda d: ["verify", d / "tiny.gfold", "--executors", ","],
        2,
        "--executors must name at least one of interpreter",
    ),
    "unknown executor in verify": (
        lambda d: ["verify", d / "tiny.gfold", "--executors", "packed,gpu"],
        2,
        "not 'gpu'",
    ),
    "no data set": (lambda d: ["evaluate", d / "tiny.gfold"], 2, "names no data set; give one with --data"),
    "wrong data set": (
        lambda d: ["evaluate", d / "tiny.gfold", "--data", "digits"],
        2,
        r"must have shape \(batch, 1, 4, 4\), not \(359, 1, 8, 8\)",
    ),
    "unknown data set": (lambda d: ["evaluate", d / "tiny.gfold", "--data", "cats"], 2, "not 'cats'"),
    "no data directory": (
        lambda d: ["train", "fashion-or", "--data-dir", d / "nowhere"],
        2,
        "data set 'fashion-mnist' is missing: .* --data-dir",
    ),
    "unknown model": (lambda d: ["train", "resnet-9000"], 2, "not 'resnet-9000'"),
    "misspelt recipe": (
        lambda d: ["train", "digits-ternay"],
        2,
        "not 'digits-ternay'; did you mean 'digits-ternary'",
    ),
    "connection of a phase": (
        lambda d: [
            "train",
            "fashion-or",
            "--set",
            "phases.qat.connection=orthogonal",
            "--data-dir",
            d / "nowhere",
        ],
        2,
        "phase qat: connection 'orthogonal' needs linear or orthogonal connections, which model "
        "'ornet-mini' does not have$",
    ),
    "fewer epochs than phases": (
        lambda d: ["train", "resnet-8-digits", "--epochs", 2, "--out", d / "r"],
        2,
        "'resnet-8-digits' has 3 phases and needs at least as many epochs, not 2; use --epochs 3 or more$",
    ),
    "absurd width": (
        lambda d: ["train", "digits-ternary", "--set", "options.width=0", "--out", d / "r"],
        2,
        "width must be within 1..",
    ),
    "unknown recipe key": (
        lambda d: ["train", "digits-ternary", "--set", "sed=1", "--out", d / "r"],
        2,
        "unknown key 'sed'; did you mean 'seed'",
    ),
    "no run": (lambda d: ["lower", d / "nowhere"], 2, "no run directory at"),
    "unwritable output": (
        lambda d: ["export", d / "tiny.gfold", "--to", "onnx", "-o", d / "tiny.gfold" / "x.onnx"],
        2,
        "cannot write .*x.onnx",
    ),
    "output is a device": (
        lambda d: ["export", d / "tiny.gfold", "--to", "onnx", "-o", "/dev/null"],
        2,
        "cannot write /dev/null: it is not a regular file",
    ),
    "program is a run": (lambda d: ["inspect", d], 2, "is a directory; give the program.gfold in it"),
    "truncated npz": (
        lambda d: [
            "run",
            d / "tiny.gfold",
            "--input",
            write(d / "x.npz", b"PK\3\4"),
            "--output",
            d / "y.npy",
        ],
        2,
        "is not an intact .npy or .npz file",
    ),
    "output is a folder": (
        lambda d: ["export", d / "tiny.gfold", "--to", "onnx", "-o", d],
        2,
        "cannot write .*: Is a directory",
    ),
    "unknown exporter": (
        lambda d: ["export", d / "tiny.gfold", "--to", "vhdl", "-o", "x"],
        2,
        "'vhdl' is not",
    ),
    "unknown device": (lambda d: ["report", d / "tiny.gfold", "--device", "abacus"], 2, "abacus"),
    "unknown verb": (lambda d: ["fold"], 2, "No such command 'fold'"),
    "unknown option": (lambda d: ["inspect", d / "tiny.gfold", "--pretty"], 2, "No such option.*--pretty"),
    "other suffix of outputs": (
        lambda d: ["run", d / "tiny.gfold", "--input", d / "x.npy", "--output", d / "y.txt"],
        2,
        r"--output must end in \.npy or \.npz",
    ),
    "input as output": (
        lambda d: ["run", d / "tiny.gfold", "--input", write(d / "x.npy", b"z"), "--output", d / "x.npy"],
        2,
        "--output must be another file than --input",
    ),
    "other suffix of a report": (
        lambda d: ["report", d / "tiny.gfold", "-o", d / "r.pdf"],
        2,
        r"r\.pdf must end in \.html, \.md, \.csv, \.json or \.txt, or --format says what to write",
    ),
    "two formats": (
        lambda d: ["report", d / "tiny.gfold", "--json", "--format", "csv"],
        2,
        "--json and --format csv are two formats; give one",
    ),
    "almost a device": (
        lambda d: ["report", d / "tiny.gfold", "--device", "ice40up5"],
        2,
        "not 'ice40up5'; did you mean ice40up5k",
    ),
    "almost a verb": (
        lambda d: ["exprot", d / "tiny.gfold"],
        2,
        "No such command 'exprot'; did you mean export",
    ),
    "model without images": (
        lambda d: ["verify", d / "tiny.gfold", "--model", d],
        2,
        "--model compares on images: give --data NAME too",
    ),
    "images of no data": (
        lambda d: ["verify", d / "tiny.gfold", "--images", 9],
        2,
        "--images and --data-dir say what of a data set; give --data NAME too",
    ),
    "a folder of no data to verify": (
        lambda d: ["verify", d / "tiny.gfold", "--data-dir", d],
        2,
        "--images and --data-dir say what of a data set; give --data NAME too",
    ),
    "a folder of no data to report": (
        lambda d: ["report", d / "tiny.gfold", "--data-dir", d],
        2,
        "--data-dir says where a data set is; give --data NAME too",
    ),
    "nothing to measure": (
        lambda d: ["report", d / "tiny.gfold", "--device", "ice40up5k", "--measure"],
        2,
        "--measure is of microcontrollers, and no --device is one; name one or leave it out",
    ),
    "nothing to verify": (lambda d: ["verify", d / "tiny.gfold", "--samples", 0], 2, "nothing to verify"),
}


@pytest.mark.parametrize("case", sorted(BAD_RUN))
def test_a_mistake_is_one_line_and_leaves_nothing(
    case: str, program: Path, tmp_path: Path, invoke: Invoke
) -> None:
    make, expected, message = BAD_RUN[case]
    arguments = make(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    code, out, err = invoke(*arguments)
    assert code == expected
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("gatefold: ")
    assert re.search(message, err), err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 4, 4), np.float32), "must hold integers in [0, 16], not float32"),
        (np.zeros((2, 3, 4, 4), np.uint8), "must have shape (batch, 1, 4, 4), not (2, 3, 4, 4)"),
        (np.full((2, 1, 4, 4), 200, np.uint8), "has value 200 outside [0, 16]"),
    ],
)
def test_bad_arrays_are_one_line_and_write_nothing(
    array: np.ndarray, message: str, program: Path, tmp_path: Path, invoke: Invoke
) -> None:
    np.save(tmp_path / "x.npy", array)
    code, _, err = invoke("run", program, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert code == 2
    assert message in err
    assert not (tmp_path / "y.npy").exists()


def test_an_existing_output_survives_a_failure(program: Path, tmp_path: Path, invoke: Invoke) -> None:
    kept = write(tmp_path / "y.npy", b"precious")
    np.save(tmp_path / "x.npy", np.zeros((2, 9), np.uint8))
    assert invoke("run", program, "--input", tmp_path / "x.npy", "--output", kept)[0] == 2
    assert kept.read_bytes() == b"precious"


def test_a_full_disk_is_named(program: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from toolchain.cli import main; main()", "inspect", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "gatefold: cannot read or write the output: No space left on device\n",
    )


def test_termination_ends_what_was_started(tmp_path: Path) -> None:
    """SIGTERM, as of a time limit, ends programs in sessions of their own too."""
    marker = tmp_path / "pid"
    child = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import sys, click; from pathlib import Path; from toolchain.cli.main import cli, main\n"
        "from exporters.tools import run_command\n"
        f"command = sys.executable, '-c', {child!r}\n"
        f"sleep = lambda: run_command(command, Path({str(tmp_path)!r}), 'sleeping', 60)\n"
        "cli.get_command = lambda context, name: click.Command(name, callback=sleep)\n"
        "main(['demo'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not marker.exists() or not marker.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err == "gatefold: terminated; every file left is whole; --resume goes on where a verb has it\n"
    for _ in range(100):
        try:
            os.kill(int(marker.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def test_debug_shows_the_traceback(tmp_path: Path, invoke: Invoke) -> None:
    code, _, err = invoke("inspect", tmp_path / "none.gfold", "--debug")
    assert code == 2
    assert "Traceback" in err


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    code = "from toolchain.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], text=True, check=False, timeout=60, **options
    )


def test_a_full_disk_is_one_line(program: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = command("inspect", program, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet(program: Path) -> None:
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w") as pipe:
        done = command("inspect", program, stdout=pipe, stderr=subprocess.PIPE)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [["inspect", "{p}"], ["inspect", "{p}", "--layers"], ["verify", "{p}"], ["report", "{p}"], ["devices"]],
)
def test_the_base_install_needs_numpy_and_click_alone(program: Path, arguments: list[str]) -> None:
    blocked = ["torch", "onnx", "onnxruntime", "ml_dtypes", "sklearn", "pydantic"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "from toolchain.cli import main; main(sys.argv[1:])"
    )
    arguments = [a.format(p=program) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_missing_extras_say_what_to_install(program: Path, tmp_path: Path) -> None:
    for arguments, extra in (
        (["train", "digits-ternary"], "train"),
        (["models"], "train"),
        (["lower", tmp_path], "train"),
        (["demo"], "all"),
        (["export", program, "--to", "onnx", "-o", tmp_path / "x.onnx"], "onnx"),
        (["verify", program, "--executors", "all"], "onnx"),
    ):
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxruntime', 'pydantic']))\n"
            "from toolchain.cli import main; main(sys.argv[1:])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode in (3, 4), done.stderr
        assert f"pip install 'gatefold[{extra}]'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
