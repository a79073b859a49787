"""The data set table: where files are looked for, downloads, splits."""

import dataclasses
import gzip
import hashlib
import socket
import sys
import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from runtime.errors import InputError, MissingToolError
from runtime.types import Interval
from tests.published import idx_bytes, serve
from toolchain.data import DATASETS, Dataset, load, validation_split
from toolchain.data.download import CHUNK, RemoteFile, cache_dir, download
from toolchain.data.idx_source import FASHION_MNIST


def write_idx_set(directory):
    """A tiny data set in the official layout of the four IDX files."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        (directory / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images), mtime=0))
        (directory / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels), mtime=0))


@pytest.fixture(autouse=True)
def private_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEFOLD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_digits_come_with_the_install_and_are_split_by_class():
    digits = load("digits")
    assert digits.train_images.shape == (1438, 1, 8, 8)
    assert digits.test_images.shape == (359, 1, 8, 8)
    assert digits.train_images.dtype == np.uint8
    assert digits.interval == Interval(0, 16)
    assert np.bincount(digits.test_labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    content = hashlib.sha256(digits.test_images.tobytes() + digits.test_labels.tobytes()).hexdigest()
    assert content[:16] == "aef57afdfc309c55", "the split is part of the definition of the data set"


def test_digits_are_those_of_scikit_learn():
    bunch, digits = load_digits(), load("digits")
    images = np.concatenate([digits.train_images, digits.test_images]).reshape(-1, 64)
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    ours = np.concatenate([images, labels[:, None]], axis=1)
    theirs = np.concatenate([bunch.data.astype(np.int64), bunch.target[:, None]], axis=1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = r"^data set 'digits' needs scikit-learn: pip install 'gatefold\[train\]'$"
    with pytest.raises(MissingToolError, match=message):
        load("digits")


@pytest.mark.parametrize("given", ["data", "data/mnist"])
def test_a_directory_may_be_the_data_sets_own_or_its_parent(tmp_path, given):
    write_idx_set(tmp_path / "data" / "mnist")
    mnist = load("mnist", tmp_path / given)
    assert mnist.train_images.shape == (30, 1, 28, 28)
    assert mnist.test_labels.tolist() == list(range(10))


def test_the_environment_names_the_directory(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "mnist")
    monkeypatch.setenv("GATEFOLD_DATA", str(tmp_path))
    assert len(load("mnist").train_images) == 30


def test_the_folder_of_one_data_set_is_never_read_as_another(tmp_path):
    write_idx_set(tmp_path / "fashion-mnist")
    with pytest.raises(InputError, match="data set 'mnist' is missing"):
        load("mnist", tmp_path / "fashion-mnist")


def test_a_relative_directory_is_known_by_its_real_name(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "fashion-mnist")
    monkeypatch.chdir(tmp_path / "fashion-mnist")
    assert len(load("fashion-mnist", ".").train_images) == 30
    with pytest.raises(InputError, match="data set 'mnist' is missing"):
        load("mnist", ".")


def test_a_directory_that_cannot_be_looked_into_is_told_in_one_line():
    with pytest.raises(InputError, match=r"^(cannot read|data set 'mnist' is missing).{300,}"):
        load("mnist", "x" * 300)


def test_missing_files_are_told_with_the_places_looked_at(tmp_path):
    write_idx_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError) as caught:
        load("mnist", tmp_path)
    assert str(caught.value) == (
        f"data set 'mnist' is missing: no t10k-labels-idx1-ubyte (plain, .gz or .xz) in "
        f"{tmp_path / 'mnist'} or {tmp_path}; give its folder with --data-dir or GATEFOLD_DATA"
    )


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(
        InputError,
        match="data set must be one of digits, fashion-mnist, mnist, cifar-10, stl-10, not 'svhn'",
    ):
        load("svhn")


def published(directory, base_url):
    """The Fashion-MNIST row, but published from ``directory`` at ``base_url``."""
    files = []
    for file in FASHION_MNIST.files:
        content = (directory / file.name).read_bytes()
        files.append(RemoteFile(file.name, len(content), hashlib.sha256(content).hexdigest()))
    return dataclasses.replace(FASHION_MNIST, base_url=base_url, files=tuple(files))


@pytest.fixture
def server(tmp_path):
    """A real HTTP server on this machine that publishes a tiny data set."""
    write_idx_set(tmp_path / "site")
    with serve(tmp_path / "site") as url:
        yield url


def test_a_missing_data_set_is_downloaded_once(tmp_path, server):
    source = published(tmp_path / "site", server)
    seen = []
    dataset = source.load(None, lambda name, done, total: seen.append((name, done == total)))
    assert len(dataset.train_images) == 30
    assert {name for name, complete in seen if complete} == {file.name for file in source.files}
    cached = sorted(path.name for path in (tmp_path / "cache/gatefold/fashion-mnist").iterdir())
    assert cached == sorted(file.name for file in source.files)
    seen.clear()
    source.load(None, lambda *event: seen.append(event))
    assert seen == []


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 10}, {"size": 10**6}])
def test_a_download_with_other_bytes_is_refused_and_not_kept(tmp_path, server, change):
    right = published(tmp_path / "site", server).files[1]
    with pytest.raises(InputError, match=r"must have \d+ bytes with SHA-256 .*; nothing is kept"):
        download(server, dataclasses.replace(right, **change), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_host_that_sends_more_is_cut_off(tmp_path):
    (tmp_path / "endless").write_bytes(bytes(10 * CHUNK))
    done = []
    with pytest.raises(InputError, match="it sent more with"):
        download(
            tmp_path.as_uri() + "/",
            RemoteFile("endless", 10, "0" * 64),
            tmp_path / "to",
            lambda *event: done.append(event[1]),
        )
    assert done == [CHUNK]


def test_a_host_that_falls_silent_is_told_as_such_and_not_as_a_disk_error(tmp_path, monkeypatch):
    monkeypatch.setattr("toolchain.data.download.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n")
                heard.wait()

        heard = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(InputError, match=f"^cannot download {url}x: timed out$"):
            download(url, RemoteFile("x", 10, "0" * 64), tmp_path / "to")
        heard.set()
        thread.join()
    assert list((tmp_path / "to").iterdir()) == []


def test_a_file_url_works_as_well(tmp_path):
    write_idx_set(tmp_path / "site")
    source = published(tmp_path / "site", (tmp_path / "site").as_uri() + "/")
    assert len(source.load(None, None).test_images) == 10


def test_without_a_network_one_line_says_what_is_missing_and_what_to_do(tmp_path):
    write_idx_set(tmp_path / "site")
    source = published(tmp_path / "site", (tmp_path / "gone").as_uri() + "/")
    with pytest.raises(InputError) as caught:
        source.load(None, None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(
        "data set 'fashion-mnist' is missing: no train-images-idx3-ubyte in "
        f"{tmp_path / 'cache/gatefold/fashion-mnist'}, and cannot download file://"
    )
    assert message.endswith("give its folder with --data-dir or GATEFOLD_DATA")


@pytest.mark.parametrize(
    ("platform", "environ", "tail"),
    [
        ("linux", {}, ".cache/gatefold"),
        ("darwin", {}, "Library/Caches/gatefold"),
        ("win32", {"LOCALAPPDATA": "/somewhere"}, "/somewhere/gatefold"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/gatefold"),
    ],
)
def test_the_cache_follows_the_platform(platform, environ, tail):
    assert cache_dir(environ, platform).as_posix().endswith(tail)


def test_checksums_and_sizes_are_given_for_every_published_file():
    rows = [row for row in DATASETS.values() if row.name != "digits"]
    remote = [
        file for row in rows for file in ((row.archive.file,) if hasattr(row, "archive") else row.files)
    ]
    assert len(remote) == 10
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 4000 for file in remote)


def test_a_validation_split_takes_a_share_of_every_class_and_no_test_image():
    digits = load("digits")
    split = validation_split(digits, 0.1, seed=3)
    assert len(split.train_images) + len(split.test_images) == len(digits.train_images)
    share = np.bincount(split.test_labels) / np.bincount(digits.train_labels)
    assert np.all(np.abs(share - 0.1) < 0.01)
    together = np.concatenate([split.train_images, split.test_images]).reshape(1438, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, digits.train_images.reshape(1438, -1)))
    again = validation_split(digits, 0.1, seed=3)
    np.testing.assert_array_equal(split.test_images, again.test_images)
    other = validation_split(digits, 0.1, seed=4)
    assert not np.array_equal(split.test_images, other.test_images)


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_validation_share_outside_the_open_interval_is_refused(share):
    with pytest.raises(InputError, match=f"the validation share must be between 0 and 1, not {share}"):
        validation_split(load("digits"), share, 0)


GOOD = {
    "name": "tiny",
    "train_images": np.zeros((4, 1, 2, 2), np.uint8),
    "train_labels": np.array([0, 1, 0, 1]),
    "test_images": np.zeros((2, 1, 2, 2), np.uint8),
    "test_labels": np.array([0, 1]),
    "classes": ("a", "b"),
    "interval": Interval(0, 16),
}
BAD = [
    ({"train_labels": np.array([0, 1])}, "train part: one label per image is needed, not 2 for 4"),
    ({"test_labels": np.array([0, 2])}, r"test part: labels must be within 0\.\.1, not 2"),
    ({"test_images": np.full((2, 1, 2, 2), 17, np.uint8)}, r"pixels must be within \[0, 16\], not 17"),
    ({"test_images": np.zeros((2, 1, 2, 3), np.uint8)}, r"one shape, not \[1, 2, 2\] and \[1, 2, 3\]"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_data_set_that_contradicts_itself_is_refused(change, message):
    assert Dataset(**GOOD).shape == (1, 2, 2)
    with pytest.raises(InputError, match=message):
        Dataset(**(GOOD | change))
