"""Adders that several neurons share.

The weights are known, so which bits every neuron adds up is known. Where two neurons both add bits ``a``,
``b`` and ``c``, with the same signs or with all three opposite, one full adder serves both (``graph``:
adders are self-dual). ``share`` chooses such adders greedily, the most shared first, column by column:
their sums take part again in the same column, their carries in the next. What no two neurons share is left
for ``words.compress``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.float32]
"""(neurons, literals): 1 where a neuron adds a literal, -1 where it adds its inverse, else 0."""

BLOCK = 1024
"""Most literals among which triples are looked for at once: the search keeps a square of them."""

SLACK = 0.75
"""A sweep takes pairs down to this part of the best score."""

FAILURES = 4
"""Pairs per literal that may turn out to belong to no shared triple before the search ends."""


@dataclass(frozen=True, slots=True)
class Adder:
    """A full adder on literals ``2 * id + inverted``; its sum and carry are the next two ids."""

    literals: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """``adders`` in order, their outputs numbered on from ``bits``; ``rest[neuron][column]``: the literals
    that are left for each neuron to add up by itself."""

    bits: int
    adders: tuple[Adder, ...]
    rest: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Triple:
    """Columns of a matrix, their relative signs, and the neurons that add them with sign ``signs``."""

    columns: tuple[int, int, int]
    polarity: tuple[int, int, int]
    neurons: NDArray[np.int64]
    signs: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Columns ``a`` and ``b`` of a matrix, their relative sign, and the sign of ``a`` in the neurons that
    add both so, else 0. By column: how many of those add it as ``a`` less how many add it the other way,
    and twice the neurons of the triple with it.
    """

    a: int
    b: int
    relative: int
    both: NDArray[np.float32]
    agreement: NDArray[np.float32]
    counts: NDArray[np.float32]

    def triple(self, signs: Signs, c: int) -> _Triple:
        """This pair and column ``c`` of ``signs``."""
        third = 1 if self.agreement[c] >= 0 else -1
        neurons = np.flatnonzero(self.both * signs[:, c] == third)
        return _Triple((self.a, self.b, c), (1, self.relative, third), neurons, self.both[neurons])


def share(columns: Sequence[NDArray[np.int8]], least: int = 2) -> Plan:
    """The plan for neurons that add ``columns[j]``, (neurons, bits) of signs, with weight ``2**j``.

    ``least``: neurons that an adder has to serve, 2 or more.
    """
    neurons, bits = columns[0].shape
    adders: list[Adder] = []
    rest: list[list[tuple[int, ...]]] = [[] for _ in range(neurons)]
    carried, names = np.zeros((neurons, 0), np.float32), np.zeros(0, np.int64)
    column = 0
    while column < len(columns) or names.size:
        if column < len(columns):
            carried = np.hstack([columns[column].astype(np.float32), carried])
            names = np.concatenate([np.arange(bits), names])
        left, left_names, carried, names = _share_column(carried, names, bits, least, adders)
        for neuron, row in enumerate(left):
            used = np.flatnonzero(row)
            rest[neuron].append(tuple((2 * left_names[used] + (row[used] < 0)).tolist()))
        column += 1
    return Plan(bits, tuple(adders), tuple(map(tuple, rest)))


