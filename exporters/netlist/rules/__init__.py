"""One circuit per op: ``BUILDERS``. Ops without a row are built from what they decompose into."""

from __future__ import annotations

from exporters.netlist.rules import linear, products, tensors, words
from exporters.netlist.rules.words import Builder
from runtime.ops import Op

BUILDERS: dict[type[Op], Builder] = {
    **words.BUILDERS,
    **products.BUILDERS,
    **tensors.BUILDERS,
    **linear.BUILDERS,
}
"""``builder(net, op, operands, operand types, result type)``; nets are arrays ``(*type.shape,
type.bits)``."""
