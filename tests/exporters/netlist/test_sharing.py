"""Shared adders: exact, and fewer than without sharing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from exporters.netlist.sharing import share
from runtime.types import BIT, Interval
from tests.exporters.netlist.circuits import layer_circuit, random_layer
from tests.exporters.netlist.evaluation import run_arrays
from toolchain.cost.circuits import build

INTERVALS = [BIT, Interval(0, 3), Interval(-1, 1), Interval(-7, 12), Interval(3, 5)]


def adders_left(rest: tuple[tuple[int, ...], ...]) -> int:
    """Full adders that a neuron still needs for what is left to it."""
    total = carry = 0
    columns = [len(column) for column in rest]
    while columns or carry:
        height = (columns.pop(0) if columns else 0) + carry
        total, carry = total + max(0, (height - 1) // 2), height // 2
    return total


@pytest.mark.parametrize("least", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_a_plan_adds_up_what_every_neuron_adds(seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(-1, 2, (9, 20)).astype(np.int8) for _ in range(2)]
    plan = share(columns, least)
    users = np.zeros(len(plan.adders))
    for bits in rng.integers(0, 2, (20, 20)):
        literals = [value for bit in bits.tolist() for value in (bit, 1 - bit)]
        for adder in plan.adders:
            total = sum(literals[literal] for literal in adder.literals)
            literals += [total & 1, 1 - (total & 1), total >> 1, 1 - (total >> 1)]
        for neuron, rest in enumerate(plan.rest):
            found = sum(literals[literal] << j for j, column in enumerate(rest) for literal in column)
            signed = [(row[neuron] * bits).sum() + (row[neuron] < 0).sum() for row in columns]
            assert found == signed[0] + 2 * signed[1]
    for rest in plan.rest:
        reached = {(literal >> 1) - plan.bits for column in rest for literal in column}
        reached = {outcome // 2 for outcome in reached if outcome >= 0}
        for adder in sorted(range(len(plan.adders)), reverse=True):
            if adder in reached:
                users[adder] += 1
                inner = [(literal >> 1) - plan.bits for literal in plan.adders[adder].literals]
                reached |= {outcome // 2 for outcome in inner if outcome >= 0}
    assert (users >= least).all()


@pytest.mark.parametrize(("density", "most"), [(1.0, 0.62), (2 / 3, 0.75), (0.2, 0.9)])
def test_sharing_saves_adders(density: float, most: float) -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (32, 64)) * (rng.random((32, 64)) < density)
    plan = share([signs.astype(np.int8)])
    alone = sum(adders_left((tuple(range(int(n))),)) for n in np.count_nonzero(signs, axis=1))
    shared = len(plan.adders) + sum(map(adders_left, plan.rest))
    assert shared <= most * alone


@pytest.mark.parametrize("style", ["gates", "lut6"])
@pytest.mark.parametrize(("levels", "interval"), list(product((2, 3, 5, 16, 127), INTERVALS)))
def test_optimized_layers_equal_the_ops(levels: int, interval: Interval, style: str) -> None:
    op, threshold, x = random_layer(levels, 30, 7, levels, interval)
    samples = np.random.default_rng(1).integers(interval.lo, interval.hi + 1, (130, 30))
    samples[0], samples[1] = interval.lo, interval.hi
    found = run_arrays(layer_circuit(op, threshold, x, style), samples)
    assert np.array_equal(found, threshold.evaluate(op.evaluate(samples)))


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_the_optimized_netlist_has_fewer_adders_than_the_naive_one(levels: int) -> None:
    op, threshold, x = random_layer(0, 64, 32, levels)
    naive = build(op, x, threshold=threshold).net.cells()
    optimized = layer_circuit(op, threshold, x).counts
    assert optimized["full_adder"] < 0.8 * naive["full_adder"]
