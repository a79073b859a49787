"""An op without a rule is expanded through its own ``decompose``, on every exporter alike."""

from dataclasses import dataclass

import numpy as np
import pytest

from exporters.legalize import legalize, unused
from exporters.onnx.build import build
from exporters.onnx.executor import OnnxExecutor
from runtime.errors import ProgramError
from runtime.interpreter import Interpreter
from runtime.ir import Builder, Program
from runtime.ops import OPS, Add, And, Not, Op, Reshape, Xor
from runtime.types import IntArray, Interval, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Nand(Op):
    """``y = 1 - (a & b)`` of bits."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        return TensorType(operands[0].shape, Interval(0, 1))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return 1 - (operands[0] & operands[1])

    def decompose(self, builder: Builder, *operands: str) -> str:
        return builder.add(Not(), builder.add(And(), *operands, name="both"))


@dataclass(frozen=True, slots=True, eq=False)
class Same(Op):
    """``y = a xor (a nand b) xor (a nand b)``, which is ``a``; decomposes into Nand and itself."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0]

    def decompose(self, builder: Builder, *operands: str) -> str:
        nand = builder.add(Nand(), *operands)
        return builder.add(Xor(), builder.add(Xor(), operands[0], nand), nand)


@dataclass(frozen=True, slots=True, eq=False)
class Copy(Op):
    """``y = x``; decomposes into nothing but its operand."""

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0]

    def decompose(self, builder: Builder, *operands: str) -> str:
        return operands[0]


@dataclass(frozen=True, slots=True, eq=False)
class Opaque(Copy):
    """``y = x``; does not decompose."""

    def decompose(self, builder: Builder, *operands: str) -> None:
        return None


def program_of(*ops: Op) -> Program:
    b = Builder("custom")
    x = b.input("x", (3, 2), Interval(0, 1))
    y = b.input("y", (3, 2), Interval(0, 1))
    for index, op in enumerate(ops):
        b.at_layer(f"layers.{index}")
        x = b.add(op, *((x, y) if op.arity == 2 else (x,)), name=f"v{index}")
    return b.build(outputs=(x,))


@pytest.mark.parametrize("profile", ["portable", "modern"])
@pytest.mark.parametrize(
    "ops", [(Nand(),), (Same(), Nand()), (Copy(),), (Nand(), Copy(), Copy(), Same(), Add())]
)
def test_custom_ops_run_in_onnx(ops: tuple[Op, ...], profile: str) -> None:
    program = program_of(*ops)
    bits = np.random.default_rng(0).integers(0, 2, (2, 16, 3, 2))
    inputs = {"x": bits[0], "y": bits[1]}
    expected = Interpreter(program).run(inputs)
    found = OnnxExecutor(program, profile).run(inputs)
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in expected.items()}


def test_names_layers_and_order_survive() -> None:
    program = program_of(Same(), Nand())
    legal = legalize(program, OPS.values(), "test")
    assert [(type(n.op), n.operands, n.result, n.layer) for n in legal.nodes] == [
        (And, ("x", "y"), "v0.nand.both", "layers.0"),
        (Not, ("v0.nand.both",), "v0.nand", "layers.0"),
        (Xor, ("x", "v0.nand"), "v0.xor", "layers.0"),
        (Xor, ("v0.xor", "v0.nand"), "v0", "layers.0"),
        (And, ("v0", "y"), "v1.both", "layers.1"),
        (Not, ("v1.both",), "v1", "layers.1"),
    ]
    assert legal.outputs == program.outputs


def test_a_program_of_known_ops_is_unchanged() -> None:
    program = program_of(And(), Add())
    assert legalize(program, OPS.values(), "test").nodes == program.nodes


def test_a_decomposition_into_its_operand_keeps_the_name() -> None:
    (node,) = legalize(program_of(Copy()), OPS.values(), "test").nodes
    assert (type(node.op), node.operands, node.result) == (Reshape, ("x",), "v0")


def test_an_op_with_neither_rule_nor_decomposition() -> None:
    with pytest.raises(ProgramError) as caught:
        build(program_of(Nand(), Opaque()))
    assert str(caught.value) == (
        "onnx has no rule for op Opaque of value 'v1' and the op does not decompose; "
        f"supported are {', '.join(sorted(OPS))}"
    )


def test_unused_counts_up() -> None:
    taken = {"a", "a_2"}
    assert [unused(name, taken) for name in ("a", "b", "b")] == ["a_3", "b", "b_2"]
