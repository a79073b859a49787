"""Studies that are killed, interrupted, shared among workers, or fail in part; and the command line."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runtime.serialize import load
from tests.pruning_studies import DATABASE, RECIPE, assert_same_study, queue_of
from tests.training_runs import GATEFOLD, NEVER, ROOT, python, stop_each, weights
from toolchain.cli import main

torch.set_num_threads(1)

STUDY = ["--rounds", 2, "--accuracy", "both", "--early-epochs", 3, "--patience", 1]
JOBS = 7

MKSTEMP, RENAME = "tempfile.mkstemp", "os.rename"

STOPS = {
    "in the middle of the chain": ("SIGKILL", MKSTEMP, ".checkpoint.pt.", 7),
    "before a result is put in its place": ("SIGKILL", RENAME, "/result.json'", 3),
    "before the masks are put in their place": ("SIGKILL", RENAME, "/masks/round-01.pt'", 1),
    "before a finished job is told": ("SIGKILL", "open", "study.lock", 6),
    "before the results are put in their place": ("SIGKILL", RENAME, "/results.json'", 1),
    "as Ctrl-C does": ("SIGINT", MKSTEMP, ".checkpoint.pt.", 4),
}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


BEGINNER = ("SIGKILL", MKSTEMP, ".recipe.json.", 1)

WORKERS = {"one of two workers": ("SIGKILL", MKSTEMP, ".model.pt.", 2), "the other worker": NEVER}
"""They start at once, in the study that the beginner left."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory, recipe_file):
    """By moment: exit code, directory and log of a study that was stopped there; ``""`` was not."""
    folder = tmp_path_factory.mktemp("studies")
    stops = {**STOPS, "": NEVER, "the beginner": BEGINNER}
    places = {moment: (folder / f"study{n}", folder / f"log{n}") for n, moment in enumerate(stops)}
    places |= {worker: (places["the beginner"][0], folder / worker) for worker in WORKERS}
    jobs = {
        moment: (stop, places[moment][1], ["prune", recipe_file, *STUDY, "--out", places[moment][0]])
        for moment, stop in (stops | WORKERS).items()
    }
    for worker in WORKERS:
        jobs[worker][2].append("--resume")
    groups = [*([jobs[moment]] for moment in stops), [jobs[worker] for worker in WORKERS]]
    codes = stop_each(groups, ["toolchain.pruning.study", "toolchain.pruning.plot", *DATABASE])
    return {moment: (code, *places[moment]) for moment, code in zip(jobs, codes, strict=True)}


@pytest.fixture(scope="module")
def reference(studies) -> Path:
    """The study that was not stopped."""
    code, directory, log = studies[""]
    assert code == 0, log.read_text()
    return directory


def test_a_study_prints_a_line_for_every_run_and_a_table(studies, reference):
    lines = studies[""][2].read_text().splitlines()
    assert [line.split()[0] for line in lines[:JOBS]] == [f"{n}/{JOBS}" for n in range(1, JOBS + 1)]
    assert re.fullmatch(r"3/7 ornet-digits/seed-0/chain/round-01: \d+\.\d\d %, \d+\.\d s", lines[2])
    assert re.split(r"\s{2,}", lines[JOBS].strip()) == [
        "network",
        "round",
        "remaining %",
        "last epoch %",
        "early stopping %",
    ]
    first = lines[JOBS + 2].split()
    assert first[:3] == ["ornet-digits", "0", "100.00"]
    assert lines[-2] == "remaining: % of the 4,851 parameters of the dense real network"
    assert lines[-1] == f"{reference}: runs, results.json, results.csv, accuracy.png"


