"""Samples as the bits of a design's ports, for a simulator to read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporters.verilog.wiring import Signal
from runtime.types import IntArray

Bytes = NDArray[np.uint8]


def port_bytes(width: int) -> int:
    """Bytes of a variable of Verilator for a port of ``width`` bits."""
    return next((size for size in (1, 2, 4, 8) if width <= 8 * size), -(-width // 32) * 4)


def to_bits(signal: Signal, array: IntArray) -> Bytes:
    """(samples, width) bits of a port, the lowest first, for values ``(samples, *type.shape)``."""
    values = array.reshape(len(array), -1).astype(np.int64)
    shifts = np.arange(signal.type.bits)
    return ((values[:, :, None] >> shifts) & 1).astype(np.uint8).reshape(len(array), -1)


def from_bits(signal: Signal, bits: Bytes) -> IntArray:
    """Inverse of ``to_bits``."""
    type_ = signal.type
    planes = bits.reshape(len(bits), -1, type_.bits).astype(np.int64)
    weights = np.int64(1) << np.arange(type_.bits, dtype=np.int64)
    if type_.interval.signed:
        weights[-1] = -weights[-1]
    return (planes @ weights).reshape(len(bits), *type_.shape)


def to_records(signals: Iterable[Signal], arrays: Mapping[str, IntArray]) -> bytes:
    """Samples as records: the ports one after another, each in its ``port_bytes``."""
    columns = []
    for signal in signals:
        packed = np.packbits(to_bits(signal, np.asarray(arrays[signal.value])), axis=1, bitorder="little")
        columns.append(np.pad(packed, [(0, 0), (0, port_bytes(signal.width) - packed.shape[1])]))
    return np.hstack(columns).tobytes()


def from_records(signals: Sequence[Signal], content: bytes, samples: int) -> dict[str, IntArray]:
    """Values by name of the program, of records of every sample."""
    rows = np.frombuffer(content, np.uint8).reshape(samples, -1)
    found, start = {}, 0
    for signal in signals:
        end = start + port_bytes(signal.width)
        bits = np.unpackbits(rows[:, start:end], axis=1, bitorder="little")[:, : signal.width]
        found[signal.value] = from_bits(signal, bits)
        start = end
    return found


def to_hex(signals: Sequence[Signal], arrays: Mapping[str, IntArray]) -> str:
    """A line of hexadecimal digits for every sample: all ports in one word, the first one lowest."""
    bits = np.hstack([to_bits(signal, np.asarray(arrays[signal.value])) for signal in signals])
    packed = np.packbits(bits, axis=1, bitorder="little")[:, ::-1]
    digits = -(-bits.shape[1] // 4)
    return "".join(row.tobytes().hex()[-digits:] + "\n" for row in packed)


def from_hex(signals: Sequence[Signal], text: str) -> dict[str, IntArray]:
    """Inverse of ``to_hex``. Raises ValueError for a digit that is none, such as ``x``."""
    width = sum(signal.width for signal in signals)
    digits = 2 * -(-width // 8)
    rows = [np.frombuffer(bytes.fromhex(line.zfill(digits)), np.uint8)[::-1] for line in text.split()]
    bits = np.unpackbits(np.array(rows).reshape(len(rows), -1), axis=1, bitorder="little")
    found, start = {}, 0
    for signal in signals:
        found[signal.value] = from_bits(signal, bits[:, start : start + signal.width])
        start += signal.width
    return found
