"""The ``.gfold`` file: an uncompressed ``.npz`` with a JSON header, closed by a SHA-256.

Layout: a zip of stored members. ``header.json`` holds everything but the arrays; each array is a
``.npy`` of its smallest integer dtype, weights in their packed encoding. The zip comment is
``sha256:`` and the digest of every byte before it. Equal programs give equal bytes.

Nothing in a file is trusted: the digest is checked first, no pickle is ever read, sizes are compared
with the file's own length before anything is allocated, and the program is verified as a whole.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from runtime import strict_json
from runtime.errors import FormatError, InputError, ProgramError
from runtime.files import atomic_write
from runtime.ir import Input, Node, Program, op_class
from runtime.ops import Op
from runtime.types import RANK_LIMIT, IntArray, Interval, TensorType
from runtime.verify import verify
from runtime.weights import Weights, weight_count

FORMAT_VERSION = 1
FILE_LIMIT = 256 * 2**20
"""Largest file ``load`` accepts, in bytes."""
PROGRAM_WEIGHT_LIMIT = 2**28
"""Most weights of all constants of a program together: a few bytes can stand for very many."""

HEADER = "header.json"
_DIGEST_PREFIX = b"sha256:"
_TRAILER_BYTES = len(_DIGEST_PREFIX) + 64
_DTYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8")

Arrays = dict[str, NDArray[Any]]
Json = Any


# --- attributes: one encode/decode pair per annotation an op's field may have -----------------------


def smallest(array: IntArray) -> NDArray[Any]:
    """``array`` in the smallest little-endian integer dtype that holds its values."""
    dtype = Interval(int(array.min()), int(array.max())).dtype
    return array.astype(dtype.newbyteorder("<"))


def _put(arrays: Arrays, member: str, array: NDArray[Any]) -> Json:
    arrays[member] = array
    return {"array": member, "dtype": array.dtype.str, "shape": list(array.shape)}


def _get(arrays: Arrays, value: Json) -> NDArray[Any]:
    member = _field(value, "array", str)
    if member not in arrays:
        raise FormatError(f"array {member!r:.80} is missing")
    return arrays[member]


def _encode_array(arrays: Arrays, member: str, value: IntArray | None) -> Json:
    return None if value is None else _put(arrays, member, smallest(value))


def _decode_array(arrays: Arrays, value: Json) -> IntArray:
    array = _get(arrays, value)
    fits = array.size > 0 and int(array.max()) <= np.iinfo(np.int64).max
    if not fits or smallest(array).dtype != array.dtype:
        raise FormatError(f"array {value['array']!r:.80} is not stored in its smallest dtype")
    return array.astype(np.int64)


def _encode_weights(arrays: Arrays, member: str, value: Weights) -> Json:
    packed = _put(arrays, member, value.pack())
    return {
        "encoding": value.encoding,
        "levels": value.levels,
        "packed": packed,
        "shape": list(value.shape),
    }


def _decode_weights(arrays: Arrays, value: Json) -> Weights:
    data = _get(arrays, _field(value, "packed", dict))
    if data.dtype != np.uint8 or data.ndim != 1:
        raise FormatError("packed weights must be a vector of bytes")
    shape = _ints(_field(value, "shape", list))
    return Weights.unpack(data, shape, _field(value, "levels", int), _field(value, "encoding", str))


def _decode_int(_: Arrays, value: Json) -> int:
    if type(value) is not int:
        raise FormatError(f"an integer attribute must be an integer, not {value!r:.80}")
    return value


def _decode_ints(_: Arrays, value: Json) -> tuple[int, ...]:
    return _ints(value)


def _decode_text(_: Arrays, value: Json) -> str:
    if type(value) is not str:
        raise FormatError(f"a text attribute must be text, not {value!r:.80}")
    return value


def _plain(_: Arrays, __: str, value: Json) -> Json:
    return list(value) if isinstance(value, tuple) else value


Encode = Callable[[Arrays, str, Any], Json]
Decode = Callable[[Arrays, Json], Any]

CODECS: dict[str, tuple[Encode, Decode]] = {
    "int": (_plain, _decode_int),
    "str": (_plain, _decode_text),
    "tuple[int, int]": (_plain, _decode_ints),
    "tuple[int, ...]": (_plain, _decode_ints),
    "IntArray": (_encode_array, _decode_array),
    "IntArray | None": (_encode_array, lambda a, v: None if v is None else _decode_array(a, v)),
    "Weights": (_encode_weights, _decode_weights),
}
"""How a field is stored, by its annotation. An op with a new kind of attribute adds a row."""


# --- writing ---------------------------------------------------------------------------------------


def dumps(program: Program) -> bytes:
    """The bytes of ``program``'s file. Equal programs give equal bytes.

    Raises ProgramError for more than ``PROGRAM_WEIGHT_LIMIT`` weights.
    """
    arrays: Arrays = {}
    header = {
        "format": "gatefold",
        "inputs": [{"name": v.name, **_encode_type(v.type)} for v in program.inputs],
        "metadata": dict(program.metadata),
        "name": program.name,
        "nodes": [_encode_node(n, f"n{i:05d}", arrays) for i, n in enumerate(program.nodes)],
        "outputs": list(program.outputs),
        "version": FORMAT_VERSION,
    }
    _check_weight_total(header)
    members = {HEADER: strict_json.dumps(header).encode()}
    for name, array in arrays.items():
        members[f"{name}.npy"] = _npy_header(array.dtype.str, array.shape) + array.tobytes()
    body = _zip(members)
    digest = hashlib.sha256(body).hexdigest().encode()
    return body + _DIGEST_PREFIX + digest


def save(program: Program, path: str | Path) -> Path:
    """Write ``program`` to ``path``, atomically. Raises InputError when it cannot be written, ProgramError
    as ``dumps`` does."""
    data = dumps(program)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def _encode_type(type_: TensorType) -> dict[str, Json]:
    return {"shape": list(type_.shape), "range": [type_.interval.lo, type_.interval.hi]}


def _encode_node(node: Node, prefix: str, arrays: Arrays) -> dict[str, Json]:
    attributes = {
        f.name: CODECS[str(f.type)][0](arrays, f"{prefix}.{f.name}", getattr(node.op, f.name))
        for f in fields(node.op)  # type: ignore[arg-type]  # every op is a dataclass
    }
    return {
        "attributes": attributes,
        "layer": node.layer,
        "op": node.op.name,
        "operands": list(node.operands),
        "result": node.result,
        **_encode_type(node.type),
    }


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The version 1.0 ``.npy`` header, spelled here so that no NumPy release changes a byte of it."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(10 + len(text) + 1) % 64
    body = text.encode("ascii") + b" " * padding + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def _zip(members: Mapping[str, bytes]) -> bytes:
    """A zip of stored members that announces, but lacks, its comment: the digest goes there."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # its default date, 1980, keeps the bytes reproducible
            info.create_system = 3
            archive.writestr(info, data)
        archive.comment = bytes(_TRAILER_BYTES)
    return buffer.getvalue()[:-_TRAILER_BYTES]


