"""Training phases: the same network in full precision and quantized."""

from __future__ import annotations

from torch import nn

from runtime.errors import InputError

PRECISIONS = ("float", "quantized")


class PhasedModule(nn.Module):
    """A module that computes differently in the two phases.

    ``precision`` is ``"quantized"`` at construction. It is configuration, not state: it is no part of
    ``state_dict``.
    """

    precision: str = "quantized"

    @property
    def quantized(self) -> bool:
        """Whether the module computes with codes."""
        return self.precision == "quantized"


def set_precision(model: nn.Module, precision: str) -> None:
    """Switch every layer of ``model`` to ``"float"`` or ``"quantized"``.

    ``float``: weights are ``w / step``, unrounded and unclipped (so their size agrees with the codes at
    the switch); activations and logic skips are their clipped linear relaxations. It serves for
    pre-training and for the float32 twin. Raises InputError for any other word.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    for module in model.modules():
        if isinstance(module, PhasedModule):
            module.precision = precision
