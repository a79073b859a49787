"""Proofs of polynomial stages, one output element at a time: sums of products, and thresholds of sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exporters.netlist.circuit import Circuit
from exporters.netlist.rules.linear import sum_words
from exporters.netlist.stages import Stage
from runtime.ops import Threshold
from runtime.types import IntArray
from toolchain.proof.bdd import Diagrams, TooManyNodesError, diagrams_of
from toolchain.proof.certificate import equals, word_offset
from toolchain.proof.cones import OpenConeError, combinations, evaluate, number, supports
from toolchain.proof.forms import LINEAR, PRODUCTS, Form, forms

WORD_BITS = 14
"""Longest sum whose every value is tried; longer ones take decision diagrams."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Where to look for the sums that thresholds compare, by output element. Nothing rests on their
    truth."""

    words: tuple[tuple[int, ...], ...] = ()


def hints(stage: Stage, circuit: Circuit) -> Hints:
    """The sums that the thresholds of a stage compare, as its circuit builds them."""
    port = circuit.inputs[0]
    if isinstance(stage.local.op, Threshold):
        rows = port.nets.reshape(-1, port.type.bits).tolist()
        flip = int(port.type.interval.signed)
        return Hints(tuple((*row[:-1], row[-1] ^ flip) for row in rows))
    if stage.threshold is None:
        return Hints()
    words = sum_words(circuit.net, stage.local.op, port.nets, stage.local.types[0], stage.threshold)
    return Hints(tuple(map(tuple, words)))


def is_polynomial(stage: Stage) -> bool:
    """Whether the op of ``stage`` is a sum of products of its inputs."""
    return isinstance(stage.local.op, (*LINEAR, *PRODUCTS, Threshold))


def unproved(stage: Stage, circuit: Circuit, found: Hints) -> Iterator[tuple[int, str]]:
    """Output elements of a polynomial stage that are not shown to be right, and why; none: all are."""
    (out,) = circuit.outputs
    rows = out.nets.reshape(-1, out.type.bits).tolist()
    channels = np.broadcast_to(
        np.arange(out.type.channels).reshape(-1, *[1] * (len(out.type.shape) - 1)), out.type.shape or (1,)
    ).reshape(-1)
    op = stage.local.op if isinstance(stage.local.op, Threshold) else stage.threshold
    for element, (form, row) in enumerate(zip(forms(stage, circuit.inputs), rows, strict=True)):
        if op is None:
            if not equals(circuit.net, row, out.type.interval.signed, form):
                yield element, "its sum"
            continue
        compare = _Compare(op, int(channels[element]), out.type.interval.signed)
        if not _thresholded(circuit, compare, form, row, found.words[element]):
            yield element, "its threshold"


def _thresholded(
    circuit: Circuit, compare: _Compare, form: Form, row: list[int], word: tuple[int, ...]
) -> bool:
    if all(literal < 2 for literal in row):  # out of reach: both ends of the range tell
        value = number([np.full(1, literal == 1) for literal in row], compare.signed)[0]
        return bool((compare(np.array([form.lo, form.hi])) == value).all())
    offset = word_offset(circuit.net, list(word), form) if word else None
    if offset is not None and _compares(circuit, compare, row, word, form, offset):
        return True
    return _by_inputs(circuit, compare, row, form)


@dataclass(frozen=True, slots=True)
class _Compare:
    """The Threshold of one channel, as the interpreter has it. ``signed``: its result."""

    op: Threshold
    channel: int
    signed: bool

    def __call__(self, values: IntArray) -> IntArray:
        at = slice(self.channel, self.channel + 1)
        one = Threshold(self.op.thresholds[at], self.op.direction[at])
        found: IntArray = one.evaluate(values[:, None])[:, 0]
        return found

    def ranges(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """From ``lo`` to ``hi`` in ranges, the end not in it, in which the result is the same."""
        row = self.op.thresholds[self.channel].tolist()
        starts = sorted({lo, *(t + more for t in row for more in (0, 1) if lo < t + more <= hi)})
        return zip(starts, [*starts[1:], hi + 1], strict=True)


def _compares(
    circuit: Circuit, compare: _Compare, row: list[int], word: tuple[int, ...], form: Form, offset: int
) -> bool:
    """Whether the outputs ``row`` are right for every value that ``word`` may have."""
    nodes = sorted({literal >> 1 for literal in word} - {0})
    try:
        if len(nodes) > WORD_BITS:
            return _compares_long(circuit, compare, row, word, form, offset)
        given = combinations(nodes)
        total = number(evaluate(circuit.net, given, word), False)
        result = number(evaluate(circuit.net, given, row), compare.signed)
    except (OpenConeError, TooManyNodesError):  # a gate was folded into the adders
        return False
    total = np.broadcast_to(total, result.shape) - offset
    reached = (form.lo <= total) & (total <= form.hi)
    return bool((compare(total[reached]) == result[reached]).all())


def _compares_long(
    circuit: Circuit, compare: _Compare, row: list[int], word: tuple[int, ...], form: Form, offset: int
) -> bool:
    """The same with a decision diagram for each range between thresholds: there the result is constant."""
    diagrams = Diagrams()
    given = {n: diagrams.variable(i) for i, n in enumerate(dict.fromkeys(n >> 1 for n in word if n > 1))}
    sums = diagrams_of(circuit.net, given, list(word), diagrams)
    bits = diagrams_of(circuit.net, given, row, diagrams)
    for start, end in compare.ranges(form.lo, form.hi):
        wanted = int(compare(np.array([start]))[0])
        above = diagrams.at_least(sums, start + offset)
        inside = diagrams.both(above, diagrams.invert(diagrams.at_least(sums, end + offset)))
        for place, bit in enumerate(bits):
            wrong = diagrams.invert(bit) if wanted >> place & 1 else bit
            if diagrams.both(inside, wrong):
                return False
    return True


def _by_inputs(circuit: Circuit, compare: _Compare, row: list[int], form: Form) -> bool:
    """Whether the outputs ``row`` are right for every input that they or the form depend on."""
    used = {node for bits, times in form.terms.items() if times for node in bits}
    nodes = sorted(used.union(*supports(circuit.net, row)))
    if len(nodes) > WORD_BITS:
        return False
    given = combinations(nodes)
    total = np.full(1 << len(nodes), form.terms.get((), 0), np.int64)
    for bits, times in form.terms.items():
        if bits:
            total += times * np.logical_and.reduce([given[node] for node in bits])
    result = number(evaluate(circuit.net, given, row), compare.signed)
    reached = (form.lo <= total) & (total <= form.hi)
    return bool((compare(total[reached]) == result[reached]).all())
