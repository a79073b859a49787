"""Opening files: what is found, and that no file unpacks to more than was asked for."""

import gzip
import lzma
import re
import tracemalloc

import pytest

from runtime.errors import InputError
from toolchain.data.files import find_file, open_data
from toolchain.data.records import read_records


def test_a_plain_file_is_preferred_to_its_compressed_forms(tmp_path):
    for name in ("a.bin.xz", "a.bin.gz", "a.bin"):
        (tmp_path / name).write_bytes(b"")
        assert find_file(tmp_path, "a.bin") == tmp_path / name


def test_a_name_without_a_file_is_not_found(tmp_path):
    (tmp_path / "a.bin").mkdir()
    assert find_file(tmp_path, "a.bin") is None


def test_a_missing_file_is_an_input_error_that_names_it(tmp_path):
    path = tmp_path / "gone.xz"
    with (
        pytest.raises(InputError, match=f"^cannot read {re.escape(str(path))}: No such file or directory$"),
        open_data(path),
    ):
        pass


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_file_that_unpacks_to_far_more_is_not_unpacked(tmp_path, suffix, pack):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(pack(bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"bomb.* must hold 1 to 10 records of 3 bytes, it holds more"):
            read_records(path, 3, 10)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24  # xz has a window of 8 MiB
    finally:
        tracemalloc.stop()


def test_a_plain_file_of_any_size_is_not_read_past_the_limit(tmp_path):
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="it holds more"):
        read_records(path, 3073, 10_000)