# --- reading ---------------------------------------------------------------------------------------


def load(path: str | Path) -> Program:
    """The verified program in ``path``.

    Raises InputError when the file cannot be read, FormatError when it is no intact program of a
    known version.
    """
    source = Path(path)
    try:
        size = source.stat().st_size
        if size > FILE_LIMIT:
            raise FormatError(f"{source}: a program file may have {FILE_LIMIT} bytes, this has {size}")
        data = source.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{source} is a directory; give the program.gfold in it") from None
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None
    try:
        return loads(data)
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from None


def loads(data: bytes) -> Program:
    """The verified program in ``data``. Raises FormatError."""
    _check_digest(data)
    members = _unzip(data)
    header = _parse_header(members.pop(HEADER, b""))
    try:
        program = _decode(header, members)
        verify(program)
    except ProgramError as error:
        raise FormatError(str(error)) from None
    if dumps(program) != data:
        raise FormatError("the file is not in canonical form; it was not written by Gatefold")
    return program


def _fail(message: str) -> NoReturn:
    raise FormatError(message)


def _check_digest(data: bytes) -> None:
    trailer = data[-_TRAILER_BYTES:]
    if not data.startswith(b"PK") or not re.fullmatch(rb"sha256:[0-9a-f]{64}", trailer):
        _fail("not a .gfold program, or cut off before its end")
    if hashlib.sha256(data[:-_TRAILER_BYTES]).hexdigest().encode() != trailer[7:]:
        _fail("the content does not match its SHA-256: the file is damaged")


