"""The file: what is written comes back, and nothing damaged or hostile gets through."""

import copy
import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from runtime.errors import FormatError, InputError, ProgramError
from runtime.ir import Builder, Program
from runtime.ops import Conv2d, Dense, Reshape, ShiftRight, Threshold
from runtime.printer import program_text
from runtime.serialize import FILE_LIMIT, HEADER, dumps, load, loads, save
from runtime.types import BIT
from runtime.weights import Weights
from tests.programs import OP_CASES, programs


def small() -> Program:
    b = Builder("small")
    x = b.input("x", (3,), BIT)
    y = b.add(Dense(Weights(np.array([[1, 0, -1], [1, 1, 0]]), 3)), x)
    y = b.add(Threshold(np.array([[1], [2]]), np.array([1, 1])), y)
    return b.build((y,), {"accuracy": 0.5})


def even() -> Program:
    """Weights without zeros, in both encodings, with bits to spare in their last bytes."""
    b = Builder("even")
    x = b.input("x", (3,), BIT)
    x = b.add(Dense(Weights(np.array([[1, -1, 1], [1, 1, -1]]), 2)), x)
    x = b.add(Dense(Weights(np.array([[5, -3], [1, 1], [-1, -5]]), 6, "planes")), x)
    x = b.add(Dense(Weights(np.array([[3, -5, 1], [1, 1, -1]]), 6)), x)
    return b.build((x,))


def short() -> Program:
    """Weights of few bytes: pruned, and of a quarter of their number."""
    b = Builder("short")
    x = b.input("x", (4, 3, 3), BIT)
    components = np.array([1, 0, -1, 1]).reshape(4, 1, 1)
    kernels = np.zeros((4, 1, 1, 3, 3), int)
    kernels[:, 0, 0, 1, 1] = (1, 0, -2, 1)
    x = b.add(Conv2d(Weights.hamilton(kernels, 5, "hamilton-sparse")), x)
    x = b.add(Dense(Weights.hamilton(components, 3)), b.add(Reshape((4,)), x))
    return b.build((b.add(Dense(Weights(np.eye(64, 4, dtype=int), 3)), x),))


PROGRAMS = (small(), even(), short())
SMALL = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)


@given(programs())
def test_a_program_comes_back_equal(program: Program) -> None:
    data = dumps(program)
    again = loads(data)
    assert program_text(again) == program_text(program)
    assert dumps(again) == data


@pytest.mark.parametrize("name", sorted(OP_CASES))
def test_every_op_comes_back_equal(name: str) -> None:
    for program in OP_CASES[name]:
        assert program_text(loads(dumps(program))) == program_text(program)


def test_numpy_reads_the_file() -> None:
    with np.load(io.BytesIO(dumps(small()))) as archive:
        assert json.loads(archive[HEADER])["name"] == "small"
        assert archive["n00001.thresholds"].tolist() == [[1], [2]]


def test_metadata_comes_back() -> None:
    assert dict(loads(dumps(small())).metadata) == {"accuracy": 0.5}


@SMALL
def test_every_flipped_byte_is_one_clear_error(program: Program) -> None:
    data = dumps(program)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        with pytest.raises(FormatError, match=r"damaged|not a \.gfold program"):
            loads(bytes(damaged))


@SMALL
def test_every_truncation_is_one_clear_error(program: Program) -> None:
    data = dumps(program)
    for length in range(len(data)):
        with pytest.raises(FormatError, match=r"damaged|not a \.gfold program"):
            loads(data[:length])
    with pytest.raises(FormatError):
        loads(data + b"\0")


def resigned(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file of ``members`` with a correct digest, as an attacker would write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
        archive.comment = bytes(71)
    body = buffer.getvalue()[:-71]
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def members_of(program: Program) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(dumps(program))) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist()}


