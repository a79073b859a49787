"""The cache of compiled programs: what is not this user's own and intact counts as none."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporters.c99 import cache as module
from exporters.c99.cache import Cache, cache_folder, cache_key, is_private, open_cache

KEY = cache_key({"file": b"this"})
OTHER_KEY = cache_key({"file": b"that"})
CONTENT = bytes(range(256)) * 40
STRANGER = 12345
"""A user who is neither root nor anybody else here."""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache with the entry of ``KEY``."""
    cache = Cache(tmp_path / "c99")
    assert cache.store(KEY, CONTENT)
    return cache


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``path`` belong to somebody else; where only root may do that, let us be somebody else."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- keys and places ---------------------------------------------------------------------------------


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    found = [
        cache_folder({"GATEFOLD_CACHE": "/fast/cache", "XDG_CACHE_HOME": "/xdg"}),
        cache_folder({"GATEFOLD_CACHE": "~/mine"}),
        cache_folder({"XDG_CACHE_HOME": "/xdg"}),
        cache_folder({}, "linux"),
        cache_folder({}, "darwin"),
        cache_folder({"LOCALAPPDATA": "/app"}, "win32"),
    ]
    assert [path.as_posix() for path in found] == [
        "/fast/cache",
        "/home/ann/mine",
        "/xdg/gatefold",
        "/home/ann/.cache/gatefold",
        "/home/ann/Library/Caches/gatefold",
        "/app/gatefold",
    ]


def test_a_key_depends_on_every_name_and_byte_and_on_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"bd"}, {"a": b""}, {}]
    keys = [cache_key(part) for part in parts]
    assert len(set(keys)) == len(keys)
    assert cache_key({"a": b"1", "b": b"2"}) == cache_key({"b": b"2", "a": b"1"})
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    assert cache_key(parts[0]) != keys[0]


# --- good entries ------------------------------------------------------------------------------------


def test_what_is_stored_comes_back_and_is_private(cache: Cache) -> None:
    assert cache.load(KEY) == CONTENT
    assert cache.load(OTHER_KEY) is None
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(cache.path(KEY).stat().st_mode) == 0o600


