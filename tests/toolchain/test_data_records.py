"""CIFAR-10 and STL-10 in the official binary layouts: pixels and labels in place, damage in one line."""

import gzip
import json
import lzma
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.ir import Builder
from runtime.ops import ArgMax, Reshape, SumPool
from runtime.serialize import save
from runtime.types import Interval
from tests.published import cifar_bytes, stl_bytes
from toolchain.cli import main
from toolchain.data import load
from toolchain.data.records import read_cifar, read_records, read_stl

PACKERS = [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]


def noise(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


def write_cifar(directory, suffix="", pack=bytes):
    """Two images a training batch and three of the test part, all in order; returns both parts."""
    directory.mkdir(parents=True)
    train, test = noise(10, 32), noise(3, 32, seed=1)
    for index in range(5):
        content = cifar_bytes(train[2 * index : 2 * index + 2], [2 * index, 2 * index + 1])
        (directory / f"data_batch_{index + 1}.bin{suffix}").write_bytes(pack(content))
    (directory / f"test_batch.bin{suffix}").write_bytes(pack(cifar_bytes(test, [9, 0, 3])))
    return train, test


def write_stl(directory, suffix="", pack=bytes):
    """Ten training images, one a class in reverse order, and three of the test part; returns both parts."""
    directory.mkdir(parents=True)
    train, test = noise(10, 96), noise(3, 96, seed=1)
    contents = {
        "train_X.bin": stl_bytes(train),
        "train_y.bin": bytes(range(10, 0, -1)),
        "test_X.bin": stl_bytes(test),
        "test_y.bin": bytes([10, 1, 4]),
    }
    for name, content in contents.items():
        (directory / f"{name}{suffix}").write_bytes(pack(content))
    return train, test


@pytest.mark.parametrize(("suffix", "pack"), PACKERS)
def test_cifar_10_keeps_every_pixel_label_and_the_order_of_its_batches(tmp_path, suffix, pack):
    train, test = write_cifar(tmp_path / "cifar-10-batches-bin", suffix, pack)
    dataset = load("cifar-10", tmp_path)
    np.testing.assert_array_equal(dataset.train_images, train)
    np.testing.assert_array_equal(dataset.test_images, test)
    assert dataset.train_labels.tolist() == list(range(10))
    assert dataset.test_labels.tolist() == [9, 0, 3]
    assert [dataset.classes[label] for label in dataset.test_labels] == ["truck", "airplane", "cat"]
    assert dataset.interval == Interval(0, 255)
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize(("suffix", "pack"), PACKERS)
def test_stl_10_is_transposed_and_its_labels_count_from_zero(tmp_path, suffix, pack):
    train, test = write_stl(tmp_path / "stl10_binary", suffix, pack)
    dataset = load("stl-10", tmp_path)
    np.testing.assert_array_equal(dataset.train_images, train)
    np.testing.assert_array_equal(dataset.test_images, test)
    assert dataset.train_labels.tolist() == list(range(9, -1, -1))
    assert [dataset.classes[label] for label in dataset.test_labels] == ["truck", "airplane", "cat"]
    assert dataset.shape == (3, 96, 96)


def test_the_second_byte_of_an_stl_10_image_is_the_second_row_of_the_first_column(tmp_path):
    image = np.zeros(3 * 96 * 96, np.uint8)
    image[1], image[96 * 96 + 96] = 7, 8
    (tmp_path / "X").write_bytes(image.tobytes())
    (tmp_path / "y").write_bytes(b"\x01")
    images, labels = read_stl(tmp_path / "X", tmp_path / "y", limit=1)
    assert np.argwhere(images).tolist() == [[0, 0, 1, 0], [0, 1, 0, 1]]
    assert labels.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "write", "folders"),
    [
        ("cifar-10", write_cifar, ["cifar-10-batches-bin", "cifar-10"]),
        ("stl-10", write_stl, ["stl10_binary", "stl-10"]),
    ],
)
def test_a_folder_goes_by_the_archives_name_or_the_data_sets(tmp_path, name, write, folders):
    for folder in folders:
        train, _ = write(tmp_path / "data" / folder)
        for given_dir in (tmp_path / "data", tmp_path / "data" / folder):
            images = load(name, given_dir).train_images
            np.testing.assert_array_equal(images, train)
            assert images.flags.c_contiguous
            assert images.flags.writeable
        (tmp_path / "data").rename(tmp_path / f"done-{folder}")


