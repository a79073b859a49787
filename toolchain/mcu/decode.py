"""Instructions of Thumb, RISC-V and AVR as far as counting needs: lengths, kinds, what a prologue pushes.

Thumb: Arm Architecture Reference Manual, ARMv7-M, DDI0403, chapter A5. RISC-V: The RISC-V Instruction Set
Manual, volume I, chapters 34 and 27 ("C"). AVR: AVR Instruction Set Manual, DS40002198.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """Instructions of a piece of code, and those that take longer. ``loads``, ``stores``: words moved."""

    instructions: int = 0
    loads: int = 0
    stores: int = 0
    multiplies: int = 0
    divides: int = 0

    def __add__(self, other: Work) -> Work:
        return self.plus(other, 1)

    def plus(self, other: Work, times: int) -> Work:
        """This and ``times`` the other."""
        return Work(
            self.instructions + times * other.instructions,
            self.loads + times * other.loads,
            self.stores + times * other.stores,
            self.multiplies + times * other.multiplies,
            self.divides + times * other.divides,
        )


PLAIN = Work(1)
MULTIPLY, DIVIDE = Work(1, multiplies=1), Work(1, divides=1)


def _moved(load: bool, words: int) -> Work:
    return Work(1, loads=words) if load else Work(1, stores=words)


@dataclass(frozen=True, slots=True)
class Instruction:
    """``first``, ``second``: halfwords; ``second`` is None in a short one."""

    first: int
    second: int | None

    @property
    def bytes(self) -> int:
        """2 or 4."""
        return 2 if self.second is None else 4

    @property
    def word(self) -> int:
        """The 32 bits of a long RISC-V instruction."""
        return (self.second or 0) << 16 | self.first


@dataclass(frozen=True, slots=True)
class Decoder:
    """``long``: whether a first halfword begins four bytes. ``work``, ``pushed``: of an instruction; the
    latter is by how many bytes it lowers the stack pointer."""

    long: Callable[[int], bool]
    work: Callable[[Instruction], Work]
    pushed: Callable[[Instruction], int]

    def instructions(self, code: bytes) -> Iterator[Instruction]:
        """The instructions of ``code``, little-endian; half of one at the end is left out."""
        at = 0
        while at + 2 <= len(code):
            first = int.from_bytes(code[at : at + 2], "little")
            if not self.long(first):
                yield Instruction(first, None)
                at += 2
                continue
            if at + 4 > len(code):
                return
            yield Instruction(first, int.from_bytes(code[at + 2 : at + 4], "little"))
            at += 4

    def block_work(self, code: bytes) -> Work:
        """All instructions of ``code``."""
        return sum(map(self.work, self.instructions(code)), Work())

    def frame_bytes(self, code: bytes) -> int:
        """At most what a function of that code takes of the stack: all that it pushes."""
        return sum(map(self.pushed, self.instructions(code)))


# --- Thumb -------------------------------------------------------------------------------------------


def _thumb_short(first: int) -> Work:
    load = bool(first >> 11 & 1)
    top = first >> 12
    if first >> 11 == 0b01001:  # LDR (literal)
        return _moved(True, 1)
    if top == 5:  # register offset; 3 and up load
        return _moved((first >> 9 & 7) >= 3, 1)
    if top in (6, 7, 8, 9):
        return _moved(load, 1)
    if first & 0xF600 == 0xB400:  # PUSH, POP
        return _moved(load, (first & 0x1FF).bit_count())
    if top == 12:  # STM, LDM
        return _moved(load, (first & 0xFF).bit_count())
    return MULTIPLY if first & 0xFFC0 == 0x4340 else PLAIN


def _thumb_long(first: int, second: int) -> Work:
    load = bool(first >> 4 & 1)
    if first & 0xFE40 == 0xE800:  # LDM, STM
        return _moved(load, second.bit_count())
    if first & 0xFE40 == 0xE840:  # LDRD, STRD, table branches
        return _moved(load, 1 if first == 0xE8DF or first & 0xFFF0 == 0xE8D0 else 2)
    if first & 0xFE00 == 0xF800:
        return _moved(load, 1)
    if first & 0xFF00 == 0xFB00:
        return DIVIDE if first & 0xFFD0 == 0xFB90 else MULTIPLY
    return PLAIN


def _thumb_work(instruction: Instruction) -> Work:
    if instruction.second is None:
        return _thumb_short(instruction.first)
    return _thumb_long(instruction.first, instruction.second)


def _thumb_constant(first: int, second: int) -> int:
    """The modified immediate of a data-processing instruction."""
    bits = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
    rotation, byte = bits >> 7, bits & 0xFF
    if bits >> 10 == 0:
        return {0: byte, 1: byte * 0x10001, 2: byte * 0x1000100, 3: byte * 0x1010101}[bits >> 8 & 3]
    value = 0x80 | bits & 0x7F
    return value << (32 - rotation) & 0xFFFFFFFF


def _thumb_pushed(instruction: Instruction) -> int:
    first, second = instruction.first, instruction.second
    if second is not None:
        return _thumb_pushed_long(first, second)
    if first & 0xFE00 == 0xB400:  # PUSH
        return 4 * (first & 0x1FF).bit_count()
    return 4 * (first & 0x7F) if first & 0xFF80 == 0xB080 else 0  # SUB SP


def _thumb_pushed_long(first: int, second: int) -> int:
    if first == 0xE92D:  # PUSH.W
        return 4 * second.bit_count()
    if first == 0xF84D and second & 0xFFF == 0xD04:  # STR Rt, [SP, #-4]!
        return 4
    if first & 0xFBEF == 0xF1AD and second & 0x8F00 == 0x0D00:  # SUB.W SP, SP, #constant
        return _thumb_constant(first, second)
    if first & 0xFBFF == 0xF2AD and second & 0x8F00 == 0x0D00:  # SUBW SP, SP, #imm12
        return (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
    return 0


# --- RISC-V ------------------------------------------------------------------------------------------


def _riscv_work(instruction: Instruction) -> Work:
    if instruction.second is None:
        function, quadrant = instruction.first >> 13, instruction.first & 3
        if quadrant in (0, 2) and function in (2, 6):
            return _moved(function == 2, 1)
        return PLAIN
    word = instruction.word
    opcode = word & 0x7F
    if opcode in (0x03, 0x23):
        return _moved(opcode == 0x03, 1)
    if opcode == 0x33 and word >> 25 == 1:
        return DIVIDE if word >> 14 & 1 else MULTIPLY
    return PLAIN


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _riscv_pushed(instruction: Instruction) -> int:
    word = instruction.first if instruction.second is None else instruction.word
    moved = 0
    if instruction.second is None:
        if word & 0xEF83 == 0x6101:  # C.ADDI16SP
            bits = (word >> 12 & 1) << 9 | (word >> 3 & 3) << 7 | (word >> 5 & 1) << 6
            moved = _signed(bits | (word >> 2 & 1) << 5 | (word >> 6 & 1) << 4, 10)
        elif word & 0xEF83 == 0x0101:  # C.ADDI sp
            moved = _signed((word >> 12 & 1) << 5 | word >> 2 & 31, 6)
    elif word & 0xFFFFF == 0x10113:  # ADDI sp, sp
        moved = _signed(word >> 20, 12)
    return max(-moved, 0)


# --- AVR ---------------------------------------------------------------------------------------------


def _avr_long(first: int) -> bool:
    """LDS, STS, JMP and CALL have two words."""
    return first & 0xFC0F == 0x9000 or first & 0xFE0C == 0x940C


def _avr_work(instruction: Instruction) -> Work:
    raise NotImplementedError("AVR is not counted by instructions: simavr tells its cycles")


def _avr_pushed(instruction: Instruction) -> int:
    return int(instruction.first & 0xFE0F == 0x920F)


DECODERS: dict[str, Decoder] = {
    "thumb": Decoder(lambda first: first >> 11 in (0b11101, 0b11110, 0b11111), _thumb_work, _thumb_pushed),
    "avr": Decoder(_avr_long, _avr_work, _avr_pushed),
    "riscv": Decoder(lambda first: first & 3 == 3, _riscv_work, _riscv_pushed),
}
"""Decoders by name."""
