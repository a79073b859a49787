"""What an image takes: sections by whose they are, functions, and the deepest path of calls.

Frames are the compiler's own figures (``.stack_sizes``); those of library routines, which come without, are
read off what the code pushes. Calls are the relocations of the code. Generated code has neither recursion
nor function pointers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from exporters.c99.build import Source
from runtime.errors import GatefoldError
from toolchain.mcu.build import Image
from toolchain.mcu.decode import DECODERS

SHF_EXECUTE = 4
"""The flag of a section that holds code."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the image. ``frame``: bytes of stack for its own call, without what it calls.
    ``calls``: what it calls, by name."""

    name: str
    bytes: int
    frame: int
    library: bool = False
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of an image, without its harness.

    ``text``, ``rodata``, ``data``, ``bss``: of the network's own files. ``library``: routines of the
    compiler that it calls. ``arena``: working memory. ``ports``: the caller's arrays of one sample, inputs
    and outputs. ``stack``: deepest path of calls, ``path`` by name.
    """

    text: int
    rodata: int
    data: int
    bss: int
    library: int
    arena: int
    ports: int
    stack: int
    path: tuple[str, ...]
    functions: tuple[Function, ...]

    @property
    def code(self) -> int:
        """Machine code with library routines."""
        return self.text + self.library

    @property
    def flash(self) -> int:
        """All that lies in flash."""
        return self.text + self.rodata + self.data + self.library

    @property
    def ram(self) -> int:
        """All that lies in RAM while it runs: data, arena, arrays of the caller, stack."""
        return self.data + self.bss + self.arena + self.ports + self.stack


def ports_bytes(source: Source) -> int:
    """Bytes of the caller's arrays: one sample of every input and output."""
    return sum(port.type.size * port.dtype.itemsize for port in (*source.inputs, *source.outputs))


def object_bytes(image: Image) -> dict[str, int]:
    """Bytes of every constant and variable of the image by name."""
    table = read_elf(image.elf).get_section_by_name(".symtab")
    return {s.name: s["st_size"] for s in table.iter_symbols() if s["st_info"]["type"] == "STT_OBJECT"}


# --- a linked image ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Symbols:
    """Addresses by name of a linked image, and its functions by address."""

    addresses: Mapping[str, int]
    functions: Mapping[int, Function]


def read_elf(content: bytes) -> Any:
    """The parsed file."""
    from elftools.elf.elffile import ELFFile

    return ELFFile(io.BytesIO(content))


def measure_sizes(image: Image) -> Sizes:
    """The sizes of ``image``. Raises GatefoldError where its calls form a circle."""
    elf = read_elf(image.elf)
    size = {s.name: s["sh_size"] for s in elf.iter_sections()}
    symbols = linked_symbols(image, elf)
    start = symbols.addresses[f"{image.source.name}_run"] & ~1
    calls = _linked_calls(elf, symbols.functions)
    stack, path = _deepest(start, symbols.functions, calls, image.core.call_bytes)
    reached = _reached(start, calls)
    return Sizes(
        size.get(".text", 0),
        size.get(".rodata", 0),
        size.get(".data", 0),
        size.get(".bss", 0),
        size.get(".library", 0),
        image.source.arena_bytes,
        ports_bytes(image.source),
        stack,
        path,
        tuple(
            replace(
                symbols.functions[at], calls=tuple(symbols.functions[to].name for to in sorted(calls[at]))
            )
            for at in sorted(reached)
        ),
    )


