"""The ops of the IR. To add one: write it in its family's file and list it in that file's ``OPS``."""

from runtime.ops import arithmetic, bitwise, compare, linear, reduce, shape
from runtime.ops.arithmetic import Add, Hadamard, Lookup, Requantize, Sub
from runtime.ops.base import Op
from runtime.ops.bitwise import And, Not, Or, Select, Xor
from runtime.ops.compare import Threshold
from runtime.ops.linear import Conv2d, Dense
from runtime.ops.reduce import ArgMax, MaxPool, SumPool
from runtime.ops.shape import Concat, Reshape, Slice

FAMILIES = (linear, compare, bitwise, arithmetic, reduce, shape)

OPS: dict[str, type[Op]] = {op.__name__: op for family in FAMILIES for op in family.OPS}

__all__ = [
    "OPS",
    "Add",
    "And",
    "ArgMax",
    "Concat",
    "Conv2d",
    "Dense",
    "Hadamard",
    "Lookup",
    "MaxPool",
    "Not",
    "Op",
    "Or",
    "Requantize",
    "Reshape",
    "Select",
    "Slice",
    "Sub",
    "SumPool",
    "Threshold",
    "Xor",
]
