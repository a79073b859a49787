"""The IDX file format of MNIST and its successors.

Layout (big endian): two zero bytes, a type byte (0x08 = uint8), the number of dimensions, one
uint32 per dimension, then the elements in C order. Source: the format note on the MNIST page.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from toolchain.data.files import open_data

UINT8 = 0x08


def read_idx(path: Path, item_shape: tuple[int, ...], limit: int) -> NDArray[np.uint8]:
    """The elements of an IDX file, uint8 ``(N, *item_shape)`` with 1 <= N <= ``limit``.

    The header is checked against ``item_shape`` and ``limit`` before anything is read or allocated,
    and the content must have exactly the declared size. Raises InputError naming the file.
    """
    with open_data(path) as file:
        shape = _read_header(file, path, item_shape, limit)
        size = math.prod(shape)
        content = file.read(size + 1)
    if len(content) != size:
        found = f"only {len(content)}" if len(content) < size else "more"
        raise InputError(
            f"{path} is damaged: its header declares {size} bytes, {found} follow; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(file: IO[bytes], path: Path, item_shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    dimensions = 1 + len(item_shape)
    header = file.read(4 + 4 * dimensions)
    magic = bytes((0, 0, UINT8, dimensions))
    if header[:4] != magic:
        raise InputError(
            f"{path} is not an IDX file of the data set: magic {magic.hex()} expected, not "
            f"{header[:4].hex() or 'nothing'}"
        )
    if len(header) != 4 + 4 * dimensions:
        raise InputError(f"{path} is damaged: it ends within its header; fetch it again")
    count, *item = (int(d) for d in np.frombuffer(header, ">u4", offset=4))
    if tuple(item) != item_shape:
        raise InputError(f"{path} must hold items of shape {list(item_shape)}, not {item}")
    if not 1 <= count <= limit:
        raise InputError(f"{path} must hold 1 to {limit} items, its header declares {count}")
    return (count, *item_shape)