def linked_symbols(image: Image, elf: Any) -> Symbols:
    """Every symbol of ``image``; functions with their frames."""
    frames = dict(_told_frames(elf))
    sections = dict(enumerate(elf.iter_sections()))
    decoder = DECODERS.get(image.core.decoder)
    addresses: dict[str, int] = {}
    functions: dict[int, Function] = {}
    for symbol in elf.get_section_by_name(".symtab").iter_symbols():
        address, bytes_ = symbol["st_value"], symbol["st_size"]
        if symbol.name:
            addresses[symbol.name] = address
        section, place = sections.get(symbol["st_shndx"]), address & ~1
        if section is None or not _is_function(symbol, section):
            continue
        begin = place - section["sh_addr"]
        library = section.name == ".library"
        name = symbol.name.partition(".")[0]  # copies have a number behind a dot
        frame = frames.get(place, None if library else image.frames.get(name))
        if frame is None:
            code = section.data()[begin : begin + bytes_]
            frame = decoder.frame_bytes(code) if decoder else 0
        functions[place] = Function(name, bytes_, frame, library)
    return Symbols(addresses, functions)


def _is_function(symbol: Any, section: Any) -> bool:
    """Whether it is one, which the library of avr-gcc does not say of its own: there they have a size."""
    kind = symbol["st_info"]["type"]
    return kind == "STT_FUNC" or bool(
        kind == "STT_NOTYPE" and symbol["st_size"] and section["sh_flags"] & SHF_EXECUTE
    )


def _told_frames(elf: Any) -> Iterator[tuple[int, int]]:
    """Address and frame of every function that the compiler knows of."""
    section = elf.get_section_by_name(".stack_sizes")
    data = section.data() if section else b""
    width = elf.elfclass // 8
    at = 0
    while at < len(data):
        address = int.from_bytes(data[at : at + width], "little" if elf.little_endian else "big")
        frame, at = _uleb128(data, at + width)
        yield address & ~1, frame


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and where the next thing is."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _linked_calls(elf: Any, functions: Mapping[int, Function]) -> dict[int, set[int]]:
    """Functions that each function refers to."""
    starts = sorted(functions)
    calls: dict[int, set[int]] = {address: set() for address in starts}
    table = elf.get_section_by_name(".symtab")
    for section in _relocations(elf):
        for relocation in section.iter_relocations():
            addend = relocation["r_addend"] if relocation.is_RELA() else 0
            callee = table.get_symbol(relocation["r_info_sym"])["st_value"] + addend & ~1
            caller = _containing(starts, functions, relocation["r_offset"])
            if caller is not None and callee in functions and callee != caller:
                calls[caller].add(callee)
    return calls


def _relocations(elf: Any) -> Iterator[Any]:
    """The sections of relocations of code."""
    from elftools.elf.relocation import RelocationSection

    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section["sh_info"]:
            target = elf.get_section(section["sh_info"])
            if target["sh_flags"] & SHF_EXECUTE:
                yield section


def _containing(starts: list[int], functions: Mapping[int, Function], address: int) -> int | None:
    from bisect import bisect_right

    index = bisect_right(starts, address) - 1
    if index < 0 or address >= starts[index] + max(functions[starts[index]].bytes, 1):
        return None
    return starts[index]


def _reached(start: int, calls: Mapping[int, set[int]]) -> set[int]:
    """What ``start`` calls, directly or not, and itself."""
    found, todo = {start}, [start]
    while todo:
        new = calls[todo.pop()] - found
        found |= new
        todo += new
    return found


# --- the deepest path --------------------------------------------------------------------------------


def _deepest(
    start: Any, functions: Mapping[Any, Function], calls: Mapping[Any, Iterable[Any]], call_bytes: int
) -> tuple[int, tuple[str, ...]]:
    """Bytes and names of the path of calls from ``start`` that takes most stack."""
    known: dict[Any, tuple[int, tuple[str, ...]]] = {}
    open_: set[Any] = set()

    def visit(at: Any) -> tuple[int, tuple[str, ...]]:
        if at in known:
            return known[at]
        if at in open_:
            raise GatefoldError(f"function {functions[at].name} calls itself, so its stack has no bound")
        open_.add(at)
        below = max((visit(to) for to in calls.get(at, ()) if to in functions), default=(0, ()))
        open_.discard(at)
        own = functions[at]
        known[at] = (own.frame + call_bytes + below[0], (own.name, *below[1]))
        return known[at]

    return visit(start)
