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


def pack_last(codes: Bytes, words: Words) -> None:
    """Write ``codes`` (*rest, channels), contiguous, to planes (planes, words, *rest)."""
    channels = codes.shape[-1]
    for plane, target in enumerate(words):
        bits = codes if len(words) == 1 else codes & np.uint8(1 << plane)
        if channels % WORD == 0:
            octets = np.packbits(bits.reshape(-1), bitorder="little")
        else:
            packed = np.packbits(bits, axis=-1, bitorder="little")
            octets = np.zeros((*codes.shape[:-1], 8 * len(target)), np.uint8)
            octets[..., : packed.shape[-1]] = packed
        np.copyto(target, np.moveaxis(octets.view("<u8").reshape(*codes.shape[:-1], -1), -1, 0))


def unpack_last(words: Words, codes: Bytes) -> None:
    """Inverse of ``pack_last``: write planes (planes, words, *rest) to ``codes`` (*rest, channels)."""
    for plane, source in enumerate(words):
        octets = np.ascontiguousarray(np.moveaxis(source, 0, -1)).view(np.uint8)
        bits = np.unpackbits(octets, axis=-1, count=codes.shape[-1], bitorder="little")
        if plane:
            np.bitwise_or(codes, bits << np.uint8(plane), out=codes)
        else:
            np.copyto(codes, bits)