def _unzip(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            stored = all(i.compress_type == zipfile.ZIP_STORED and not i.flag_bits & 1 for i in infos)
            if not stored or sum(i.file_size for i in infos) > len(data):
                _fail("members must be stored uncompressed, once each")
            return {i.filename: archive.read(i) for i in infos}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise FormatError(f"the archive is damaged: {error}") from None


def _parse_header(text: bytes) -> dict[str, Json]:
    try:
        header = strict_json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not plain JSON: {error}") from None
    if not isinstance(header, dict) or header.get("format") != "gatefold":
        _fail("the header is not that of a Gatefold program")
    version = _field(header, "version", int)
    if version != FORMAT_VERSION:
        _fail(f"format version {version} is not {FORMAT_VERSION}; use the Gatefold that wrote the file")
    return header


def _decode(header: dict[str, Json], members: Mapping[str, bytes]) -> Program:
    arrays: Arrays = {}
    _read_arrays(header, members, arrays)
    _check_weight_total(header)
    return Program(
        _field(header, "name", str),
        tuple(Input(_field(v, "name", str), _decode_type(v)) for v in _field(header, "inputs", list)),
        tuple(_decode_node(n, arrays) for n in _field(header, "nodes", list)),
        tuple(_strings(_field(header, "outputs", list))),
        _field(header, "metadata", dict),
    )


def _check_weight_total(header: Json) -> None:
    """Raise ProgramError for more weights than a program may have, or one constant, before any is built."""
    attributes = [value for node in header["nodes"] for value in node["attributes"].values()]
    packed = [value for value in attributes if isinstance(value, dict) and "packed" in value]
    total = sum(weight_count(_ints(_field(value, "shape", list))) for value in packed)
    if total > PROGRAM_WEIGHT_LIMIT:
        raise ProgramError(f"a program may have at most {PROGRAM_WEIGHT_LIMIT} weights, not {total}")


def _read_arrays(value: Json, members: Mapping[str, bytes], arrays: Arrays) -> None:
    """Collect every array the header's node attributes declare."""
    for node in _field(value, "nodes", list):
        for attribute in _field(node, "attributes", dict).values():
            if isinstance(attribute, dict):
                declared = attribute.get("packed", attribute)
                name = _field(declared, "array", str)
                arrays[name] = _read_array(declared, name, members)


def _read_array(declared: Json, name: str, members: Mapping[str, bytes]) -> NDArray[Any]:
    data = members.get(f"{name}.npy", b"")
    dtype, shape = _field(declared, "dtype", str), _ints(_field(declared, "shape", list))
    if dtype not in _DTYPES or min(shape, default=1) < 0:
        _fail(f"array {name!r:.80} has dtype {dtype!r:.20} and shape {shape!r:.80}")
    count = math.prod(shape)
    width = np.dtype(dtype).itemsize
    if count * width > len(data):
        _fail(f"array {name!r:.80} declares {count} elements, more than the file holds")
    header = _npy_header(dtype, shape)
    if data[: len(header)] != header or len(data) != len(header) + count * width:
        _fail(f"array {name!r:.80} is not the .npy that the header declares")
    return np.frombuffer(data, dtype, count, len(header)).reshape(shape)


def _decode_type(value: Json) -> TensorType:
    limits = _ints(_field(value, "range", list))
    if len(limits) != 2:
        _fail(f"a range must be two integers, not {limits!r:.80}")
    return TensorType(_ints(_field(value, "shape", list)), Interval(*limits))


def _decode_node(value: Json, arrays: Arrays) -> Node:
    return Node(
        _decode_op(op_class(_field(value, "op", str)), _field(value, "attributes", dict), arrays),
        tuple(_strings(_field(value, "operands", list))),
        _field(value, "result", str),
        _decode_type(value),
        _field(value, "layer", str),
    )


def _decode_op(cls: type[Op], attributes: dict[str, Json], arrays: Arrays) -> Op:
    wanted = {f.name: str(f.type) for f in fields(cls)}  # type: ignore[arg-type]
    if set(attributes) != set(wanted):
        _fail(f"{cls.__name__} must have attributes {list(wanted)}, not {list(attributes)!r:.80}")
    return cls(**{name: CODECS[kind][1](arrays, attributes[name]) for name, kind in wanted.items()})


def _field(value: Json, key: str, kind: type) -> Any:
    if not isinstance(value, dict) or type(value.get(key)) is not kind:
        _fail(f"the header must have {key!r} as {kind.__name__}, found {value!r:.60}")
    return value[key]


def _ints(value: Json) -> tuple[int, ...]:
    """A shape, a pair or a range: so few integers that their product takes no time, however long each."""
    if not isinstance(value, list) or len(value) > RANK_LIMIT or any(type(v) is not int for v in value):
        _fail(f"the header must have a list of integers, at most {RANK_LIMIT}, found {value!r:.60}")
    return tuple(value)


def _strings(value: list[Json]) -> list[str]:
    if any(type(v) is not str for v in value):
        _fail(f"the header must have a list of names, found {value!r:.60}")
    return value
