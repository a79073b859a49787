"""Instructions as far as counting needs them."""

from __future__ import annotations

import pytest

from toolchain.mcu.decode import DECODERS, Work

THUMB: dict[str, tuple[str, Work, int]] = {
    "adds r0, r0, r1": ("4018", Work(1), 0),
    "ldr r0, [r1]": ("0868", Work(1, loads=1), 0),
    "strb r0, [r1]": ("0870", Work(1, stores=1), 0),
    "ldrsh r0, [r1, r2]": ("885e", Work(1, loads=1), 0),
    "str r0, [r1, r2]": ("8850", Work(1, stores=1), 0),
    "ldr r0, [pc, #4]": ("0148", Work(1, loads=1), 0),
    "push {r4-r7, lr}": ("f0b5", Work(1, stores=5), 20),
    "pop {r4-r7, pc}": ("f0bd", Work(1, loads=5), 0),
    "sub sp, #40": ("8ab0", Work(1), 40),
    "add sp, #40": ("0ab0", Work(1), 0),
    "muls r0, r1": ("4843", Work(1, multiplies=1), 0),
    "bl": ("00f000f8", Work(1), 0),
    "push.w {r4-r11, lr}": ("2de9f04f", Work(1, stores=9), 36),
    "sub.w sp, sp, #256": ("adf5807d", Work(1), 256),
    "subw sp, sp, #257": ("adf2011d", Work(1), 257),
    "str lr, [sp, #-4]!": ("4df804ed", Work(1, stores=1), 4),
    "ldrd r0, r1, [r2]": ("d2e90001", Work(1, loads=2), 0),
    "mla r0, r1, r2, r3": ("01fb0230", Work(1, multiplies=1), 0),
    "udiv r0, r1, r2": ("b1fbf2f0", Work(1, divides=1), 0),
}

RISCV: dict[str, tuple[str, Work, int]] = {
    "c.addi sp, -16": ("4111", Work(1), 16),
    "c.addi16sp sp, -64": ("3971", Work(1), 64),
    "c.addi16sp sp, 64": ("2161", Work(1), 0),
    "addi sp, sp, -2032": ("13010181", Work(1), 2032),
    "c.lw a0, 0(a1)": ("8841", Work(1, loads=1), 0),
    "c.swsp ra, 12(sp)": ("06c6", Work(1, stores=1), 0),
    "lbu a0, 0(a1)": ("03c50500", Work(1, loads=1), 0),
    "sh a0, 0(a1)": ("2390a500", Work(1, stores=1), 0),
    "mul a0, a0, a1": ("3305b502", Work(1, multiplies=1), 0),
    "divu a0, a0, a1": ("3355b502", Work(1, divides=1), 0),
}


@pytest.mark.parametrize(("decoder", "case"), [("thumb", c) for c in THUMB] + [("riscv", c) for c in RISCV])
def test_an_instruction_is_what_it_is(decoder: str, case: str) -> None:
    code, work, frame = {"thumb": THUMB, "riscv": RISCV}[decoder][case]
    content = bytes.fromhex(code)
    (instruction,) = DECODERS[decoder].instructions(content)
    assert instruction.bytes == len(content)
    assert DECODERS[decoder].block_work(content) == work
    assert DECODERS[decoder].frame_bytes(content) == frame


def test_work_adds_up_over_mixed_lengths_and_half_an_instruction_is_left_out() -> None:
    code = bytes.fromhex("f0b5" + "2de9f04f" + "0868" + "2de9")
    assert DECODERS["thumb"].block_work(code) == Work(3, loads=1, stores=14)
    assert Work(1, loads=2).plus(Work(2, stores=1), 3) == Work(7, loads=2, stores=3)