def forged(change: Callable[[dict[str, Any]], None], program: Program | None = None) -> bytes:
    """A program, the small one by default, with its header changed and signed again."""
    members = members_of(program or small())
    header = json.loads(members[HEADER])
    change(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return resigned({**members, HEADER: text.encode()})


def test_the_forger_can_write_a_good_file() -> None:
    for program in PROGRAMS:
        assert forged(lambda header: None, program) == dumps(program)


def set_path(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        target = header
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


ATTRIBUTES = ("nodes", 0, "attributes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_path("version", value=2), "format version 2 is not 1"),
        (set_path("version", value="1"), "must have 'version' as int"),
        (set_path("format", value="zip"), "not that of a Gatefold program"),
        (set_path("name", value=3), "must have 'name' as str"),
        (set_path("inputs", value={}), "must have 'inputs' as list"),
        (set_path("inputs", 0, "shape", value=[2**40]), "a value may have at most"),
        (set_path("inputs", 0, "shape", value=[10**4000]), "at most 20 characters, not 4001"),
        (set_path("inputs", 0, "shape", value=[-1]), "positive dimensions"),
        (set_path("inputs", 0, "shape", value=[True]), "a list of integers"),
        (set_path("inputs", 0, "range", value=[0]), "a range must be two integers"),
        (set_path("inputs", 0, "range", value=[0, 10**19]), "exceeds 62 bits"),
        (set_path("nodes", 0, "op", value="Exec"), "op must be one of Conv2d, .*, not 'Exec'"),
        (set_path("nodes", 0, "operands", value=["y"]), "operand 'y' is used before it is defined"),
        (set_path("nodes", 0, "operands", value=[1]), "a list of names"),
        (set_path("nodes", 0, "range", value=[0, 1]), r"type is u1\[2\] in \[0, 1\], inferred"),
        (set_path(*ATTRIBUTES, value={}), r"Dense must have attributes \['weights', 'bias'\]"),
        (set_path("inputs", 0, "shape", value=[10**19] * 100_000), "a list of integers, at most 8, found"),
        (
            set_path(*ATTRIBUTES, "weights", "shape", value=[10**19] * 100_000),
            "a list of integers, at most 8",
        ),
        (
            set_path(*ATTRIBUTES, "weights", "shape", value=[2**40, 3]),
            "a constant may have at most 134217728 weights, not 3298534883328",
        ),
        (set_path(*ATTRIBUTES, "weights", "shape", value=[-2, -3]), "1 to 8 positive dimensions, not"),
        (
            set_path(*ATTRIBUTES, "weights", "shape", value=[2, 6]),
            "12 packed weights must have 3 bytes, not 2",
        ),
        (set_path(*ATTRIBUTES, "weights", "levels", value=5), "packed weights must have 2 bytes|outside"),
        (set_path(*ATTRIBUTES, "weights", "levels", value=2**60), "weight levels must be odd"),
        (set_path(*ATTRIBUTES, "weights", "encoding", value="gzip"), "weight encoding must be one of"),
        (set_path(*ATTRIBUTES, "weights", "packed", "shape", value=[2**50]), "more than the file holds"),
        (set_path(*ATTRIBUTES, "weights", "packed", "dtype", value="|O"), r"has dtype '\|O'"),
        (set_path(*ATTRIBUTES, "weights", "packed", "dtype", value="|i1"), "not the .npy that the header"),
        (set_path(*ATTRIBUTES, "weights", "packed", "array", value="../x"), "'../x'"),
        (set_path("metadata", value=[]), "must have 'metadata' as dict"),
        (set_path("extra", value=1), "not in canonical form"),
    ],
)
def test_a_forged_header_is_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        loads(forged(change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rounding", "message"),
    [
        (1, "a text attribute must be text, not 1"),
        ([], r"a text attribute must be text, not \[\]"),
        ("up" * 999, "ShiftRight rounding must be one of floor, half-up, not 'upup"),
    ],
)
def test_forged_text_is_refused(rounding: object, message: str) -> None:
    b = Builder("shift")
    program = b.build((b.add(ShiftRight(2, "half-up"), b.input("x", (3,), BIT)),))
    with pytest.raises(FormatError, match=message) as caught:
        loads(forged(set_path(*ATTRIBUTES, "rounding", value=rounding), program))
    assert len(str(caught.value)) < 200


HAMILTON, SPARSE = ("nodes", 2, "attributes", "weights"), ("nodes", 3, "attributes", "weights")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_path(*HAMILTON, "encoding", value="base"), "16 packed weights must have 4 bytes, not 1"),
        (set_path(*HAMILTON, "encoding", value="hamilton-planes"), "4 packed weights must have 2 bytes"),
        (set_path(*HAMILTON, "encoding", value="hamilton-hamilton-base"), "weight encoding must be one of"),
        (set_path(*HAMILTON, "shape", value=[4, 5]), r"in multiples of 4, not shape \[4, 5\]"),
        (set_path(*HAMILTON, "shape", value=[16]), r"in multiples of 4, not shape \[16\]"),
        (set_path(*HAMILTON, "shape", value=[4, 2**26]), "a constant may have at most 134217728 weights"),
        (set_path(*SPARSE, "levels", value=4), "sparse weights need 0 in their value set"),
        (set_path(*SPARSE, "shape", value=[3, 5]), "sparse weights must end at weight 15, not at 16"),
        (set_path(*SPARSE, "shape", value=[2**20, 4]), "type is"),
        (set_path(*SPARSE, "shape", value=[2**26, 4]), "a constant may have at most 134217728 weights"),
        (set_path("nodes", 0, "attributes", "groups", value=2), "Hamilton weights need groups 1, not 2"),
    ],
)
def test_forged_short_weights_are_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        loads(forged(change, short()))
    assert "\n" not in str(caught.value)


def repeat_last_node(times: int, shape: list[int]) -> Callable[[dict[str, Any]], None]:
    """Many nodes of many weights that share one array of a few bytes."""

    def change(header: dict[str, Any]) -> None:
        set_path(*SPARSE, "shape", value=shape)(header)
        header["nodes"] = header["nodes"][:3] + header["nodes"][3:] * times

    return change


