"""What the tests of training share: looking at run directories, and training in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]

FINISHED = ["checkpoint.pt", "metrics.jsonl", "model.pt", "recipe.json", "result.json", "run.lock"]

GATEFOLD = "from toolchain.cli import main; main()"

STOP = """
import importlib, json, os, resource, signal, sys
import torch._dynamo  # as an optimizer does
from toolchain.cli import main
from toolchain.data import load
from toolchain.training import train

def stop_at(how, event, name, count):
    def stop(found, arguments):
        nonlocal count
        if found == event and name in str(arguments):
            count -= 1
            if count == 0 and how == "SIGXFSZ":
                # Files may not grow past 4 KiB from here on: the process ends in the middle of writing one.
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            elif count == 0:
                os.kill(os.getpid(), getattr(signal, how))
    sys.addaudithook(stop)
"""
"""Stops a process in the way ``how`` as soon as Python has announced the audit event ``event`` about
``name`` for the ``count``-th time: before a file is renamed, say."""

STOP_FIRST_RANK = f"""{STOP}
if os.environ["RANK"] == "0":
    stop_at(*json.loads(sys.argv[1]))
main(sys.argv[2:])
"""

STOP_EACH = f"""{STOP}
load("digits")
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
for group in json.loads(sys.argv[1]):
    children = []
    for stop, log, arguments in group:
        child = os.fork()
        if not child:
            for stream in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            # A shell without job control starts background jobs, and all they start, with SIGINT ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            stop_at(*stop)
            main(arguments)
        children.append(child)
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Stop = tuple[str, str, str, int]
"""The arguments of ``stop_at``."""

Job = tuple[Stop, Path, Sequence[object]]
"""Where the command line is stopped, its log, and its arguments."""

NEVER: Stop = ("SIGKILL", "never", "", 1)


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with one thread and this repository on its path."""
    path = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path.strip(os.pathsep), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def gatefold(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return python("-c", GATEFOLD, *arguments, **environment)


def stop_each(groups: Sequence[Sequence[Job]], modules: Sequence[str] = ()) -> list[int]:
    """Run the command line once for every job, those of a group at once; the exit codes of all.

    All are forks of one process, as loading torch, and the ``modules`` that they need besides, takes longer
    than they do.
    """
    plain = [[(stop, str(log), list(map(str, words))) for stop, log, words in group] for group in groups]
    done = python("-c", STOP_EACH, json.dumps(plain), json.dumps(modules))
    return [int(code) for code in done.stdout.split()]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """The chosen weights of a run."""
    state: dict[str, torch.Tensor] = torch.load(directory / "model.pt", weights_only=True)
    return state


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(directory: Path, reference: Path) -> None:
    """Bit for bit the same weights, and the same metrics but for the time taken."""
    ours, theirs = weights(directory), weights(reference)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    timeless = [[line | {"seconds": 0} for line in metrics(d)] for d in (directory, reference)]
    assert timeless[0] == timeless[1]


def copy_run(source: Path, target: Path) -> Path:
    """A run directory with the same files."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target
