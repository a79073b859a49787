"""Products, quotients, roots, sums and shifts: the form that each range gets, and its ends bit for bit."""

import numpy as np
import onnx
import pytest
from onnx import helper

from exporters.onnx.build import build
from exporters.onnx.executor import OnnxExecutor, OnnxReferenceExecutor
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import (
    Add,
    Clip,
    FloorSqrt,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    Roll,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
    SumPool,
    Threshold,
    Transpose,
)
from runtime.types import INT64_LIMIT, Interval
from tests.programs import random_inputs

TOP = INT64_LIMIT
BYTE, SIGNED, BIT = Interval(0, 255), Interval(-128, 127), Interval(0, 1)
PICTURE, MATRICES = ((4, 3, 5),), ((4, 3, 5), (4, 5, 2))

CASES: dict[str, tuple[Op, tuple[tuple[int, ...], ...], list[Interval], str]] = {
    "product": (Mul(), PICTURE * 2, [SIGNED, BYTE], "Mul int32"),
    "product to 2**31 - 1": (Mul(), PICTURE * 2, [Interval(0, 2**31 - 1), BIT], "Mul int32"),
    "product of 2**31": (Mul(), PICTURE * 2, [Interval(0, 2**16), Interval(-(2**15), 0)], "Mul int64"),
    "product of 62 bits": (Mul(), PICTURE * 2, [Interval(-(2**31), 2**31)] * 2, "Mul int64"),
    "square": (Square(), PICTURE, [Interval(-46340, 46340)], "Mul int32"),
    "wide square": (Square(), PICTURE, [Interval(-(2**31), 7)], "Mul int64"),
    "matrices of bytes": (MatMul(), MATRICES, [BYTE, BYTE], "MatMulInteger uint8"),
    "matrices of bits": (MatMul(), MATRICES, [BIT, BIT], "MatMulInteger uint8"),
    "matrices of codes": (MatMul(), MATRICES, [BYTE, SIGNED], "MatMul float32"),
    "matrices to 2**24": (MatMul(), MATRICES, [Interval(-(2**24 // 5), 1), BIT], "MatMul float32"),
    "matrices past 2**24": (MatMul(), MATRICES, [Interval(-(2**24 // 5) - 1, 0), BIT], "MatMul int32"),
    "wide matrices": (
        MatMul(),
        MATRICES,
        [Interval(-(2**29), 2**29), Interval(-(2**30), 2**30)],
        "MatMul int64",
    ),
    "sums": (ReduceSum((0, 2)), PICTURE, [SIGNED], "ReduceSum float32"),
    "sums of bits": (ReduceSum((1,)), PICTURE, [BIT], "ReduceSum float32"),
    "sums past 2**24": (ReduceSum((1,)), PICTURE, [Interval(-(2**24), 2**23)], "ReduceSum float64"),
    "sums past 2**31": (ReduceSum((2,)), PICTURE, [Interval(-(2**30), 2**50)], "ReduceSum float64"),
    "sums past 2**53": (ReduceSum((0, 2)), PICTURE, [Interval(-(2**57), 2**57)], "MatMul int64"),
    "sums of all": (ReduceSum((0, 1, 2)), PICTURE, [Interval(0, 2**56)], "MatMul int64"),
    "pool": (SumPool((3, 5), (3, 5)), PICTURE, [SIGNED], "ReduceSum float32"),
    "pool past 2**53": (SumPool((3, 5), (3, 5)), PICTURE, [Interval(-(2**58), 2**58)], "MatMul int64"),
    "quotient": (RoundDiv(), PICTURE * 2, [Interval(-(2**20), 2**20), Interval(1, 999)], "Div int32"),
    "quotient of naturals": (RoundDiv(), PICTURE * 2, [Interval(0, 2**20), Interval(1, 9)], "Div int32"),
    "quotient past 2**31": (
        RoundDiv(),
        PICTURE * 2,
        [Interval(-(2**40), 9), Interval(1, 99)],
        "Div float64",
    ),
    "quotient to 2**53": (
        RoundDiv(),
        PICTURE * 2,
        [Interval(-(2**52), 2**52), Interval(2**52 - 9, 2**52 - 1)],
        "Div float64",
    ),
    "wide quotient": (RoundDiv(), PICTURE * 2, [Interval(-TOP, TOP), Interval(TOP - 9, TOP)], "Div int64"),
    "root": (FloorSqrt(), PICTURE, [Interval(0, 2**52)], "Sqrt float64"),
    "root beside a square": (FloorSqrt(), PICTURE, [Interval(2**50 - 2, 2**50 + 1)], "Sqrt float64"),
    "wide root": (FloorSqrt(), PICTURE, [Interval(0, TOP)], "Sqrt float64"),
    "wide root beside a square": (
        FloorSqrt(),
        PICTURE,
        [Interval(2**62 - 2**32, 2**62 - 2**32 + 3)],
        "Sqrt float64",
    ),
    "shift": (ShiftRight(3), PICTURE, [SIGNED], "BitwiseAnd int32"),
    "shift of naturals": (ShiftRight(3, "half-up"), PICTURE, [BYTE], "Div int32"),
    "shift past every bit": (ShiftRight(62), PICTURE, [SIGNED], "BitwiseAnd int32"),
    "shift of 31 bits": (ShiftRight(1, "half-up"), PICTURE, [Interval(-9, 2**31 - 2)], "Div int32"),
    "shift past 31 bits": (ShiftRight(1, "half-up"), PICTURE, [Interval(-9, 2**31 - 1)], "Div int64"),
    "wide shift": (ShiftRight(62, "half-up"), PICTURE, [Interval(-TOP, TOP)], "BitwiseAnd int64"),
    "clip": (Clip(-5, 200), PICTURE, [Interval(-999, 999)], "Max int32"),
    "clip above": (Clip(-5, 3), PICTURE, [BYTE], "Min int32"),
    "clip below": (Clip(TOP - 3, TOP), PICTURE, [BYTE], "Max int64"),
    "transpose": (Transpose((2, 0, 1)), PICTURE, [SIGNED], "Transpose int8"),
    "roll": (Roll(3), PICTURE, [BYTE], "Concat uint8"),
    "roll of a vector": (Roll(1), ((7,),), [Interval(-TOP, TOP)], "Concat int64"),
}


def program_of(op: Op, shapes: tuple[tuple[int, ...], ...], intervals: list[Interval]) -> Program:
    b = Builder("case")
    pairs = enumerate(zip(shapes, intervals, strict=True))
    return b.build((b.add(op, *(b.input(f"x{i}", shape, interval) for i, (shape, interval) in pairs)),))


def operators(program: Program, profile: str) -> set[str]:
    """Every operator of the file with the type of its first operand."""
    model = onnx.shape_inference.infer_shapes(build(program, profile), strict_mode=True, data_prop=True)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    types |= {t.name: t.data_type for t in model.graph.initializer}
    return {f"{n.op_type} {helper.tensor_dtype_to_np_dtype(types[n.input[0]])}" for n in model.graph.node}


def assert_equal(program: Program, profile: str, count: int = 20) -> None:
    inputs = random_inputs(program, count, seed=1)
    expected = Interpreter(program).run(inputs)
    for executor in (
        OnnxExecutor(program, profile),
        OnnxExecutor(program, profile, "disabled"),
        OnnxReferenceExecutor(program, profile),
    ):
        found = executor.run(inputs)
        for name, array in expected.items():
            assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("profile", ["portable", "modern"])
@pytest.mark.parametrize("case", CASES)
def test_forms_and_ends_of_ranges(case: str, profile: str) -> None:
    op, shapes, intervals, operator = CASES[case]
    program = program_of(op, shapes, intervals)
    onnx.checker.check_model(build(program, profile), full_check=True)
    assert operator in operators(program, profile)
    assert_equal(program, profile)


@pytest.mark.parametrize("profile", ["portable", "modern"])
@pytest.mark.parametrize("op", [Add(), Sub(), Mul(), RoundDiv()], ids=lambda op: op.name)
@pytest.mark.parametrize("shapes", [((4, 3, 5), (4, 1, 1)), ((1, 3, 1), (4, 1, 5)), ((2,), (1,)), ((), ())])
def test_axes_of_length_1_stretch(op: Op, shapes: tuple[tuple[int, ...], ...], profile: str) -> None:
    for intervals in ([Interval(3, 90), Interval(1, 60)], [Interval(-9, 2**40), Interval(1, 2**17)]):
        assert_equal(program_of(op, shapes, intervals), profile)


def test_a_signed_shift_takes_no_remainder() -> None:
    shifts = Requantize(np.array([3, -3]), np.array([2, 2]), np.array([0, 5]), -9, 9)
    for op in (ShiftRight(4), shifts):
        found = operators(program_of(op, ((2, 3),), [SIGNED]), "portable")
        assert {"BitwiseAnd int32", "Div int32"} <= found
        assert not any(operator.startswith("Mod") for operator in found)


@pytest.mark.parametrize("profile", ["portable", "modern"])
@pytest.mark.parametrize(
    "op",
    [ReduceSum((1, 2)), Transpose((1, 2, 0)), Roll(2), Square(), ShiftRight(1), Clip(1, 1), FloorSqrt()],
)
def test_bits_as_they_leave_a_threshold(op: Op, profile: str) -> None:
    b = Builder("bits")
    x = b.input("x", (3, 4, 5), SIGNED)
    bits = b.add(Threshold(np.array([[0], [-20], [20]]), np.array([1, -1, 1])), x)
    y = b.add(op, bits)
    product = b.add(MatMul(), bits, b.add(Transpose((0, 2, 1)), bits))
    assert_equal(b.build((y, product)), profile)
