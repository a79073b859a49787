"""What a layer's lower function works with: values being built, and the place to emit ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from runtime.errors import InputError
from runtime.ir import Builder
from runtime.ops import Op
from runtime.types import FLOAT64_EXACT, TensorType

SCORES = "scores"
"""Name of the value that holds a classifier's integer scores."""

EXACT_LIMIT = FLOAT64_EXACT
"""Integers up to here are exact in float64, the carrier of the reference model."""


class LoweringError(InputError):
    """A model cannot be lowered; the message names the module and what is supported."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """One tensor of the model during lowering.

    ``value``: its integers, a value of the program. ``pending``: per-channel modules (batch norms) that
    the model has applied to them and the program has not; an activation resolves them into thresholds.
    ``logits``: the integers are classifier scores, which the model has multiplied by a positive scale.
    """

    value: str
    pending: tuple[nn.Module, ...] = ()
    logits: bool = False


LowerRule = Callable[..., Lowered]
"""``rule(site, module, *inputs) -> Lowered``."""


class Site:
    """One module call (or function call) of the model being lowered: where its ops are emitted.

    ``path``: dotted path of the module, or the function's name. Errors raised here name it.
    """

    def __init__(self, builder: Builder, path: str) -> None:
        self._builder = builder
        self.path = path

    def error(self, message: str) -> LoweringError:
        """A LoweringError at this place."""
        return LoweringError(f"cannot lower {self.path!r}: {message}")

    def type_of(self, x: Lowered) -> TensorType:
        """Type of the integers behind ``x``."""
        return self._builder.type_of(x.value)

    def tensor(self, x: object) -> Lowered:
        """``x`` if it is a tensor of the model; constants have no lowering."""
        if not isinstance(x, Lowered):
            raise self.error(f"operands must be tensors computed from the input, not {x!r:.80}")
        return x

    def unscaled(self, x: object) -> Lowered:
        """``x``, which must not be a classifier's logits; batch norms may be pending."""
        tensor = self.tensor(x)
        if tensor.logits:
            raise self.error("its operand comes from a HEQClassifier, which must be the last module")
        return tensor

    def integers(self, x: object) -> str:
        """The program value of ``x``, which must hold integer codes or accumulators."""
        tensor = self.unscaled(x)
        if tensor.pending:
            kind = type(tensor.pending[-1]).__name__
            raise self.error(
                f"its operand must hold integers, but it comes from a {kind}; "
                "put an Activation in between (only MaxPool2d and BatchNorm may come first)"
            )
        return tensor.value

    def emit(self, op: Op, *operands: str, name: str = "") -> str:
        """Append an op; returns the name of its result. Raises ProgramError where it does not fit."""
        value = self._builder.add(op, *operands, name=name or f"{self.path}.{op.name.lower()}")
        interval = self._builder.type_of(value).interval
        if interval.magnitude > EXACT_LIMIT:
            raise self.error(f"integers must stay within 2**53 to be exact in float64, not {interval}")
        return value
