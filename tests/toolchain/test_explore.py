"""Explorations that are killed, shared among workers, or limited; and the command line."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import pytest
import torch

from runtime.serialize import load
from tests.explorations import RECIPE, SPACE, states
from tests.pruning_studies import DATABASE
from tests.training_runs import GATEFOLD, NEVER, python, stop_each

torch.set_num_threads(1)

TRIALS = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def words(files) -> list[object]:
    limit = ["--max", "gates=40000", "--trials", TRIALS]
    return ["explore", files / "tiny.toml", "--space", files / "space.toml", *limit]


@pytest.fixture(scope="module")
def explorations(tmp_path_factory, words):
    """Exit code, directory and log: of one that went through, of one killed as it wrote a program, and of
    three of one exploration: one killed as it begins, then two at once, of which one is killed."""
    folder = tmp_path_factory.mktemp("explorations")
    stops = {
        "whole": (0, NEVER),
        "killed": (1, ("SIGKILL", "os.rename", "program.gfold'", 2)),
        "beginner": (2, ("SIGKILL", "tempfile.mkstemp", ".checkpoint.pt.", 1)),
        "killed worker": (2, ("SIGKILL", "tempfile.mkstemp", ".checkpoint.pt.", 3)),
        "other worker": (2, NEVER),
    }
    places = {name: (folder / f"found{number}", folder / name) for name, (number, _) in stops.items()}
    jobs = {
        name: (stop, places[name][1], [*words, "--out", places[name][0]])
        for name, (_, stop) in stops.items()
    }
    for worker in ("killed worker", "other worker"):
        jobs[worker][2].append("--resume")
    groups = [["whole"], ["killed"], ["beginner"], ["killed worker", "other worker"]]
    codes = stop_each(
        [[jobs[name] for name in group] for group in groups],
        ["toolchain.explore.exploration", "toolchain.explore.plot", *DATABASE],
    )
    return {name: (code, *places[name]) for name, code in zip(jobs, codes, strict=True)}


@pytest.fixture(scope="module")
def reference(explorations) -> Path:
    """The one that went through."""
    code, directory, log = explorations["whole"]
    assert code == 0, log.read_text()
    return directory


def found(directory: Path) -> dict:
    return json.loads((directory / "front.json").read_text())


def test_an_exploration_leaves_tables_pictures_and_a_front(reference):
    content = found(reference)
    counts = content["counts"]
    assert counts["trained"] == counts["finished"] + counts["stopped"] == TRIALS
    assert counts["rejected"] > 0
    assert set(content) == {"settings", "measure", "counts", "front", "trials", "references"}
    trials = {trial["run"]: trial for trial in content["trials"]}
    assert content["front"]
    for point in content["front"]:
        assert point == trials[point["run"]]
        assert point["cost"]["measures"]["gates"] <= 40000
        assert 0 <= point["test_accuracy"] <= 1
        assert (point["fate"], point["epochs"], len(point["curve"])) == ("finished", 3, 3)
    accuracies = [point["accuracy"] for point in content["front"]]
    assert accuracies == sorted(accuracies)
    with (reference / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == list(trials)
    assert all(row["options.width"] for row in rows)
    with (reference / "front.csv").open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == [p["run"] for p in content["front"]]
    assert (reference / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (reference / "front.svg").read_text()
    assert list((reference / "workers").iterdir()) == []


def test_what_cannot_fit_is_rejected_before_it_is_trained(reference):
    for trial in found(reference)["trials"]:
        excess = (trial["untrained_cost"] or trial["cost"])["excess"]
        assert (excess > 0.1) == (trial["fate"] == "rejected")
        assert (reference / trial["run"]).exists() == (trial["fate"] != "rejected")


def test_each_point_of_the_front_is_a_ready_run(reference, invoke):
    for point in found(reference)["front"]:
        run = reference / point["run"]
        assert json.loads((run / "result.json").read_text())["validation_accuracy"] == point["accuracy"]
        assert not (run / "checkpoint.pt").exists()
        command = json.loads((run / "commands.json").read_text())["commands"]
        assert f"--set options.width={point['point']['options.width']}" in command[0]
    program = run / "program.gfold"
    assert load(program).metadata["accuracy"] == point["test_accuracy"]
    code, out, err = invoke("verify", program, "--data", "digits", "--model", run, "--executors", "packed")
    assert code == 0, out + err
    assert invoke("lower", run, "-o", run / "again.gfold")[0] == 0


def test_a_killed_exploration_goes_on_with_the_same_trials(explorations, reference, words, invoke):
    code, directory, log = explorations["killed"]
    assert code == -signal.SIGKILL, log.read_text()
    assert states(directory)["RUNNING"] == 1
    code, _, err = invoke(*words, "--out", directory, "--resume")
    assert code == 0, err
    ours, theirs = found(directory), found(reference)
    for trial in (*ours["trials"], *theirs["trials"], *ours["front"], *theirs["front"]):
        trial["seconds"] = 0
    assert ours == theirs
    assert states(directory) == states(reference)
    assert not list(directory.rglob(".*.tmp"))


def test_of_two_workers_one_takes_over_what_the_killed_one_left(explorations):
    codes, directories, logs = zip(*list(explorations.values())[2:], strict=True)
    assert codes == (-signal.SIGKILL, -signal.SIGKILL, 0), [log.read_text() for log in logs]
    directory = directories[0]
    content = found(directory)
    assert content["counts"]["trained"] == TRIALS
    assert content["counts"]["running"] == content["counts"]["failed"] == 0
    points = [json.dumps(trial["point"], sort_keys=True) for trial in content["trials"]]
    assert len(set(points)) == len(points), "no trial is doubled"
    runs = {trial["run"] for trial in content["trials"] if trial["fate"] != "rejected"}
    assert {f"trials/{path.name}" for path in (directory / "trials").iterdir()} == runs, "none is lost"
    assert set(states(directory)) <= {"COMPLETE", "FAIL"}


def test_a_front_can_be_refined_by_local_workers(tmp_path, words, invoke):
    directory = tmp_path / "found"
    options = ["--trials", 2, "--refine", 4, "--workers", 2, "--sampler", "random", "--json"]
    code, out, err = invoke(*words, *options, "--out", directory)
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["exploration"] == str(directory)
    again = [trial for trial in content["trials"] if trial["refines"] is not None]
    points = {int(t["run"][-4:]): t["point"] for t in content["trials"]}
    assert all(t["point"] == points[t["refines"]] for t in again)
    # Which of two finishes first varies, and so whether the other one is stopped behind it.
    finished = [t for t in again if t["fate"] == "finished"]
    assert content["counts"]["refined"] == len(finished) > 0
    assert all(t["epochs"] == 4 for t in finished)
    alone = [*words, *options, "--workers", 1, "--out", directory, "--resume"]
    assert invoke(*alone)[1] == out, "there is nothing left to do"
    longer = json.loads(invoke(*alone, "--refine", 5)[1])
    more = [trial for trial in longer["trials"] if trial not in content["trials"]]
    assert {trial["refines"] for trial in more} <= {trial["refines"] for trial in again}
    assert "finished" in {trial["fate"] for trial in more if trial["epochs"] == 5}


def test_a_space_that_is_explored_completely_ends_the_search(tmp_path, files, invoke):
    space = tmp_path / "two.toml"
    space.write_text("options.width = [2, 3]\n")
    options = ["--space", space, "--epochs", 2, "--sampler", "nsga2", "--out", tmp_path / "found"]
    code, out, err = invoke("explore", files / "tiny.toml", *options)
    assert code == 0, err
    assert "2 trials trained" in out
    assert out.splitlines()[-1] == (
        f"{tmp_path / 'found'}: trials/, front.csv, front.json, trials.csv, front.png, front.svg"
    )


def test_when_nothing_fits_the_nearest_is_told(tmp_path, files, invoke):
    space = tmp_path / "two.toml"
    space.write_text("options.width = [2, 3]\n")
    options = ["--space", space, "--fit", "atmega328p", "--max", "gates=1000", "--out", tmp_path / "found"]
    code, out, err = invoke("explore", files / "tiny.toml", *options)
    assert (code, out) == (2, "")
    assert err.startswith("gatefold: none of 2 networks of the space fits, the nearest: gates ")
    assert err.endswith(" of 1,000; allow more with --fit or --max, or widen the space\n")


def test_another_study_and_a_broken_storage_are_told(tmp_path, reference, words, files, invoke):
    path = reference / "study.json"
    cases = [
        ([], f"{reference} already holds a study; go on with --resume, or choose another --out"),
        (
            ["--resume", "--objective", "bytes"],
            f"{path} belongs to another study: its objective is 'gates', not 'bytes'; "
            "resume with the options of the study, or choose another --out",
        ),
        (
            ["--resume", "--out", tmp_path / "none"],
            f"nothing to resume: {tmp_path / 'none'} holds no study; leave out --resume to start one",
        ),
        (["--fit", "ice41"], "device must be one of "),
    ]
    for options, message in cases:
        code, out, err = invoke(*words, "--out", reference, *options)
        assert (code, out) == (2, "")
        assert err.startswith(f"gatefold: {message}")
    pruned = ["prune", files / "tiny.toml", "--rounds", 0, "--out", reference, "--resume"]
    message = f"gatefold: {path} belongs to a study of gatefold explore; choose another --out\n"
    assert invoke(*pruned) == (2, "", message)
    out = tmp_path / "broken"
    out.mkdir()
    (out / "study.db").write_bytes(b"no database" * 100)
    code, _, err = invoke(*words, "--out", out)
    assert code == 2
    assert err.startswith(f"gatefold: {out / 'study.db'} must be a database that can be opened: ")
    assert err.endswith("; its trials are lost with it, so choose another --out\n")


@pytest.mark.parametrize("package", ["optuna", "matplotlib"])
def test_a_missing_package_is_told_in_one_line(tmp_path, words, package):
    hide = f"import sys; sys.modules[{package!r}] = None; {GATEFOLD}"
    done = python("-c", hide, *words, "--out", tmp_path / "found")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"gatefold: exploration needs {package}: pip install 'gatefold[explore]'\n"
    assert not (tmp_path / "found").exists()