def test_a_umask_of_zero_opens_nothing(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        cache = Cache(tmp_path / "c99")
        assert cache.store(KEY, CONTENT)
    finally:
        os.umask(mask)
    assert cache.load(KEY) == CONTENT
    assert is_private(cache.folder)


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made: list[str] = []
    cache = Cache(tmp_path / "c99")
    for key in (KEY, OTHER_KEY, KEY, OTHER_KEY):
        assert cache.obtain(key, lambda key=key: made.append(key) or key.encode()) == key.encode()
    assert made == [KEY, OTHER_KEY]


def test_a_failed_compilation_stores_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c99")
    with pytest.raises(KeyboardInterrupt):
        cache.obtain(KEY, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not cache.folder.exists()


# --- entries that are never loaded -------------------------------------------------------------------


def change(edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(edit(path.read_bytes())) and None


def flip(position: int) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        at = position % len(data)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return edit


def link(path: Path) -> None:
    real = path.with_name("real")
    path.rename(real)
    path.symlink_to(real)


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        path.unlink()
        make(path)

    return act


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": change(lambda data: data[:-1]),
    "cut in the first line": change(lambda data: data[:20]),
    "empty": change(lambda data: b""),
    "longer": change(lambda data: data + b"\0"),
    "flipped last bit": change(flip(-1)),
    "flipped middle bit": change(flip(5000)),
    "flipped bit of the first line": change(flip(2)),
    "wrong digest": change(lambda data: data.replace(b'"sha256": "', b'"sha256": "0', 1)),
    "digest of other content": change(lambda data: data.split(b"\n", 1)[0] + b"\n" + CONTENT[::-1]),
    "entry of another key": change(lambda data: data.replace(KEY.encode(), OTHER_KEY.encode(), 1)),
    "another format": change(lambda data: data.replace(b'"format": 1', b'"format": 0', 1)),
    "object alone": change(lambda data: CONTENT),
    "symbolic link": link,
    "dangling link": replace_by(lambda path: path.symlink_to("nowhere")),
    "folder": replace_by(lambda path: (path / "inner").mkdir(parents=True)),
    "pipe": replace_by(os.mkfifo),
    "writable by the group": lambda path: path.chmod(0o620),
    "writable by all": lambda path: path.chmod(0o602),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_anew_and_replaced(damage: str, cache: Cache) -> None:
    DAMAGES[damage](cache.path(KEY))
    assert cache.load(KEY) is None
    assert cache.obtain(KEY, lambda: b"new") == b"new"
    assert cache.load(KEY) == b"new"
    assert stat.S_ISREG(cache.path(KEY).lstat().st_mode)


def test_an_entry_of_another_user_is_made_anew_and_replaced(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        give_away(cache.path(KEY), patch)
        assert cache.load(KEY) is None
        assert cache.obtain(KEY, lambda: CONTENT) == CONTENT
    assert cache.load(KEY) == CONTENT


def test_an_entry_larger_than_the_cache_is_not_read(cache: Cache) -> None:
    with cache.path(KEY).open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it would take memory without end
    assert cache.load(KEY) is None


# --- folders that are never used ---------------------------------------------------------------------


def linked(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


FOLDERS: dict[str, Callable[[Path], None]] = {
    "writable by the group": lambda folder: folder.chmod(0o770),
    "writable by all": lambda folder: folder.chmod(0o1777),
    "symbolic link": linked,
}


@pytest.mark.parametrize("kind", [*FOLDERS, "of another user"])
def test_a_folder_that_others_may_write_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEFOLD_CACHE", str(tmp_path))
    cache = open_cache()
    assert cache.folder == tmp_path / "c99"
    assert cache.store(KEY, CONTENT)
    before = cache.path(KEY).read_bytes()
    if kind in FOLDERS:
        FOLDERS[kind](cache.folder)
    else:
        give_away(cache.folder, monkeypatch)
    assert cache.load(KEY) is None
    assert cache.obtain(KEY, lambda: b"new") == b"new"
    assert cache.path(KEY).read_bytes() == before
    assert names(cache.folder) == [cache.path(KEY).name]
    assert open_cache().folder != cache.folder


def test_a_cache_that_cannot_be_written_is_replaced_by_one_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    places = [str(tmp_path / "file"), str(tmp_path / "file" / "below"), "/proc/nowhere", "~nobody-here/x"]
    for place in places:
        monkeypatch.setenv("GATEFOLD_CACHE", place)
        cache = open_cache()
        assert is_private(cache.folder)
        assert cache.obtain(KEY, lambda: CONTENT) == CONTENT
        assert cache.load(KEY) == CONTENT
        cache.path(KEY).unlink()
    broken = Cache(tmp_path / "file" / "c99")
    assert broken.obtain(KEY, lambda: CONTENT) == CONTENT
    assert not broken.store(KEY, CONTENT)


def test_a_write_that_fails_leaves_the_old_entry_and_nothing_else(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        assert not cache.store(KEY, b"new")
    assert cache.load(KEY) == CONTENT
    assert names(cache.folder) == [cache.path(KEY).name]


# --- limits ------------------------------------------------------------------------------------------


def aged(cache: Cache, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(cache.path(key), (then, then))


def test_the_entries_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c99", entries=3)
    for number in range(3):
        cache.store(str(number), b"x")
        aged(cache, str(number), 100 - number)
    assert cache.load("0") == b"x"  # used just now
    cache.store("3", b"x")
    assert names(cache.folder) == ["0.entry", "2.entry", "3.entry"]


def test_bytes_are_limited_too_but_the_newest_entry_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c99", size=3000)
    for number in range(4):
        cache.store(str(number), bytes(1000))
        aged(cache, str(number), 100 - number)
    assert names(cache.folder) == ["2.entry", "3.entry"]
    cache.store("4", bytes(5000))
    assert names(cache.folder) == ["4.entry"]


def test_what_interrupted_writers_left_goes_after_a_day(cache: Cache) -> None:
    for name, age in (("old.tmp", 25), ("new.tmp", 1)):
        path = cache.folder / name
        path.write_text("")
        os.utime(path, (time.time() - age * 3600,) * 2)
    cache.prune()
    assert names(cache.folder) == [cache.path(KEY).name, "new.tmp"]
