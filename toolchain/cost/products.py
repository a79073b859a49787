"""Cells of products, quotients and roots of activations.

Products are arrays of partial products, which a compressor tree sums. Quotients and roots are arrays of
subtractors, one row per bit of the result, in which a row that would go below zero hands on what it got.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.digits import integers
from runtime.ops import FloorSqrt, MatMul, Mul, Op, RoundDiv, Square
from runtime.types import TensorType
from toolchain.cost.cells import WIRES, Cells, Circuits, per_element
from toolchain.cost.columns import Ints, compress, sum_over


@dataclass(frozen=True, slots=True, eq=False)
class PartialProducts:
    """The bits whose sum is one product, modulo ``2**bits``.

    ``heights`` (bits,): how many weigh ``2**column``. ``constant``: the sum of ``-2**column`` over those
    that were inverted because they are subtracted. ``cells``: the gates that make them.
    """

    heights: Ints
    constant: int
    cells: Cells

    def summed(self, count: int) -> Cells:
        """The sum of ``count`` such products: all their bits in one compressor tree."""
        heights, constant = self.heights[None] * count, integers([self.constant * count])
        return sum_over(compress(heights, constant, self.heights.size), 1) + self.cells * count


def _partial_products(columns: Ints, negative: NDArray[np.bool_], bits: int) -> PartialProducts:
    """One AND per entry of ``columns`` below ``bits``; those that are ``negative`` are inverted, but for
    the leftmost column, where ``-1`` is ``1``."""
    kept = columns[columns < bits]
    inverted = columns[negative & (columns < bits - 1)]
    return PartialProducts(
        np.bincount(kept, minlength=bits),
        -sum(1 << column for column in inverted.tolist()),
        Cells({"and": kept.size, "not": inverted.size}),
    )


def _is_sign(x: TensorType) -> NDArray[np.bool_]:
    """Which bits of ``x`` count negatively: (bits,)."""
    return (np.arange(x.bits) == x.bits - 1) & x.interval.signed


def _product(a: TensorType, b: TensorType, bits: int) -> PartialProducts:
    columns = np.add.outer(np.arange(a.bits), np.arange(b.bits))
    return _partial_products(columns, np.logical_xor.outer(_is_sign(a), _is_sign(b)), bits)


def _mul(op: Mul, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    return per_element(_product(*operands, result.bits).summed(1), result)


def _mat_mul(op: MatMul, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    terms = operands[0].shape[-1]
    return per_element(_product(*operands, result.bits).summed(terms), result)


def _square(op: Square, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """``x_i x_j`` and ``x_j x_i`` are one bit in the next column, ``x_i x_i`` is ``x_i``."""
    (x,) = operands
    i, j = np.triu_indices(x.bits, 1)
    crossed = _partial_products(i + j + 1, _is_sign(x)[j], result.bits)
    diagonal = np.arange(0, min(2 * x.bits, result.bits), 2)
    heights = crossed.heights + np.bincount(diagonal, minlength=result.bits)
    return per_element(PartialProducts(heights, crossed.constant, crossed.cells).summed(1), result)


def _row(rest: int, trial: int, start: int, last: bool) -> Cells:
    """One trial subtraction of ``trial`` bits from ``rest``, from column ``start`` on.

    An OR made the carry into that column. Where the rest has a bit more, it fits; where the trial has more,
    they must be 0. The last row of an array compares: nobody needs what is left.
    """
    columns = min(rest, trial) - start
    joined = Cells({"or": 1 + (rest > trial), "and": rest < trial})
    return joined + Cells({"xor" if last else "full_adder": columns, "mux": columns})


def _round_div(op: RoundDiv, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """``abs(a) + b // 2`` in one row, where the +1 of a negation is a carry in, then a restoring array.

    The rest has no more bits than the dividend has had so far. The inverted divisor, and where it is 0 from
    each bit on, is shared by all that divide by it.
    """
    a, b = operands
    rows = result.interval.magnitude.bit_length()
    if not rows:
        return WIRES
    signed, width = a.interval.signed, (a.interval.magnitude + b.interval.hi // 2).bit_length()
    rests = [min(b.bits + 1, width - row) for row in reversed(range(rows))]
    heights = np.zeros((1, max(a.bits, b.bits)), np.int64)
    heights[0, : a.bits - signed] += 1
    heights[0, : b.bits - 1] += 1
    heights[0, 0] += signed
    each = sum_over(compress(heights, integers([0]), width), 1)
    for rest in rests[:-1]:
        each += _row(rest, b.bits, 1, last=False) + Cells({"xor": 1, "and": 1})
    each += _row(rests[-1], b.bits, 1, last=True)
    if result.interval.signed:
        heights = np.ones((1, result.bits), np.int64)
        heights[0, 0] = 2
        each += sum_over(compress(heights, integers([0]), result.bits), 1) + Cells({"xor": rows})
    above = max(0, b.bits - rests[0])
    inverted = b.bits if rows > 1 else 1 + above
    shared = Cells({"not": inverted, "and": max(0, above - 1)})
    magnitude = Cells({"xor": (a.bits - 1) * signed})
    return per_element(each, result) + per_element(magnitude, a) + per_element(shared, b)


def _floor_sqrt(op: FloorSqrt, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """A restoring array: row ``k`` takes two more bits and tries to subtract ``4 * root + 1``.

    The two lowest bits of that are constants, which leave an OR, two XORs and an AND of a row. The highest
    bit of an operand of odd width is its own root.
    """
    rows, odd = result.bits, operands[0].bits % 2
    cells, rest = Cells({"not": max(0, rows - 2, min(odd, rows - 1))}), 0
    for row in range(1 + odd, rows + 1):
        cells += _row(rest + 2, row + 1, 2, last=row == rows)
        if row < rows:
            cells += Cells({"xor": 2, "and": 1})
        rest = min(rest + 2, row + 1)
    return per_element(cells, result)


COSTS: dict[type[Op], Callable[..., Circuits]] = {
    Mul: _mul,
    Square: _square,
    MatMul: _mat_mul,
    RoundDiv: _round_div,
    FloorSqrt: _floor_sqrt,
}
"""The rules of this family, as in ``gates.COSTS``."""
