"""Writing at once or not at all."""

import os
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.files import atomic_write


def put(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def fail_halfway(path: Path, error: type[BaseException]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_is_replaced_with_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "ü.txt"
    put(path, "old")
    put(path, "new")
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert list(path.parent.iterdir()) == [path]


def test_a_link_keeps_pointing_at_what_was_written(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    put(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_failure_or_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    put(path, "old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail_halfway(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*file: No space left on device"),
        atomic_write(tmp_path / "file"),
    ):
        Path("/dev/full").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, Path("/dev/null")):
        with pytest.raises(InputError, match=r"cannot write .*: it is not a regular file"):
            put(place, "x")
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()


def test_a_place_below_a_file_is_told(tmp_path: Path) -> None:
    put(tmp_path / "file", "x")
    with pytest.raises(
        InputError, match=r"cannot write .*file/below: .* is not a directory|Not a directory"
    ):
        put(tmp_path / "file" / "below", "x")
