"""The memory plan: sound on every program, and small on known ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import ArgMax, Concat, Conv2d, Dense, MaxPool, Or, Reshape, Threshold
from runtime.types import Interval, TensorType
from runtime.weights import Weights
from tests.programs import programs, random_inputs
from toolchain.cost.memory import MemoryPlan, fused, plan, stored_bytes

ONES = np.ones(4, np.int64)


def pack(values: np.ndarray, bits: int) -> bytes:
    planes = (values.reshape(-1)[None] >> np.arange(bits)[:, None]) & 1
    return np.packbits(planes.astype(np.uint8), axis=1).tobytes()


def run_in_arena(program: Program, memory: MemoryPlan, inputs: dict[str, np.ndarray]) -> None:
    """Run one sample with every stored value written to its place; raise if an operand was overwritten."""
    reference: dict[str, np.ndarray] = dict(inputs)
    arena = bytearray(memory.arena_bytes)
    place = {name: buffer for buffer in memory.buffers for name in buffer.names}
    unstored = fused(program)
    pending: dict[int, list[str]] = {}
    for name, index in unstored.items():
        pending.setdefault(index, []).append(name)
    operands = {node.result: node.operands for node in program.nodes}

    def store(name: str) -> None:
        data = pack(reference[name], program.types[name].bits)
        assert len(data) == place[name].size
        arena[place[name].offset : place[name].offset + len(data)] = data

    def check(name: str) -> None:
        if name in unstored:
            return
        data = pack(reference[name], program.types[name].bits)
        assert bytes(arena[place[name].offset : place[name].offset + len(data)]) == data, name

    for name in inputs:
        store(name)
    for index, node in enumerate(program.nodes):
        reference[node.result] = node.op.evaluate(*(reference[o] for o in node.operands))
        if node.result not in unstored:
            for reader in [node.result, *pending.get(index, [])]:
                for operand in operands[reader]:
                    check(operand)
            if not isinstance(node.op, Reshape):
                store(node.result)
    for name in program.outputs:
        check(name)


@settings(max_examples=60, deadline=None)
@given(programs(max_ops=12))
def test_plan_is_sound(program):
    memory = plan(program)
    stored = {name for buffer in memory.buffers for name in buffer.names}
    assert stored | set(fused(program)) == set(program.types)
    assert memory.live_bytes <= memory.arena_bytes <= sum(b.size for b in memory.buffers)
    for i, a in enumerate(memory.buffers):
        for b in memory.buffers[:i]:
            assert not a.lives_with(b) or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
    run_in_arena(program, memory, random_inputs(program, 1, 0))


def test_bit_planes_round_up_per_plane():
    assert stored_bytes(TensorType((3, 3), Interval(0, 1))) == 2
    assert stored_bytes(TensorType((3, 3), Interval(-4, 3))) == 6
    assert stored_bytes(TensorType((), Interval(0, 9))) == 4


def conv_pool_threshold(extra_reader: bool) -> Program:
    b = Builder("p")
    x = b.input("x", (4, 8, 8), Interval(0, 1))
    conv = b.add(Conv2d(Weights(np.ones((4, 4, 3, 3), np.int8), 3), padding=(1, 1)), x, name="conv")
    pool = b.add(MaxPool((2, 2), (2, 2)), conv, name="pool")
    bits = b.add(Threshold(18 * np.ones((4, 1), np.int64), ONES), pool, name="bits")
    return b.build((bits, conv) if extra_reader else (bits,))


def test_accumulators_before_a_threshold_are_not_stored():
    program = conv_pool_threshold(extra_reader=False)
    assert fused(program) == {"conv": 2, "pool": 2}
    memory = plan(program)
    assert [(b.names, b.size, b.birth, b.death) for b in memory.buffers] == [
        (("x",), 32, -1, 2),
        (("bits",), 8, 2, 3),
    ]
    assert (memory.arena_bytes, memory.live_bytes, memory.peak) == (40, 40, "bits")


@pytest.mark.parametrize(("stride", "unstored"), [((2, 2), {"conv", "bits"}), ((1, 1), {"conv"})])
def test_bits_that_only_a_pool_of_disjoint_windows_reads_are_not_stored(stride, unstored):
    b = Builder("p")
    x = b.input("x", (4, 8, 8), Interval(0, 1))
    conv = b.add(Conv2d(Weights(np.ones((4, 4, 3, 3), np.int8), 3), padding=(1, 1)), x, name="conv")
    bits = b.add(Threshold(18 * np.ones((4, 1), np.int64), ONES), conv, name="bits")
    program = b.build((b.add(MaxPool((2, 2), stride), bits, name="pool"),))
    assert set(fused(program)) == unstored


def test_an_accumulator_that_is_read_elsewhere_is_stored():
    program = conv_pool_threshold(extra_reader=True)
    assert fused(program) == {}
    assert plan(program).arena_bytes == 6 * 32 + 6 * 8 + 8  # the pool takes the place of the input


def test_reshape_is_another_name_and_gaps_are_reused():
    b = Builder("p")
    x = b.input("x", (4, 4, 4), Interval(0, 1))
    flat = b.add(Reshape((64,)), x, name="flat")
    dense = b.add(Dense(Weights(np.ones((64, 64), np.int8), 3)), flat, name="dense")
    out = b.add(Threshold(32 * np.ones((64, 1), np.int64), np.ones(64, np.int64)), dense, name="bits")
    both = b.add(Or(), out, flat, name="or")
    wide = b.add(Concat(), both, both, name="wide")
    memory = plan(b.build((b.add(ArgMax(), wide, name="class"),)))
    assert memory.buffers[0].names == ("x", "flat")
    assert memory.arena_bytes == memory.live_bytes == 24
    assert {b.names[0]: b.offset for b in memory.buffers}["wide"] == 0


def test_interpreter_values_fit_their_planes():
    program = conv_pool_threshold(extra_reader=True)
    outputs = Interpreter(program).run(random_inputs(program, 2, 1))
    assert int(outputs["conv"].max()) < 1 << program.types["conv"].bits