def test_few_bytes_do_not_expand_without_bound() -> None:
    data = forged(repeat_last_node(1000, [2**20, 4]), short())
    assert len(data) < 500_000
    tracemalloc.start()
    with pytest.raises(FormatError, match="a program may have at most 268435456 weights, not 4194304160"):
        loads(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_program_that_could_not_be_loaded_is_not_saved() -> None:
    b = Builder("large")
    weights = Weights(np.zeros((2**12, 2**12), np.int8), 3)
    x = b.input("x", (2**12,), BIT)
    for _ in range(17):
        b.add(Dense(weights), x)
    with pytest.raises(ProgramError, match=f"at most {2**28} weights, not {17 * 2**24}"):
        dumps(b.build((x,)))


@pytest.mark.parametrize("levels", [3, 4, 6, 8, 64])
def test_forged_levels_are_refused(levels: int) -> None:
    change = set_path(*ATTRIBUTES, "weights", "levels", value=levels)
    with pytest.raises(FormatError, match=r"packed weights|type is|not in canonical form") as caught:
        loads(forged(change, even()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("levels", [-2, 0, 1, 66, 129])
def test_numbers_of_levels_that_do_not_exist_are_refused(levels: int) -> None:
    message = rf"weight levels must be odd within 3\.\.127 or even within 2\.\.64, not {levels}$"
    with pytest.raises(FormatError, match=message):
        loads(forged(set_path(*ATTRIBUTES, "weights", "levels", value=levels), even()))


@pytest.mark.parametrize(
    ("member", "packed", "message"),
    [
        ("n00000.weights.npy", [0b1_000_000], "packed weights hold digits outside their value set"),
        ("n00001.weights.npy", [0, 1, 1], r"weight codes must be non-empty and within -5\.\.5"),
        ("n00001.weights.npy", [128, 0, 0], "packed weights hold digits outside their value set"),
        ("n00002.weights.npy", [216, 0], "packed weights hold digits outside their value set"),
    ],
)
def test_forged_codes_are_refused(member: str, packed: list[int], message: str) -> None:
    members = members_of(even())
    head = members[member][: -len(packed)]
    with pytest.raises(FormatError, match=message) as caught:
        loads(resigned({**members, member: head + bytes(packed)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "the header is not plain JSON"),
        (b"\xff", "the header is not plain JSON"),
        (b"[]", "not that of a Gatefold program"),
        (b'{"format": "gatefold", "version": NaN}', "NaN is not a finite number"),
        (b'{"format": "gatefold", "version": -Infinity}', "-Infinity is not a finite number"),
        (b'{"metadata": 1e999}', "1e999 is not a finite number"),
        (b"[" * 100_000, "the header is not plain JSON"),
        (b'{"version": ' + b"1" * 5000 + b"}", "the header is not plain JSON"),
    ],
)
def test_a_broken_header_is_refused(header: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        loads(resigned({**members_of(small()), HEADER: header}))


def test_compressed_members_are_refused() -> None:
    with pytest.raises(FormatError, match="members must be stored uncompressed"):
        loads(resigned(members_of(small()), zipfile.ZIP_DEFLATED))


def test_extra_and_missing_members_are_refused() -> None:
    members = members_of(small())
    with pytest.raises(FormatError, match="not in canonical form"):
        loads(resigned({**members, "virus.npy": b"x"}))
    missing = {k: v for k, v in members.items() if "thresholds" not in k}
    with pytest.raises(FormatError, match="declares 2 elements, more than the file holds"):
        loads(resigned(missing))


def test_a_pickle_is_never_read() -> None:
    members = members_of(small())
    evil = io.BytesIO()
    np.save(evil, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"not the \.npy that the header declares"):
        loads(resigned({**members, "n00001.thresholds.npy": evil.getvalue()}))


def test_arrays_must_be_stored_small() -> None:
    members, header = members_of(small()), {}
    header = copy.deepcopy(json.loads(members[HEADER]))
    header["nodes"][1]["attributes"]["thresholds"]["dtype"] = "<i8"
    wide = io.BytesIO()
    np.save(wide, np.array([[1], [2]], "<i8"))
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(FormatError, match=r"not stored in its smallest dtype|not the \.npy"):
        loads(resigned({**members, HEADER: text, "n00001.thresholds.npy": wide.getvalue()}))


def test_files_name_themselves_in_errors(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "p.gfold")
    assert program_text(load(path)) == program_text(small())
    path.write_bytes(b"PK")
    with pytest.raises(FormatError, match=r"p\.gfold: not a \.gfold program, or cut off"):
        load(path)
    with pytest.raises(InputError, match=r"cannot read .*none\.gfold: No such file"):
        load(tmp_path / "none.gfold")
    with pytest.raises(InputError, match=r"is a directory; give the program\.gfold in it"):
        load(tmp_path)


def test_an_oversized_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.gfold"
    with path.open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(FormatError, match="a program file may have 268435456 bytes"):
        load(path)


def test_saving_is_atomic(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "p.gfold"
    save(small(), target)
    assert [p.name for p in target.parent.iterdir()] == ["p.gfold"]
    with pytest.raises(InputError, match=r"cannot write .*: Is a directory"):
        save(small(), tmp_path)
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        save(small(), blocker / "p.gfold")
