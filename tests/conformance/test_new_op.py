"""Adding an op touches one file and one table row: everything else then works from the op itself."""

from dataclasses import dataclass

import numpy as np
import pytest

import exporters
from runtime.ir import Builder, Program
from runtime.ops import OPS, Add, Op, Requantize
from runtime.ops.base import require_same_shape
from runtime.printer import program_text
from runtime.serialize import dumps, loads
from runtime.session import Session
from runtime.types import IntArray, Interval, TensorType
from toolchain.cost import report


@dataclass(frozen=True, slots=True, eq=False)
class Difference(Op):
    """``y = a - b``. Operands: one shape."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        require_same_shape(a, b, "Difference")
        return TensorType(a.shape, Interval(a.interval.lo - b.interval.hi, a.interval.hi - b.interval.lo))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] - operands[1]

    def decompose(self, builder: Builder, *operands: str) -> str:
        a, b = operands
        type_ = builder.type_of(b)
        ones = np.ones(type_.channels, np.int64)
        lo, hi = -type_.interval.hi, -type_.interval.lo
        return builder.add(Add(), a, builder.add(Requantize(-ones, 0 * ones, 0 * ones, lo, hi), b))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setitem(OPS, "Difference", Difference)
    b = Builder("difference")
    x, y = b.input("x", (3, 4), Interval(-5, 200)), b.input("y", (3, 4), Interval(0, 9))
    return b.build((b.add(Difference(), x, y, name="difference"),))


def test_a_new_op_prints_saves_runs_exports_and_costs(program: Program) -> None:
    assert "%difference: i9[3x4] in [-14, 200] = Difference(%x, %y)" in program_text(program)
    assert program_text(loads(dumps(program))) == program_text(program)
    rng = np.random.default_rng(0)
    inputs = {"x": rng.integers(-5, 201, (6, 3, 4)), "y": rng.integers(0, 10, (6, 3, 4))}
    for executor in exporters.executors():
        found = Session(program, executor, exporters.executors()).run(inputs)["difference"]
        assert np.array_equal(found, inputs["x"] - inputs["y"]), executor
    assert report(program).total.circuits.parallel.to_json()["full_adder"] > 0
