"""Every op on every executor, random programs on every executor: zero differing bits."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import exporters
from exporters.netlist.limits import flat_bits
from exporters.netlist.stages import stages
from runtime.interpreter import Interpreter
from runtime.ir import Program
from runtime.ops import OPS
from runtime.session import Session
from tests.merging import by_width, merged
from tests.programs import LEVELS, OP_CASES, RULES, programs, random_inputs, value_set_program
from tests.quick import COMPILED, QUICK, SIMULATED

EXECUTORS = sorted(set(QUICK) - {"interpreter"})

SMALL = 1000
"""Bits that all programs of one op may add up in a simulation: a second of a simulator."""

SIMULATIONS = 4
"""Simulations for all ops: making one takes seconds, however little it simulates."""

TOGETHER = 16
"""Random programs of one compilation."""


def assert_equal(program: Program, executor: str, count: int, seed: int) -> None:
    inputs = random_inputs(program, count, seed)
    expected = Interpreter(program).run(inputs)
    table = exporters.executors() if executor == SIMULATED else QUICK
    found = Session(program, executor, table).run(inputs)
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
    cases = OP_CASES[op]
    if executor in COMPILED:
        cases = [merged(op, group) for group in by_width(cases)]
    for seed, program in enumerate(cases):
        assert_equal(program, executor, 3, seed)


def small_ones(programs: Sequence[Program]) -> list[Program]:
    """The smallest of ``programs``, as many as a simulation takes of one op."""
    sized = sorted(((flat_bits(stages(p)), n) for n, p in enumerate(programs)))
    total = list(accumulate(bits for bits, _ in sized))
    return [programs[n] for (_, n), sum_ in zip(sized, total, strict=True) if sum_ <= SMALL]


@pytest.mark.parametrize("ops", [sorted(OPS)[n::SIMULATIONS] for n in range(SIMULATIONS)], ids="-".join)
def test_every_op_in_the_simulator(ops: list[str]) -> None:
    cases = {op: small_ones(OP_CASES[op]) for op in ops}
    assert all(cases.values())
    assert_equal(merged("ops", [case for some in cases.values() for case in some]), SIMULATED, 5, seed=0)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("levels", sorted(set(LEVELS)))
def test_every_value_set_on_every_executor(levels: int, executor: str) -> None:
    program = value_set_program(levels)
    outputs = Interpreter(program).run(random_inputs(program, 4, seed=levels)).values()
    assert all(np.unique(output).size > 1 for output in outputs)
    assert_equal(program, executor, 4, seed=levels)


@pytest.mark.parametrize("executor", sorted(set(EXECUTORS) - set(COMPILED)))
@settings(max_examples=80)
@given(program=programs())
def test_random_programs_on_every_executor(executor: str, program: Program) -> None:
    assert_equal(program, executor, 2, seed=7)


@pytest.mark.parametrize("executor", COMPILED)
@settings(max_examples=8)
@given(drawn=st.lists(programs(), min_size=TOGETHER, max_size=TOGETHER))
def test_random_programs_on_every_executor_that_compiles(executor: str, drawn: list[Program]) -> None:
    for group in by_width(drawn):
        assert_equal(merged("random", group), executor, 2, seed=7)


@settings(max_examples=3)
@given(drawn=st.lists(programs(), min_size=TOGETHER, max_size=TOGETHER))
def test_random_programs_in_the_simulator(drawn: list[Program]) -> None:
    small = small_ones(drawn)
    assume(small)
    assert_equal(merged("random", small), SIMULATED, 5, seed=7)
