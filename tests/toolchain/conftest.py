"""The command line in this process, as every test of a verb runs it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolchain.cli import main
from toolchain.data import Dataset, load

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The small data set that comes with the install. Tests only read it."""
    return load("digits")


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Run the command in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call
