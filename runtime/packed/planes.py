"""Activations as bit planes: 64 channels a word, planes outermost, positions innermost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Integers = NDArray[Any]

WORD = 64


def words_for(channels: int) -> int:
    """Words that hold one plane of ``channels`` channels."""
    return -(-channels // WORD)


def pack_bits(bits: NDArray[np.bool_] | NDArray[np.uint8]) -> Words:
    """Words of shape ``(words, *rest)`` from 0/1 bytes of shape ``(channels, *rest)``.

    Bit ``j`` of word ``i`` is channel ``64 i + j``; unused bits are 0. Built by shifts along the
    contiguous axis, which is far quicker than ``np.packbits`` along the first.
    """
    channels, rest = bits.shape[0], bits.shape[1:]
    grouped = np.zeros((words_for(channels) * 8, 8, *rest), np.uint8)
    grouped.reshape(-1, *rest)[:channels] = bits
    octets = grouped[:, 0]
    for j in range(1, 8):
        octets |= grouped[:, j] << np.uint8(j)
    octets = octets.reshape(-1, 8, *rest)
    words = octets[:, 0].astype(np.uint64)
    for j in range(1, 8):
        words |= octets[:, j].astype(np.uint64) << np.uint64(8 * j)
    return words


def unpack_bits(words: Words, channels: int) -> NDArray[np.uint8]:
    """Inverse of ``pack_bits``."""
    shifts = np.arange(WORD, dtype=np.uint64).reshape((1, WORD) + (1,) * (words.ndim - 1))
    bits = ((words[:, None] >> shifts) & np.uint64(1)).astype(np.uint8)
    return bits.reshape(-1, *words.shape[1:])[:channels]


def unpack_codes(words: Words, channels: int) -> NDArray[np.uint8]:
    """Inverse of ``pack_codes``."""
    codes = unpack_bits(words[0], channels)
    for b in range(1, len(words)):
        codes |= unpack_bits(words[b], channels) << np.uint8(b)
    return codes


def pack_codes(codes: Integers, planes: int) -> Words:
    """Planes ``(planes, words, *rest)`` of non-negative codes ``(channels, *rest)`` below 2**planes."""
    narrow = codes.astype(np.uint8, order="C", copy=False)
    return np.stack([pack_bits((narrow >> np.uint8(b)) & np.uint8(1)) for b in range(planes)])