def test_a_study_leaves_its_results(reference):
    content = json.loads((reference / "results.json").read_text())
    assert content["reference_parameters"] == 4851
    assert content["settings"]["protocol"] == "continue"
    with (reference / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["tickets"]) == 6
    for row, ticket in zip(rows, content["tickets"], strict=True):
        assert {key: str(value) for key, value in ticket.items()} == row
        result = json.loads((reference / ticket["run"] / "result.json").read_text())
        assert (result["accuracy"], result["epoch"]) == (ticket["accuracy"], ticket["epoch"])
    assert (reference / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    names = sorted(path.name for path in reference.iterdir())
    files = ["accuracy.png", "results.csv", "results.json", "study.db", "study.json", "study.lock"]
    assert names == sorted([*files, "ornet-digits", "workers"])
    assert list((reference / "workers").iterdir()) == []


@pytest.mark.parametrize("moment", STOPS)
def test_a_study_stopped_at_any_moment_resumes_to_the_same_weights(
    studies, reference, recipe_file, invoke, moment
):
    code, directory, log = studies[moment]
    assert code == (130 if STOPS[moment][0] == "SIGINT" else -signal.SIGKILL), log.read_text()
    done = {path.parent: path.stat().st_mtime_ns for path in directory.rglob("result.json")}
    assert len(done) < JOBS or moment == "before the results are put in their place"
    code, _, err = invoke("prune", recipe_file, *STUDY, "--out", directory, "--resume")
    assert code == 0, err
    assert_same_study(directory, reference)
    assert {run: (run / "result.json").stat().st_mtime_ns for run in done} == done, "none is repeated"
    finished, _ = queue_of(directory)
    assert set(finished.values()) == {1}
    assert not list(directory.rglob(".*.tmp"))


def test_an_interruption_is_told_in_one_line(studies):
    _, _, log = studies["as Ctrl-C does"]
    last = log.read_text().splitlines()[-1]
    assert last == "gatefold: interrupted; every file left is whole; --resume goes on where a verb has it"


def start(*command: object) -> subprocess.Popen[str]:
    """Python in a process of its own, in a session of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", *map(str, command)]
    return subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_workers_that_start_at_once_share_the_jobs_and_one_takes_up_what_a_killed_one_left(
    studies, reference
):
    assert studies["the beginner"][0] == -signal.SIGKILL
    codes, directories, logs = zip(*(studies[worker] for worker in WORKERS), strict=True)
    told = [log.read_text() for log in logs]
    assert codes == (-signal.SIGKILL, 0), told
    runs = [re.findall(rf"^\d/{JOBS} (.*):", text, re.MULTILINE) for text in told]
    assert len(runs[0] + runs[1]) == len({*runs[0], *runs[1]}) == JOBS
    assert len(told[0].splitlines()) == len(runs[0]) == 1, "the other one did the rest"
    directory = directories[0]
    assert_same_study(directory, reference)
    finished, states = queue_of(directory)
    assert set(finished.values()) == {1}
    assert states == {"COMPLETE": JOBS, "FAIL": 2}, "two were killed, and no job was taken twice"


def test_local_workers_end_with_an_interruption_and_share_the_jobs(tmp_path, reference, recipe_file, capfd):
    directory = tmp_path / "study"
    arguments = ["prune", recipe_file, *STUDY, "--out", directory, "--workers", 2]
    process = start(GATEFOLD, *arguments)
    while not list(directory.rglob("checkpoint.pt")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate()[1]
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("gatefold: interrupted; every file left is whole")
    assert "Traceback" not in error
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments), "--resume"])
    error = capfd.readouterr().err
    assert not caught.value.code, error
    assert "failed" not in error
    assert_same_study(directory, reference)
    assert set(queue_of(directory)[0].values()) == {1}


def test_a_failing_run_is_told_and_the_others_go_on(tmp_path, recipe_file, invoke):
    directory = tmp_path / "study"
    place = directory / "ornet-digits/seed-1/last/round-00"
    place.parent.mkdir(parents=True)
    place.write_text("in the way")
    arguments = ["prune", recipe_file, "--rounds", 1, "--seeds", "0,1", "--out", directory]
    code, out, err = invoke(*arguments, "--json")
    assert code == 1
    reason = f"{place} must be a directory; choose another --out"
    run = "ornet-digits/seed-1/last/round-00"
    assert err == f"gatefold: 1 of 4 runs failed, the first {run}: {reason}\n"
    found = json.loads(out)
    assert found["failed"] == {run: reason}
    assert [ticket["seed"] for ticket in found["tickets"]] == [0, 0]
    assert [(point["round"], point["seeds"]) for point in found["points"]] == [(0, 1), (1, 1)]
    code, _, err = invoke(*arguments, "--resume")
    assert (code, err.splitlines()[0]) == (1, f"2/4 {run}: failed: {reason}"), "it is tried again"
    place.unlink()
    code, out, err = invoke(*arguments, "--resume")
    assert (code, len(err.splitlines())) == (0, 2)
    assert " +- " in out
    assert queue_of(directory)[1] == {"COMPLETE": 4, "FAIL": 2}


def test_a_run_that_is_no_longer_finite_is_told(tmp_path, recipe_file, invoke):
    wild = ["--set", "optimizer.kind=sgd", "--set", "phases.qat.learning_rate=1e30"]
    code, out, err = invoke("prune", recipe_file, *wild, "--rounds", 1, "--out", tmp_path / "study")
    assert code == 1
    line, last = err.splitlines()
    assert line.startswith("0/2 ornet-digits/seed-0/last/round-00: failed: the loss must stay finite, it ")
    assert last.startswith(
        "gatefold: 1 of 2 runs failed, the first ornet-digits/seed-0/last/round-00: the loss"
    )
    assert not (tmp_path / "study/accuracy.png").exists()
    assert "remaining: % of" in out


def test_a_study_of_other_settings_is_refused(reference, recipe_file, invoke, tmp_path):
    arguments = ["prune", recipe_file, *STUDY, "--out", reference]
    path = reference / "study.json"
    cases = [
        ([], f"{reference} already holds a study; go on with --resume, or choose another --out"),
        (
            ["--resume", "--share", 0.3],
            f"{path} belongs to another study: its share is 0.2, not 0.3; "
            "resume with the options of the study, or choose another --out",
        ),
        (
            ["--resume", "--set", "phases.qat.learning_rate=0.5"],
            f"{path} belongs to another study: its recipe.phases.qat.learning_rate is 0.01, not 0.5; "
            "resume with the options of the study, or choose another --out",
        ),
        (
            ["--resume", "--storage", f"sqlite:///{tmp_path}/own.db"],
            f"{path} has its jobs in another database; leave out --storage",
        ),
        (
            ["--resume", "--out", tmp_path / "none"],
            f"nothing to resume: {tmp_path / 'none'} holds no study; leave out --resume to start one",
        ),
        (
            ["--out", recipe_file],
            f"{recipe_file} must be a directory; choose another --out",
        ),
    ]
    for options, message in cases:
        assert invoke(*arguments, *options) == (2, "", f"gatefold: {message}\n")


def test_a_study_can_keep_its_jobs_in_any_database(tmp_path, recipe_file, invoke):
    url = f"sqlite:///{tmp_path}/jobs.db"
    arguments = ["prune", recipe_file, "--rounds", 0, "--out", tmp_path / "study"]
    assert invoke(*arguments, "--storage", url)[0] == 0
    assert (tmp_path / "jobs.db").exists()
    assert not (tmp_path / "study/study.db").exists()
    path = tmp_path / "study/study.json"
    message = f"gatefold: {path} has its jobs in another database; give its --storage\n"
    assert invoke(*arguments, "--resume") == (2, "", message)
    code, _, err = invoke(*arguments, "--resume", "--storage", "nothing://here")
    assert code == 2
    assert err.startswith("gatefold: --storage must be a database that can be opened: ")
    assert len(err.splitlines()) == 1


def test_a_damaged_queue_is_told_and_made_anew(tmp_path, recipe_file, invoke):
    directory = tmp_path / "study"
    arguments = ["prune", recipe_file, "--rounds", 1, "--out", directory]
    assert invoke(*arguments)[0] == 0
    (directory / "study.db").write_bytes(b"no database" * 100)
    code, _, err = invoke(*arguments, "--resume")
    assert code == 2
    assert err.startswith(f"gatefold: {directory / 'study.db'} must be a database that can be opened: ")
    assert err.endswith("; delete it, --resume makes it anew\n")
    (directory / "study.db").unlink()
    assert invoke(*arguments, "--resume")[::2] == (0, ""), "nothing is trained again"
    (directory / "study.json").write_text("{}")
    message = f"{directory / 'study.json'} is damaged or of another version; choose another --out"
    assert invoke(*arguments, "--resume") == (2, "", f"gatefold: {message}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--seeds", "0,one"],
            "Invalid value for '--seeds': must be whole numbers with commas between them, ",
        ),
        (["--algebra", "real"], "model 'ornet-digits' has no option 'algebra'; leave out --algebra"),
        (["--rounds", "-1"], "pruning: rounds: input should be greater than or equal to 0, not -1"),
        (
            ["--accuracy", "best"],
            "Invalid value for '--accuracy': 'best' is not one of 'last', 'early', 'both'",
        ),
        (
            ["--set", "options.levels=4"],
            "ornet-digits network of model 'ornet-digits': layer stem.conv: only weights with an ",
        ),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_written(tmp_path, recipe_file, invoke, options, message):
    code, out, err = invoke("prune", recipe_file, *options, "--out", tmp_path / "study")
    assert (code, out) == (2, "")
    assert err.startswith(f"gatefold: {message}")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_a_quantized_ticket_is_lowered_like_any_other_run(reference, tmp_path, invoke):
    run, program = reference / "ornet-digits/seed-0/last/round-02", tmp_path / "ticket.gfold"
    assert invoke("lower", run, "-o", program)[0] == 0
    zeros = sum(int((~mask).sum()) for name, mask in weights(run).items() if name.endswith(".mask"))
    codes = [node.op.weights.codes for node in load(program).nodes if hasattr(node.op, "weights")]
    assert sum(int((code == 0).sum()) for code in codes) >= zeros > 1000


def test_torchrun_is_refused(tmp_path, recipe_file, invoke, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = "gatefold: gatefold prune must be started without torchrun; use --workers\n"
    assert invoke("prune", recipe_file, "--out", tmp_path / "study") == (2, "", message)


@pytest.mark.parametrize("package", ["optuna", "matplotlib"])
def test_a_missing_package_is_told_in_one_line(tmp_path, recipe_file, package):
    hide = f"import sys; sys.modules[{package!r}] = None; {GATEFOLD}"
    done = python("-c", hide, "prune", recipe_file, "--out", tmp_path / "study")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"gatefold: pruning needs {package}: pip install 'gatefold[prune]'\n"
    assert not (tmp_path / "study").exists()
