"""The binary files of CIFAR-10 and STL-10: records of one size, one after the other, with no header.

CIFAR-10: a record is the label, then the pixels, channel by channel and row by row. Source: "Binary
version" on https://www.cs.toronto.edu/~kriz/cifar.html. STL-10: labels and images are in two files;
an image is stored channel by channel and column by column, labels start at 1. Source:
https://cs.stanford.edu/~acoates/stl10/.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from toolchain.data.dataset import Images, Labels
from toolchain.data.files import open_data

CIFAR_SHAPE = (3, 32, 32)
STL_SHAPE = (3, 96, 96)

CLASSES = 10
"""Both data sets have ten."""


def read_records(path: Path, size: int, limit: int) -> NDArray[np.uint8]:
    """The records of a file, uint8 ``(N, size)`` with 1 <= N <= ``limit``.

    At most ``limit`` records and one byte are read or allocated. A file cut between two records looks
    like a smaller data set, and is read as one. Raises InputError naming the file.
    """
    with open_data(path) as file:
        content = file.read(limit * size + 1)
    if len(content) > limit * size:
        raise InputError(f"{path} must hold 1 to {limit} records of {size} bytes, it holds more")
    if not content or len(content) % size:
        raise InputError(
            f"{path} is damaged: it must hold whole records of {size} bytes, not {len(content)} bytes; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def read_cifar(path: Path, *, limit: int) -> tuple[Images, Labels]:
    """Images ``(N, 3, 32, 32)`` and labels ``(N,)`` of one batch file of CIFAR-10, N <= ``limit``.

    The images are a read-only view. Raises InputError naming the file.
    """
    records = read_records(path, 1 + math.prod(CIFAR_SHAPE), limit)
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE), _labels(path, records[:, 0], first=0)


def read_stl(images_path: Path, labels_path: Path, *, limit: int) -> tuple[Images, Labels]:
    """Images ``(N, 3, 96, 96)`` and labels ``(N,)``, counted from 0, of one part of STL-10, N <= ``limit``.

    The images are a read-only view, transposed from the file's order. Raises InputError naming the file.
    """
    labels = _labels(labels_path, read_records(labels_path, 1, limit)[:, 0], first=1)
    records = read_records(images_path, math.prod(STL_SHAPE), limit)
    if len(records) != len(labels):
        raise InputError(
            f"{labels_path} must hold one label per image of {images_path.name}, "
            f"not {len(labels)} for {len(records)}"
        )
    return records.reshape(-1, *STL_SHAPE).swapaxes(2, 3), labels


def _labels(path: Path, stored: NDArray[np.uint8], first: int) -> Labels:
    """The labels counted from 0; those of the file are ``first .. first + CLASSES - 1``."""
    last = first + CLASSES - 1
    wrong = np.flatnonzero((stored < first) | (stored > last))
    if wrong.size:
        raise InputError(
            f"{path} is damaged: labels must be within {first}..{last}, record {wrong[0]} has "
            f"{stored[wrong[0]]}; fetch it again"
        )
    return stored.astype(np.int64) - first
