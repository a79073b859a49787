"""Run a linked image under emulation: outputs, instructions by step, stack, alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.c99.build import Port
from runtime.errors import GatefoldError
from toolchain.mcu.build import Image
from toolchain.mcu.cores import Timing
from toolchain.mcu.decode import DECODERS, Work
from toolchain.mcu.harness import (
    ENTRY,
    HALT,
    INPUT,
    MARK,
    OUTPUT,
    REGION_BYTES,
    RESULT,
    STACK_BYTES,
    STACK_TOP,
)
from toolchain.mcu.image import SHF_EXECUTE, linked_symbols, read_elf

PAINT = 0xA5
"""What the stack holds before a run."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of a run took. ``taken``: branches that were taken. ``clocks``: cycles, where they are
    counted and instructions are not."""

    work: Work = field(default_factory=Work)
    taken: int = 0
    clocks: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.work + other.work, self.taken + other.taken, self.clocks + other.clocks)

    @property
    def instructions(self) -> int:
        """Instructions, those that a condition skipped included."""
        return self.work.instructions

    def cycles(self, timing: Timing | None) -> float:
        """Cycles, without wait states of the memories; estimated from instructions where there is a
        ``timing``."""
        if timing is None:
            return self.clocks
        work = self.work
        more = timing.load * work.loads + timing.store * work.stores + timing.taken * self.taken
        more += timing.multiply * work.multiplies + timing.divide * work.divides
        return timing.factor * (work.instructions + more)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run. ``outputs``: by name. ``steps``: what each step took where it was counted, in order; without
    a profile one entry for all. ``stack``: bytes that the program wrote below the harness's own frame.
    ``unaligned``: accesses that were not aligned to their size, where they were checked."""

    outputs: dict[str, NDArray[Any]]
    steps: tuple[Spent, ...]
    stack: int
    unaligned: int

    @property
    def total(self) -> Spent:
        """All steps."""
        return sum(self.steps, Spent())


class Emulator:
    """An image in an emulated machine; every run starts it anew.

    Raises GatefoldError where the image does not run to its end.
    """

    def __init__(self, image: Image) -> None:
        if image.core.machine is None:
            raise GatefoldError(f"unicorn has no {image.core.name}")
        self._image = image
        self._machine = image.core.machine
        self._elf = read_elf(image.elf)
        self._order = "<" if self._elf.little_endian else ">"
        symbols = linked_symbols(image, self._elf)
        self._addresses = symbols.addresses
        frames = {function.name: function.frame for function in symbols.functions.values()}
        self._harness_frame = frames["gf_start"] + frames.get(ENTRY, 0)
        sections = {s.name: s for s in self._elf.iter_sections()}
        harness = sections[".harness"]
        self._harness = range(harness["sh_addr"], harness["sh_addr"] + harness["sh_size"])
        self._code = {
            s["sh_addr"]: s.data()
            for s in sections.values()
            if s["sh_flags"] & SHF_EXECUTE and s["sh_size"]
        }
        self._work: dict[tuple[int, int], Work] = {}

    def run(self, inputs: Arrays, count: bool = False, check_alignment: bool = False) -> Run:
        """Run one sample. ``count``: instructions, which is slower. ``check_alignment``: of every access,
        which is slower still, and not for cores with conditional instructions: unicorn's hooks on memory
        break those (its issue 2309)."""
        import unicorn

        engine = self._fresh(unicorn)
        for number, port in enumerate(self._image.source.inputs):
            engine.mem_write(self._addresses[f"{INPUT}{number}"], self._bytes(inputs[port.name], port))
        counter = Counter(self._harness)
        unaligned: list[int] = []
        if count:
            counter.attach(unicorn, engine, self._addresses.get(MARK) if self._image.profile else None)
        if check_alignment:
            engine.hook_add(
                unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE,
                lambda _, kind, address, size, *rest: unaligned.append(address) if address % size else None,
            )
        self._start(unicorn, engine)
        return Run(
            {
                port.name: self._array(engine, self._addresses[f"{OUTPUT}{number}"], port)
                for number, port in enumerate(self._image.source.outputs)
            },
            tuple(self._spent(blocks) for blocks in counter.finished(len(self._image.source.steps))),
            max(self._painted(engine) - self._harness_frame, 0),
            len(unaligned),
        )

    def _fresh(self, unicorn: Any) -> Any:
        """A machine with the image in its flash and a painted stack."""
        machine = self._machine
        modes = sum(getattr(unicorn, mode) for mode in machine.modes)
        engine = unicorn.Uc(getattr(unicorn, machine.arch), modes)
        constants = _constants(machine.arch)
        if machine.model:
            engine.ctl_set_cpu_model(getattr(constants, machine.model))
        for base in (self._image.memory.flash, self._image.memory.ram):
            engine.mem_map(base & ~0xFFF, REGION_BYTES)
        for segment in self._elf.iter_segments():
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]:
                engine.mem_write(segment["p_paddr"], segment.data())
        top = self._addresses[STACK_TOP]
        engine.mem_write(top - STACK_BYTES, bytes([PAINT]) * STACK_BYTES)
        engine.reg_write(getattr(constants, machine.stack), top)
        return engine

    def _start(self, unicorn: Any, engine: Any) -> None:
        where = f"{self._image.source.name} on {self._image.core.name}"
        thumb = int(self._machine.thumb)
        try:
            engine.emu_start(self._addresses[ENTRY] & ~1 | thumb, self._addresses[HALT] & ~1)
        except unicorn.UcError as error:
            raise GatefoldError(
                f"{where} stopped under emulation: {error}; report it with the program"
            ) from None
        order = "little" if self._order == "<" else "big"
        result = int.from_bytes(engine.mem_read(self._addresses[RESULT], 4), order)
        if result:
            raise GatefoldError(f"{where} returned {result} in place of 0; report it with the program")

    def _bytes(self, array: NDArray[Any], port: Port) -> bytes:
        return np.ascontiguousarray(array, port.dtype.newbyteorder(self._order)).tobytes()

    def _array(self, engine: Any, address: int, port: Port) -> NDArray[Any]:
        content = bytes(engine.mem_read(address, port.type.size * port.dtype.itemsize))
        array = np.frombuffer(content, port.dtype.newbyteorder(self._order))
        return array.astype(np.int64).reshape(port.type.shape)

    def _painted(self, engine: Any) -> int:
        """Bytes from the first that lost its paint to the top of the stack."""
        top = self._addresses[STACK_TOP]
        stack = np.frombuffer(bytes(engine.mem_read(top - STACK_BYTES, STACK_BYTES)), np.uint8)
        changed = np.flatnonzero(stack != PAINT)
        return STACK_BYTES - int(changed[0]) if changed.size else 0

    def _spent(self, blocks: Blocks) -> Spent:
        work = Work()
        for (address, size), times in blocks.times.items():
            work = work.plus(self._block_work(address, size), times)
        return Spent(work, blocks.taken)

    def _block_work(self, address: int, size: int) -> Work:
        key = address, size
        if key not in self._work:
            decoder = DECODERS[self._image.core.decoder]
            self._work[key] = decoder.block_work(self._content(address, size))
        return self._work[key]

    def _content(self, address: int, size: int) -> bytes:
        for base, data in self._code.items():
            if base <= address < base + len(data):
                return data[address - base : address - base + size]
        raise GatefoldError(f"{self._image.source.name} runs code at {address:#x}, outside of its image")


