"""The ops of the IR. To add one: write it in its family's file and list it in that file's ``OPS``."""

from runtime.ops import arithmetic, bitwise, compare, linear, products, reduce, shape
from runtime.ops.arithmetic import Add, Clip, Hadamard, Lookup, Requantize, ShiftRight, Sub
from runtime.ops.base import Op
from runtime.ops.bitwise import And, Not, Or, Select, Xor
from runtime.ops.compare import Threshold
from runtime.ops.linear import Conv2d, Dense
from runtime.ops.products import FloorSqrt, MatMul, Mul, RoundDiv, Square
from runtime.ops.reduce import ArgMax, MaxPool, ReduceSum, SumPool
from runtime.ops.shape import Concat, Reshape, Roll, Slice, Transpose

FAMILIES = (linear, compare, bitwise, arithmetic, products, reduce, shape)

OPS: dict[str, type[Op]] = {op.__name__: op for family in FAMILIES for op in family.OPS}

__all__ = [
    "OPS",
    "Add",
    "And",
    "ArgMax",
    "Clip",
    "Concat",
    "Conv2d",
    "Dense",
    "FloorSqrt",
    "Hadamard",
    "Lookup",
    "MatMul",
    "MaxPool",
    "Mul",
    "Not",
    "Op",
    "Or",
    "ReduceSum",
    "Requantize",
    "Reshape",
    "Roll",
    "RoundDiv",
    "Select",
    "ShiftRight",
    "Slice",
    "Square",
    "Sub",
    "SumPool",
    "Threshold",
    "Transpose",
    "Xor",
]
