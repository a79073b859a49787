"""IDX files: what is read, and the one line a damaged file gives."""

import gzip
import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import InputError
from tests.published import idx_bytes
from toolchain.data.files import find_file
from toolchain.data.idx import read_idx

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_plain_and_compressed_files_hold_the_same_images(tmp_path, suffix, pack):
    (tmp_path / f"images{suffix}").write_bytes(pack(idx_bytes(IMAGES)))
    path = find_file(tmp_path, "images")
    assert path == tmp_path / f"images{suffix}"
    np.testing.assert_array_equal(read_idx(path, (4, 3), 10), IMAGES)


DAMAGE = {
    "empty": (b"", "magic 00000803 expected, not nothing"),
    "other magic": (b"\x00\x00\x0d\x03" + bytes(80), "magic 00000803 expected, not 00000d03"),
    "labels for images": (idx_bytes(IMAGES[:, 0, 0]), "magic 00000803 expected, not 00000801"),
    "header cut": (idx_bytes(IMAGES)[:9], "ends within its header"),
    "other item": (idx_bytes(IMAGES.reshape(5, 3, 4)), r"must hold items of shape \[4, 3\], not \[3, 4\]"),
    "no items": (idx_bytes(IMAGES[:0]), "must hold 1 to 10 items, its header declares 0"),
    "too many": (
        idx_bytes(IMAGES)[:4] + b"\xff\xff\xff\xff" + idx_bytes(IMAGES)[8:],
        "must hold 1 to 10 items, its header declares 4294967295",
    ),
    "cut": (idx_bytes(IMAGES)[:-1], "its header declares 60 bytes, only 59 follow"),
    "longer": (idx_bytes(IMAGES) + b"\0", "its header declares 60 bytes, more follow"),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_damage_is_told_in_one_line_that_names_the_file(tmp_path, name, suffix, pack):
    content, message = DAMAGE[name]
    path = tmp_path / f"train-images{suffix}"
    path.write_bytes(pack(content))
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path, (4, 3), 10)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes((data[middle] ^ 0xFF,)) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flip, lambda data: b"not compressed at all"])
@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_damaged_compression_is_told_in_one_line(tmp_path, suffix, pack, damage):
    noise = np.random.default_rng(0).integers(0, 256, (5, 20, 20), np.uint8)
    path = tmp_path / f"images{suffix}"
    path.write_bytes(damage(pack(idx_bytes(noise))))
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} is damaged: .*; fetch it again$"):
        read_idx(path, (20, 20), 10)


def test_a_directory_in_place_of_a_file_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        read_idx(tmp_path, (4, 3), 10)
