"""Which results count: the front of accuracy against cost, and when a training falls behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EARLY_MARGIN, LATE_MARGIN = 0.04, 0.005
"""Accuracy by which a training may be behind after its first epoch, and before its last: early accuracies
differ by chance, late ones hardly change any more."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A training to compare with: its ``cost``, and its validation accuracy after each epoch so far."""

    cost: float
    curve: Sequence[float]


def margin(epoch: int, epochs: int) -> float:
    """How far a training of ``epochs`` epochs may be behind after ``epoch`` of them, from 1."""
    progress = (epoch - 1) / max(1, epochs - 2)
    return EARLY_MARGIN + (LATE_MARGIN - EARLY_MARGIN) * min(1.0, progress)


def falls_behind(curve: Sequence[float], epochs: int, cost: float, peers: Iterable[Peer]) -> bool:
    """Whether a training is to be given up after the epochs of ``curve``.

    It is when one of the ``peers`` costs no more and was better after as many epochs, by more than
    ``margin``. So what is the best for its cost is never given up, nor is one that has only its last epoch
    behind it.
    """
    done = len(curve)
    if not 0 < done < epochs:
        return False
    reached = [peer.curve[done - 1] for peer in peers if peer.cost <= cost and len(peer.curve) >= done]
    return bool(reached) and max(reached) - curve[-1] > margin(done, epochs)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (accuracy, cost) that no other beats, from the cheapest to the best.

    One beats another if it is as good in both and better in one; of equal ones the first counts.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i))
    found: list[int] = []
    for index in order:
        if not found or points[index][0] > points[found[-1]][0]:
            found.append(index)
    return found
