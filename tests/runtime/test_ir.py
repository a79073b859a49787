"""Building, verifying and printing programs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from runtime.errors import ProgramError
from runtime.ir import Builder, Input, Node, Program
from runtime.ops import Add, ArgMax, Conv2d, Dense, MaxPool, Or, Reshape, Threshold
from runtime.printer import program_text
from runtime.types import BIT, Interval, TensorType
from runtime.verify import verify
from runtime.weights import Weights
from tests.programs import programs

GOLDEN = Path(__file__).parents[1] / "golden"


def tiny() -> Program:
    """conv, threshold, OR skip, pool, dense, argmax with fixed constants."""
    b = Builder("tiny")
    b.at_layer("stem")
    x = b.input("image", (1, 4, 4), Interval(0, 16))
    codes = (np.arange(18).reshape(2, 1, 3, 3) % 3) - 1
    x = b.add(Conv2d(Weights(codes, 3), padding=(1, 1)), x, name="stem.conv")
    stem = b.add(Threshold(np.array([[1], [-3]]), np.array([1, -1])), x, name="stem.act")
    b.at_layer("block")
    y = b.add(Conv2d(Weights((np.arange(36).reshape(2, 2, 3, 3) % 5) - 2, 5), padding=(1, 1)), stem)
    y = b.add(Threshold(np.array([[0], [1]]), np.array([1, 1])), y)
    y = b.add(MaxPool((2, 2), (2, 2)), b.add(Or(), y, stem))
    b.at_layer("classifier")
    y = b.add(Reshape((8,)), y)
    codes = (np.arange(24).reshape(3, 8) % 3) - 1
    scores = b.add(Dense(Weights(codes, 3), np.array([1, 0, -1])), y, name="scores")
    return b.build((scores, b.add(ArgMax(), scores, name="class")), {"model": "tiny"})


def test_the_text_is_stable(update_golden: bool) -> None:
    path = GOLDEN / "tiny.txt"
    text = program_text(tiny())
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


@given(programs())
def test_built_programs_verify(program: Program) -> None:
    verify(program)


def test_names_are_made_unique() -> None:
    b = Builder("names")
    x = b.input("x", (2,), BIT)
    first, second = b.add(Add(), x, x, name="a b.c"), b.add(Add(), x, x, name="a b.c")
    assert (first, second) == ("a_b_c", "a_b_c_2")


def test_metadata_is_frozen_and_replaced_by_copies() -> None:
    program = tiny()
    with pytest.raises(TypeError):
        program.metadata["model"] = "other"  # type: ignore[index]
    assert program.with_metadata(seed=3).metadata == {"model": "tiny", "seed": 3}
    assert dict(program.metadata) == {"model": "tiny"}


def test_last_uses() -> None:
    program = tiny()
    last = program.last_uses()
    assert last["image"] == 0
    assert last["stem_act"] == 4
    assert last["scores"] == last["class"] == len(program.nodes)


def broken(**changes: object) -> Program:
    return replace(tiny(), **changes)  # type: ignore[arg-type]


NODE = tiny().nodes[0]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (broken(name=""), "the program name must be 1 to 200 printable characters, not ''"),
        (broken(name="a\nb"), "the program name must be 1 to 200 printable"),
        (broken(outputs=()), "at least one input and one output"),
        (broken(outputs=("nope",)), "output 'nope' is not a value of the program"),
        (broken(outputs=("scores", "scores")), "output names must be unique"),
        (broken(nodes=(*tiny().nodes, NODE)), "value 'stem_conv' is defined twice"),
        (broken(nodes=tiny().nodes[1:]), "operand 'stem_conv' is used before it is defined"),
        (broken(inputs=(*tiny().inputs, *tiny().inputs)), "value 'image' is defined twice"),
        (broken(inputs=(Input("image", TensorType((0,), BIT)),)), "positive dimensions"),
        (
            broken(nodes=(replace(NODE, type=TensorType((2, 4, 4), BIT)), *tiny().nodes[1:])),
            r"stem_conv: type is u1\[2x4x4\] in \[0, 1\], inferred i",
        ),
        (broken(nodes=(Node(Or(), ("image",), "y", NODE.type),)), "y: Or takes 2 operands, not 1"),
        (broken(metadata={"x": float("nan")}), "metadata must be plain JSON"),
        (broken(metadata={"x": object()}), "metadata must be plain JSON"),
        (broken(metadata={"x": (1, 2)}), "metadata must be plain JSON"),
    ],
)
def test_the_verifier_names_what_is_wrong(program: Program, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        verify(program)


def test_the_builder_refuses_unknown_values() -> None:
    with pytest.raises(ProgramError, match="value 'x' is used before it is defined"):
        Builder("b").add(Add(), "x", "x")