def _constants(arch: str) -> Any:
    """unicorn's module of an architecture's constants."""
    import importlib

    return importlib.import_module(f"unicorn.{arch.removeprefix('UC_ARCH_').lower()}_const")


@dataclass(slots=True)
class Blocks:
    """How often each block of code (address, bytes) began, and how many branches led to one."""

    times: dict[tuple[int, int], int]
    taken: int = 0

    def add(self, other: Blocks) -> None:
        """Count what ``other`` counted as well."""
        for key, times in other.times.items():
            self.times[key] = self.times.get(key, 0) + times
        self.taken += other.taken


class Counter:
    """Counts the blocks that run outside of ``harness``, for each step on its own."""

    def __init__(self, harness: range) -> None:
        self._harness = harness
        self._steps = [Blocks({})]
        self._profiled = False

    def attach(self, unicorn: Any, engine: Any, mark: int | None) -> None:
        """Count in ``engine`` from now on. ``mark``: address of what every step calls as it begins."""
        self._profiled = mark is not None
        engine.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block(-1 if mark is None else mark & ~1))

    def finished(self, steps: int) -> tuple[Blocks, ...]:
        """What each of ``steps`` steps took. What came before is added to the first, the end to the last;
        without a profile all of it is one entry."""
        if not self._profiled:
            return tuple(self._steps)
        numbered = self._steps[-steps - 1 : -1]
        for extra in self._steps[: -steps - 1]:
            numbered[0].add(extra)
        numbered[-1].add(self._steps[-1])
        return tuple(numbered)

    def _on_block(self, mark: int) -> Callable[..., None]:
        harness, steps, end = self._harness, self._steps, -1

        def on_block(engine: Any, address: int, size: int, data: Any) -> None:
            nonlocal end
            if address not in harness:
                blocks = steps[-1]
                times, key = blocks.times, (address, size)
                times[key] = times.get(key, 0) + 1
                if address != end:
                    blocks.taken += 1
            elif address == mark:
                steps.append(Blocks({}))
            end = address + size

        return on_block