def _share_column(
    signs: Signs, names: NDArray[np.int64], bits: int, least: int, adders: list[Adder]
) -> tuple[Signs, NDArray[np.int64], Signs, NDArray[np.int64]]:
    """What is left of one column with its names, and the carries into the next with theirs.

    Round after round, so that an adder waits for as few others as it can.
    """
    neurons = len(signs)
    carries: list[Signs] = []
    carry_names: list[int] = []
    while True:
        used = np.flatnonzero(signs.any(axis=0))
        signs, names = signs[:, used], names[used]
        sums: list[Signs] = []
        sum_names: list[int] = []
        for triple in _blocks(signs, least):
            vector = np.zeros(neurons, np.float32)
            vector[triple.neurons] = triple.signs
            first = bits + 2 * len(adders)
            literals = [
                int(2 * names[c] + (p < 0)) for c, p in zip(triple.columns, triple.polarity, strict=True)
            ]
            adders.append(Adder((literals[0], literals[1], literals[2])))
            sums.append(vector)
            sum_names.append(first)
            carries.append(vector)
            carry_names.append(first + 1)
        if not sums:
            break
        signs = np.hstack([signs, np.stack(sums, axis=1)])
        names = np.concatenate([names, sum_names])
    matrix = np.stack(carries, axis=1) if carries else np.zeros((neurons, 0), np.float32)
    return signs, names, matrix, np.array(carry_names, np.int64)


def _blocks(signs: Signs, least: int) -> Iterator[_Triple]:
    """Shared triples of ``signs``, which loses them; wide matrices block by block."""
    several = np.flatnonzero(np.count_nonzero(signs, axis=0) > 1)
    for start in range(0, several.size, BLOCK):
        block = several[start : start + BLOCK]
        part = np.ascontiguousarray(signs[:, block])
        for triple in _triples(part, least):
            a, b, c = (int(block[i]) for i in triple.columns)
            signs[triple.neurons[:, None], np.array([a, b, c])] = 0
            yield _Triple((a, b, c), triple.polarity, triple.neurons, triple.signs)


def _triples(signs: Signs, least: int) -> Iterator[_Triple]:
    """Greedy, in sweeps that use a literal once: the pair that most neurons share, and the third literal
    that most of those share with it. What a sweep takes changes no score of the literals it has left."""
    scores, present = _pair_scores(signs, signs), np.abs(signs)
    wanting = np.tri(len(scores), dtype=bool)  # pairs without a third, and each one's mirror image
    failures = FAILURES * len(scores)
    while failures > 0:
        scores[wanting] = 0
        best = scores.max(initial=0)
        if best < least:
            return
        free = np.ones(len(scores), bool)
        for a, b in _best_pairs(scores, max(least, SLACK * best)):
            if not (free[a] and free[b]):
                continue
            pair = _pair(signs, present, a, b)
            c = int((pair.counts * free).argmax())
            if free[c] and pair.counts[c] >= 2 * least:  # twice the neurons
                triple = pair.triple(signs, c)
                taken = np.array(triple.columns)
                free[taken] = False
                signs[triple.neurons[:, None], taken] = present[triple.neurons[:, None], taken] = 0
                yield triple
            elif pair.counts.max() < 2 * least:
                wanting[a, b] = True
                failures -= 1
        taken = np.flatnonzero(~free)
        rows = _pair_scores(signs, signs[:, taken])
        scores[taken], scores[:, taken] = rows, rows.T


def _pair_scores(signs: Signs, rows: Signs) -> Signs:
    """How many neurons have a literal of ``rows`` and one of ``signs`` in their more common relative
    sign."""
    scores: Signs = (np.abs(rows).T @ np.abs(signs) + np.abs(rows.T @ signs)) / 2
    return scores


def _best_pairs(scores: Signs, least: float) -> list[tuple[int, int]]:
    """Pairs of at least this score, the best first, no more than a few for each literal."""
    rows, columns = np.nonzero(scores >= least)
    order = np.argsort(-scores[rows, columns], kind="stable")[: 8 * len(scores)]
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


def _pair(signs: Signs, present: Signs, a: int, b: int) -> _Pair:
    """The pair of literals ``a`` and ``b`` of ``signs``, whose absolute values are ``present``."""
    product = signs[:, a] * signs[:, b]
    relative = 1 if product.sum() >= 0 else -1
    both = np.where(product == relative, signs[:, a], np.float32(0))
    agreement = both @ signs
    counts = np.abs(both) @ present + np.abs(agreement)
    counts[[a, b]] = 0
    return _Pair(a, b, relative, both, agreement, counts)
