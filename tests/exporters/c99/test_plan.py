"""The arena plan, checked by replaying it: no two live buffers overlap, and no byte is planned in vain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.base import EXPORTERS
from exporters.c99.build import generate
from exporters.c99.forms import Form
from exporters.c99.plan import KERNELS, Plan, plan_program
from exporters.c99.targets import TARGETS
from runtime.ir import Builder, Program
from runtime.ops import Add, Clip, Conv2d, Or, Reshape, Square, Sub, Threshold
from runtime.serialize import load
from runtime.types import Interval
from runtime.weights import Weights
from tests.exporters.c99.natives import GCC, STRICT, call, write
from tests.exporters.c99.test_programs import NAMES, TRAINED, bit_program, random_layer, roomy
from tests.programs import programs


def test_every_kernel_can_be_preferred() -> None:
    (prefer,) = (option for option in EXPORTERS["c99"].options if option.name == "prefer")
    assert set(prefer.choices) == {"auto", *KERNELS}


@dataclass(frozen=True)
class Held:
    """Bytes ``start .. stop`` that hold ``name`` while the steps ``birth .. death`` run."""

    name: str
    start: int
    stop: int
    birth: int
    death: int

    def meets(self, other: Held) -> bool:
        """Whether both hold a byte at one time."""
        together = self.birth <= other.death and other.birth <= self.death
        return together and self.start < other.stop and other.start < self.stop


def replay(plan: Plan) -> list[Held]:
    """Every buffer of the arena with the time from the step that writes it to the last that reads it."""
    held = []
    for number, step in enumerate(plan.steps):
        for name, size in step.scratch.items():
            if size:
                start = plan.offsets[f"{number}.{name}"]
                held.append(Held(f"{number}.{name}", start, start + size, number, number))
        if step.result in plan.offsets:
            start, size = plan.offsets[step.result], plan.stored[step.result].bytes(plan.target)
            reads = [n for n, other in enumerate(plan.steps) if step.result in other.reads]
            held.append(Held(step.result, start, start + size, number, max([number, *reads])))
    return held


def check(plan: Plan) -> None:
    """No overlap but of results that replace an operand; every key is where it can be."""
    held = replay(plan)
    inputs = {f"{spec.name}:{Form.INTEGERS.value}" for spec in plan.program.inputs}
    outside = inputs | set(plan.outputs.values())
    assert {h.name for h in held} == set(plan.offsets)
    assert not outside & set(plan.offsets)
    assert {step.result for step in plan.steps} | inputs == set(plan.stored)
    assert {key for step in plan.steps for key in step.reads} <= set(plan.offsets) | outside
    made = set(inputs)
    for step in plan.steps:
        assert set(step.reads) <= made, "read before it is written"
        made.add(step.result)
    for index, one in enumerate(held):
        assert one.start % plan.target.align == 0
        for other in held[:index]:
            if one.meets(other):
                assert replaces(plan, other, one), (other, one)
    highest = max((h.stop for h in held), default=0)
    align = plan.target.align
    assert plan.arena_bytes == max(-(-highest // align) * align, align)


def replaces(plan: Plan, old: Held, new: Held) -> bool:
    """Whether ``new`` may take the place of ``old``: written by the step that reads ``old`` for the last
    time, element by element and of the same size."""
    step = plan.steps[new.birth]
    same = (old.start, old.stop) == (new.start, new.stop)
    return (
        step.in_place
        and step.result == new.name
        and old.name in step.reads
        and old.death == new.birth
        and same
    )


@settings(max_examples=150)
@given(
    program=programs(10), target=st.sampled_from(list(TARGETS)), kernel=st.sampled_from(("auto", *KERNELS))
)
def test_no_live_buffers_overlap_in_random_programs(program: Program, target: str, kernel: str) -> None:
    check(plan_program(program, TARGETS[target], kernel))


@pytest.mark.parametrize("seed", range(24))
def test_no_live_buffers_overlap_in_random_layers(seed: int) -> None:
    for kernel in ("auto", *KERNELS):
        target = list(TARGETS.values())[seed % len(TARGETS)]
        check(plan_program(random_layer(500 + seed, seed % 2 == 0), target, kernel))


@pytest.mark.parametrize("target", TARGETS)
def test_no_live_buffers_overlap_in_trained_programs(target: str) -> None:
    for name in NAMES[list(TARGETS).index(target) % 3 :: 3]:
        check(plan_program(load(TRAINED / name / "program.gfold"), roomy(target)))


def test_the_replay_notices_an_overlap() -> None:
    plan = plan_program(bit_program(0), TARGETS["x86-64-v3"])
    check(plan)
    first, second = next(
        (a, b)
        for a in replay(plan)
        for b in replay(plan)
        if a != b and a.birth <= b.death and b.birth <= a.death
    )
    wrong = {**plan.offsets, second.name: first.start}
    with pytest.raises(AssertionError):
        check(
            Plan(plan.program, plan.target, plan.steps, plan.stored, wrong, plan.arena_bytes, plan.outputs)
        )


# --- what is shared ----------------------------------------------------------------------------------


def test_elementwise_results_take_the_place_of_operands() -> None:
    b = Builder("inplace")
    x, y = (b.input(name, (4, 8, 8), Interval(-9, 9)) for name in "xy")
    first = b.add(Add(), x, y)
    both = b.add(Add(), b.add(Sub(), first, x), b.add(Sub(), first, y))
    program = b.build(outputs=(b.add(Clip(0, 9), b.add(Add(), both, first)), both))
    plan = plan_program(program, TARGETS["cortex-m4"])
    check(plan)
    offsets = [plan.offsets.get(step.result) for step in plan.steps]
    assert plan.arena_bytes == 3 * 256  # first, and two differences of which one becomes their sum
    assert len(offsets) > len(set(offsets))


def test_a_value_that_is_read_again_keeps_its_place() -> None:
    b = Builder("kept")
    x = b.input("x", (64,), Interval(-9, 9))
    one = b.add(Add(), x, x)
    two = b.add(Add(), one, x)
    program = b.build(outputs=(b.add(Sub(), two, one),))
    plan = plan_program(program, TARGETS["cortex-m4"])
    check(plan)
    assert plan.offsets["add:integers"] != plan.offsets["add_2:integers"]


def test_values_of_a_chain_of_layers_share_two_places() -> None:
    """Ping-pong: the arena holds the operand and the result of one layer, not of all."""
    b = Builder("chain")
    value = b.input("x", (16, 8, 8), Interval(0, 1))
    rng = np.random.default_rng(0)
    for _ in range(8):
        conv = Conv2d(Weights(rng.integers(-1, 2, (16, 16, 3, 3)), 3), None, (1, 1), (1, 1))
        value = b.add(Threshold(rng.integers(-9, 9, (16, 1)), np.ones(16, int)), b.add(conv, value))
    plan = plan_program(b.build(outputs=(value,)), TARGETS["cortex-m4"])
    check(plan)
    layers = [step for step in plan.steps if step.kind == "layer"]
    largest = max(
        sum(-(-size // 8) * 8 for size in step.scratch.values())
        + 2 * plan.stored[step.result].bytes(plan.target)
        for step in layers
    )
    assert len(layers) == 8
    assert plan.arena_bytes < 1.1 * largest < 8 * 128 + largest  # all eight values would be 1 KiB


def test_reshapes_take_no_memory() -> None:
    b = Builder("views")
    x = b.input("x", (4, 4, 4), Interval(0, 3))
    y = b.add(Square(), x)
    for shape in ((64,), (8, 8, 1), (64,), (4, 4, 4)):
        y = b.add(Reshape(shape), y)
    program = b.build(outputs=(b.add(Or(), y, x),))
    plan = plan_program(program, TARGETS["x86-64-v3"])
    check(plan)
    assert [step.kind for step in plan.steps] == ["loop", "loop"]
    assert plan.arena_bytes == 64


# --- which kernel ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "stride", "kernel"), [(1, 1, "lanes"), (1, 2, "lanes"), (8, 1, "integers")]
)
def test_few_bytes_are_not_saved_at_several_times_the_time(bits: int, stride: int, kernel: str) -> None:
    """Weights of 12 channels fill words and lists badly: three to four times the bytes of their digits."""
    b = Builder("few channels")
    x = b.input("x", (12, 12, 12), Interval(0, (1 << bits) - 1))
    codes = np.random.default_rng(0).integers(-1, 2, (12, 12, 3, 3))
    sums = b.add(Conv2d(Weights(codes, 3), None, (stride, stride), (1, 1)), x)
    program = b.build(outputs=(b.add(Threshold(np.zeros((12, 1), int), np.ones(12, int)), sums),))
    (step,) = (s for s in plan_program(program, TARGETS["cortex-m0plus"]).steps if s.candidate)
    assert step.candidate is not None
    assert step.candidate.kernel == kernel


# --- planned and compiled ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4", "avr"])
def test_planned_bytes_are_the_compiled_ones(target: str, tmp_path: Path) -> None:
    source = generate(random_layer(3, False), target, name="net", vectors=0)
    write(source, tmp_path)
    assert f"#define net_ARENA_BYTES {source.arena_bytes}u\n" in source.files["net.h"].decode()
    places = [int(n) for n in re.findall(r"memory \+ (\d+)", source.files["net.c"].decode())]
    assert set(places) <= set(source.plan.offsets.values())
    assert max(places) < source.arena_bytes
    call([GCC, *STRICT, "-O1", "-c", "net_weights.c"], tmp_path)
    symbols = [line.split() for line in call(["nm", "-S", "net_weights.o"], tmp_path).splitlines()]
    assert {kind for *_, kind, _ in symbols} == {"R"}
    assert sum(int(size, 16) for _, size, *_ in symbols) == source.constant_bytes


def test_a_call_uses_the_arena_to_its_end(tmp_path: Path) -> None:
    """The bytes that a call writes are those planned, but for what alignment adds."""
    from tests.exporters.c99.natives import Native

    program = bit_program(3)
    native = Native(generate(program, "x86-64-v3", vectors=0), tmp_path)
    source = native.source
    written = np.zeros(source.arena_bytes, bool)
    image = {"x": np.full((16, 9, 11), 3)}
    for noise in (0x55, 0xAA):
        before = np.full(source.arena_bytes + 64, noise, np.uint8)
        start = -before.ctypes.data % 64
        out = [np.zeros(p.type.size, p.dtype) for p in source.outputs]
        arrays = [image["x"].astype(np.uint8), *out]
        code = native._run(*(a.ctypes.data for a in arrays), before.ctypes.data + start, source.arena_bytes)
        assert code == 0
        written |= before[start : start + source.arena_bytes] != noise
    planned = np.zeros(source.arena_bytes, bool)
    for held in replay(source.plan):
        planned[held.start : held.stop] = True
    assert not (written & ~planned).any()
    assert written.sum() > 0.9 * planned.sum()
