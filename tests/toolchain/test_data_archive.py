"""Data sets published as one archive: fetched once, checked, taken apart safely, resumed after a stop."""

import dataclasses
import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest

from runtime.errors import InputError
from tests.published import serve
from toolchain.data.archive import Archive, extract_members, fetch_members
from toolchain.data.download import RemoteFile
from toolchain.data.record_source import CIFAR_10, STL_10

CIFAR_CONTENTS = {
    name: bytes([label]) + bytes(range(256)) * 12
    for label, name in enumerate(
        name for batch in (*CIFAR_10.train, *CIFAR_10.test) for name in batch.files
    )
}
STL_CONTENTS = {
    "train_X.bin": bytes(range(256)) * 108 * 2,
    "train_y.bin": b"\x01\x02",
    "test_X.bin": bytes(range(256)) * 108,
    "test_y.bin": b"\x0a",
}
EXTRA = {"batches.meta.txt": b"airplane\n", "unlabeled_X.bin": bytes(3 * 96 * 96)}


def entry(name, content=b"", **attributes):
    """A header and content for ``write_tar``."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def write_tar(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))


def publish(source, contents, site, url):
    """The row of a data set, but published from ``site`` at ``url``: ``contents`` and more."""
    folder = source.archive.folder
    path = site / source.archive.file.name
    write_tar(
        path,
        [
            entry(folder, type=tarfile.DIRTYPE),
            *(entry(f"{folder}/{name}", content) for name, content in {**contents, **EXTRA}.items()),
        ],
    )
    packed = path.read_bytes()
    remote = RemoteFile(path.name, len(packed), hashlib.sha256(packed).hexdigest())
    members = {name: len(content) for name, content in contents.items()}
    return dataclasses.replace(source, archive=Archive(url, remote, folder, members))


@pytest.fixture(autouse=True)
def private_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEFOLD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    with serve(tmp_path / "site") as url:
        yield url


@pytest.fixture
def cifar(tmp_path):
    """CIFAR-10 with one image a batch, published without a server."""
    return publish(CIFAR_10, CIFAR_CONTENTS, tmp_path / "site", (tmp_path / "site").as_uri() + "/")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(("row", "contents"), [(CIFAR_10, CIFAR_CONTENTS), (STL_10, STL_CONTENTS)])
def test_a_missing_data_set_is_fetched_once_and_only_what_is_used_is_kept(tmp_path, server, row, contents):
    source = publish(row, contents, tmp_path / "site", server)
    seen = []
    first = source.load(None, lambda name, done, total: seen.append((name, done == total)))
    told = [name for name, complete in seen if complete]
    assert told == [source.archive.file.name, *contents]
    cache = tmp_path / "cache/gatefold" / source.name
    assert names(cache) == sorted(contents)
    assert all((cache / name).read_bytes() == content for name, content in contents.items())
    seen.clear()
    again = source.load(None, lambda *event: seen.append(event))
    assert seen == []
    np.testing.assert_array_equal(again.train_images, first.train_images)


def test_the_rows_ask_for_the_files_they_read_at_the_official_sizes():
    for row, record in ((CIFAR_10, 3073), (STL_10, 3 * 96 * 96)):
        for batch in (*row.train, *row.test):
            sizes = [row.archive.members[name] for name in batch.files]
            assert sizes == [batch.limit * record, batch.limit][: len(sizes)]
        assert set(row.archive.members) == {n for batch in (*row.train, *row.test) for n in batch.files}


def test_an_interrupted_extraction_is_completed_without_a_second_download(tmp_path, cifar):
    cache = tmp_path / "cache/gatefold/cifar-10"

    def stop(name, done, total):
        if name == "data_batch_3.bin":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cifar.load(None, stop)
    assert names(cache) == ["cifar-10-binary.tar.gz", "data_batch_1.bin", "data_batch_2.bin"]
    (tmp_path / "site" / "cifar-10-binary.tar.gz").unlink()
    assert cifar.load(None, None).train_labels.tolist() == [0, 1, 2, 3, 4]
    assert names(cache) == sorted(CIFAR_CONTENTS)


def test_an_interrupted_download_leaves_nothing(tmp_path, cifar):
    def stop(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cifar.load(None, stop)
    assert names(tmp_path / "cache/gatefold/cifar-10") == []


@pytest.mark.parametrize("change", [lambda packed: packed[:-1], lambda packed: packed[:-1] + b"?"])
def test_a_damaged_archive_in_the_cache_is_fetched_again(tmp_path, cifar, change):
    cache = tmp_path / "cache/gatefold/cifar-10"
    cache.mkdir(parents=True)
    packed = (tmp_path / "site" / "cifar-10-binary.tar.gz").read_bytes()
    (cache / "cifar-10-binary.tar.gz").write_bytes(change(packed))
    seen = []
    cifar.load(None, lambda name, *_: seen.append(name))
    assert "cifar-10-binary.tar.gz" in seen
    assert names(cache) == sorted(CIFAR_CONTENTS)


def test_an_archive_with_another_checksum_is_refused_before_it_is_opened(tmp_path, cifar):
    site = tmp_path / "site" / "cifar-10-binary.tar.gz"
    site.write_bytes(bytes(site.stat().st_size))
    with pytest.raises(
        InputError, match=r"'cifar-10' is missing: no data_batch_1\.bin .*; nothing is kept; give"
    ):
        cifar.load(None, None)
    assert names(tmp_path / "cache/gatefold/cifar-10") == []


GOOD = b"12345678"
LINK = {"type": tarfile.SYMTYPE, "linkname": "../outside"}
HOSTILE = {
    "symbolic link": (
        [entry("set/a.bin", GOOD, **LINK)],
        "set/a.bin must be a file of 8 bytes, not something else",
    ),
    "hard link": (
        [entry("set/z", GOOD), entry("set/a.bin", GOOD, type=tarfile.LNKTYPE, linkname="set/z")],
        "set/a.bin must be a file of 8 bytes, not something else",
    ),
    "device": (
        [entry("set/a.bin", GOOD, type=tarfile.CHRTYPE)],
        "must be a file of 8 bytes, not something else",
    ),
    "too large": ([entry("set/a.bin", GOOD * 2)], "must be a file of 8 bytes, not a file of 16 bytes"),
    "too small": ([entry("set/a.bin", GOOD[1:])], "must be a file of 8 bytes, not a file of 7 bytes"),
    "other folder": ([entry("a.bin", GOOD)], "must hold set/a.bin; fetch it again"),
    "path upwards": ([entry("../set/a.bin", GOOD)], "must hold set/a.bin; fetch it again"),
    "absolute path": ([entry("/set/a.bin", GOOD)], "must hold set/a.bin; fetch it again"),
    "nothing": ([], "must hold set/a.bin; fetch it again"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_hostile_archive_is_written(tmp_path, name):
    entries, message = HOSTILE[name]
    path = tmp_path / "set.tar.gz"
    write_tar(path, entries)
    archive = Archive("", RemoteFile(path.name, 0, ""), "set", {"a.bin": 8})
    with pytest.raises(InputError, match=f"{path}.*{message}"):
        extract_members(path, archive, tmp_path / "to")
    assert names(tmp_path) == ["set.tar.gz"]


@pytest.mark.parametrize("kept", [0, 1, 40, 400, 4000, 8000])
def test_a_cut_archive_is_told_as_such_and_leaves_no_part_of_a_file(tmp_path, kept):
    content = np.random.default_rng(0).bytes(10_000)
    path = tmp_path / "set.tar.gz"
    write_tar(path, [entry("set/a.bin", content)])
    path.write_bytes(path.read_bytes()[:kept])
    archive = Archive("", RemoteFile(path.name, 0, ""), "set", {"a.bin": len(content)})
    with pytest.raises(InputError, match=f"^{path} .*; fetch it again$"):
        extract_members(path, archive, tmp_path / "to")
    assert not (tmp_path / "to").exists() or names(tmp_path / "to") == []


def test_a_place_that_cannot_be_written_is_told_as_that(tmp_path, cifar):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "data_batch_1.bin").mkdir()
    with pytest.raises(InputError, match=r"^cannot write .*data_batch_1\.bin: Is a directory$"):
        fetch_members(cifar.archive, tmp_path / "to")


def test_damage_found_while_a_member_is_written_is_not_told_as_a_disk_error(tmp_path, cifar):
    path = tmp_path / "site" / "cifar-10-binary.tar.gz"
    unpacked = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(unpacked[:2000]) + b"no gzip member")
    with pytest.raises(InputError, match=f"^{path} is damaged: .*; fetch it again$"):
        extract_members(path, cifar.archive, tmp_path / "to")
    assert names(tmp_path / "to") == []
