"""Every op on every executor, random programs on every executor: zero differing bits."""

import numpy as np
import pytest
from hypothesis import given, settings

import exporters
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.ops import OPS
from runtime.session import Session
from tests.programs import LEVELS, OP_CASES, RULES, programs, random_inputs, value_set_program

OPTIONS = {"c99": {"optimize": "-O1"}}
"""Options of executors here: hundreds of programs are compiled, and each runs for a moment."""

EXECUTORS = sorted(set(exporters.executors()) - {"interpreter"})


def assert_equal(program: Program, executor: str, count: int, seed: int) -> None:
    inputs = random_inputs(program, count, seed)
    expected = Interpreter(program).run(inputs)
    found = Session(program, executor, exporters.executors(), **OPTIONS.get(executor, {})).run(inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array), name


def test_nothing_is_missing_here() -> None:
    assert {name: row.missing() for name, row in exporters.executors().items() if row.missing()} == {}


def test_every_op_has_random_cases() -> None:
    assert set(RULES) == set(OPS)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("op", sorted(OPS))
def test_every_op_on_every_executor(op: str, executor: str) -> None:
    for seed, program in enumerate(OP_CASES[op]):
        assert_equal(program, executor, 3, seed)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_every_value_set_on_every_executor(levels: int, executor: str) -> None:
    program = value_set_program(levels)
    outputs = Interpreter(program).run(random_inputs(program, 4, seed=levels)).values()
    assert all(np.unique(output).size > 1 for output in outputs)
    assert_equal(program, executor, 4, seed=levels)


@pytest.mark.parametrize("executor", EXECUTORS)
@settings(max_examples=80)
@given(program=programs())
def test_random_programs_on_every_executor(executor: str, program: Program) -> None:
    assert_equal(program, executor, 2, seed=7)