def test_a_missing_batch_is_told_with_the_places_looked_at(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder)
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(InputError) as caught:
        load("cifar-10", tmp_path)
    assert str(caught.value) == (
        f"data set 'cifar-10' is missing: no data_batch_4.bin (plain, .gz or .xz) in {folder} or "
        f"{tmp_path / 'cifar-10'} or {tmp_path}; give its folder with --data-dir or GATEFOLD_DATA"
    )


def test_a_damaged_batch_among_others_is_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder, ".xz", lzma.compress)
    damaged = folder / "data_batch_3.bin.xz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"^{re.escape(str(damaged))} is damaged: .*; fetch it again$"):
        load("cifar-10", tmp_path)


CIFAR = cifar_bytes(noise(3, 32), [0, 9, 5])
DAMAGE = {
    "empty": (b"", "must hold whole records of 3073 bytes, not 0 bytes; fetch it again"),
    "cut": (CIFAR[:-1], "must hold whole records of 3073 bytes, not 9218 bytes; fetch it again"),
    "longer": (CIFAR + b"\0", "must hold whole records of 3073 bytes, not 9220 bytes; fetch it again"),
    "too many": (CIFAR + CIFAR, "must hold 1 to 4 records of 3073 bytes, it holds more"),
    "wrong label": (
        CIFAR[:3073] + b"\x0a" + CIFAR[3074:],
        r"labels must be within 0\.\.9, record 1 has 10; fetch it again",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize(("suffix", "pack"), PACKERS)
def test_damage_is_told_in_one_line_that_names_the_file(tmp_path, name, suffix, pack):
    content, message = DAMAGE[name]
    path = tmp_path / f"data_batch_1.bin{suffix}"
    path.write_bytes(pack(content))
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} .*{message}$"):
        read_cifar(path, limit=4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"\x01\x00", r"y is damaged: labels must be within 1\.\.10, record 1 has 0; fetch it again"),
        (b"\x0b\x01", r"y is damaged: labels must be within 1\.\.10, record 0 has 11; fetch it again"),
        (b"\x01", "y must hold one label per image of X, not 1 for 2"),
        (b"\x01" * 4, "y must hold 1 to 3 records of 1 bytes, it holds more"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path, labels, message):
    (tmp_path / "X").write_bytes(stl_bytes(noise(2, 96)))
    (tmp_path / "y").write_bytes(labels)
    with pytest.raises(InputError, match=message):
        read_stl(tmp_path / "X", tmp_path / "y", limit=3)


@given(content=st.binary(max_size=60), size=st.integers(1, 7), limit=st.integers(1, 9))
def test_exactly_whole_records_within_the_limit_are_read(tmp_path_factory, content, size, limit):
    path = tmp_path_factory.getbasetemp() / "records.bin"
    path.write_bytes(content)
    if len(content) % size == 0 and 1 <= len(content) // size <= limit:
        assert read_records(path, size, limit).tobytes() == content
    else:
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_records(path, size, limit)


def read_or_message(path):
    try:
        return read_records(path, 192, 4)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(("suffix", "pack"), PACKERS[1:])
@given(data=st.data())
def test_a_damaged_compressed_file_never_gives_other_records(tmp_path_factory, suffix, pack, data):
    content = noise(2, 8).tobytes()
    packed = bytearray(pack(content))
    start = data.draw(st.integers(0, len(packed) - 1))
    cut = data.draw(st.booleans())
    packed[start] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / f"records.bin{suffix}"
    path.write_bytes(packed[:start] if cut else packed)
    outcome = read_or_message(path)
    if isinstance(outcome, str):
        assert str(path) in outcome
        assert "\n" not in outcome
    else:  # the changed byte was one that no decoder looks at, such as the time stamp of gzip
        assert not cut
        assert outcome.tobytes() == content


@pytest.mark.parametrize(("name", "write"), [("cifar-10", write_cifar), ("stl-10", write_stl)])
def test_the_command_line_evaluates_on_it(tmp_path, capsys, name, write):
    _, test = write(tmp_path / name)
    builder = Builder("brightest channel")
    side = test.shape[2:]
    image = builder.input("image", (3, *side), Interval(0, 255))
    brightest = builder.add(Reshape((3,)), builder.add(SumPool(side, side), image))
    program = save(builder.build((builder.add(ArgMax(), brightest, name="class"),)), tmp_path / "p.gfold")
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(program), "--data", name, "--data-dir", str(tmp_path), "--json"])
    assert not caught.value.code
    right = test.sum((2, 3)).argmax(1) == [9, 0, 3]
    shown = json.loads(capsys.readouterr().out)
    assert (shown["accuracy"], shown["samples"], shown["data"]) == (right.mean(), 3, name)
