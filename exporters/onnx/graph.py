"""The ONNX graph under construction: tensors, constants, and the forms in which values are held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from exporters.legalize import unused
from exporters.onnx.profiles import Profile
from runtime.ir import Node, Program
from runtime.printer import node_text
from runtime.types import Interval, TensorType


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor holds a value: element type, and ``tensor = factor * value``."""

    dtype: np.dtype[Any]
    factor: int = 1


BOOL = Form(np.dtype(np.bool_))
UINT8 = Form(np.dtype(np.uint8))
MASK = Form(np.dtype(np.uint8), 255)
"""A bit as 0 or 255: what a saturating QLinearConv yields for a threshold."""
INT32 = Form(np.dtype(np.int32))
INT64 = Form(np.dtype(np.int64))
FLOAT32 = Form(np.dtype(np.float32))
FLOAT64 = Form(np.dtype(np.float64))


def wide_carrier(*intervals: Interval) -> Form:
    """INT32 where magnitudes within all of ``intervals`` stay below 2**31, else INT64."""
    return INT32 if intervals[0].hull(*intervals).magnitude < 2**31 else INT64


def carrier(*intervals: Interval) -> Form:
    """The smallest of UINT8, INT32 and INT64 that holds every one of ``intervals``."""
    hull = intervals[0].hull(*intervals)
    return UINT8 if hull.lo >= 0 and hull.hi <= 255 else wide_carrier(hull)


class Graph:
    """Collects nodes and initializers; ``read`` hands out values in the form an operator needs.

    ``types``: the type of every value of the program. Tensors get readable names: the value's own
    for the tensor that defines it, ``value/Operator`` for those in between.
    """

    def __init__(self, program: Program, profile: Profile) -> None:
        self.types: Mapping[str, TensorType] = program.types
        self.profile = profile
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._taken = set(self.types)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._forms: dict[str, dict[Form, str]] = {}
        self._owner: dict[str, str] = {}
        self._scope = ""
        self._notes: dict[str, str] = {}

    def at_node(self, node: Node) -> None:
        """Name and annotate what is emitted from here on after ``node`` of the program."""
        self._scope = node.result
        self._notes = {"op": node_text(node)} | ({"layer": node.layer} if node.layer else {})

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append one operator; returns the name of its only output. An empty input is left out."""
        output = unused(f"{self._scope}/{operator}", self._taken)
        node = helper.make_node(operator, inputs, [output], name=output, **attributes)
        helper.set_metadata_props(node, self._notes)
        self.nodes.append(node)
        return output

    def constant(self, array: NDArray[Any], hint: str) -> str:
        """The name of an initializer that holds ``array``; equal arrays share one."""
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            scope = f"{self._scope}/{hint}" if array.size > 1 else f"{hint}_{array.reshape(-1)[0]}"
            self._constants[key] = unused(scope, self._taken)
            tensor = numpy_helper.from_array(np.ascontiguousarray(array), self._constants[key])
            self.initializers.append(tensor)
        return self._constants[key]

    def shape(self, *dims: int) -> str:
        """A constant int64 vector, for shapes, axes, pads and slice bounds."""
        return self.constant(np.array(dims, np.int64), "shape")

    def scalar(self, value: float, form: Form) -> str:
        """A constant scalar of the form's element type."""
        return self.constant(np.array(value, form.dtype), form.dtype.name)

    def per_channel(self, values: NDArray[Any], form: Form, rank: int, hint: str) -> str:
        """Constant of one value per channel that broadcasts over ``rank`` axes after the batch."""
        return self.constant(values.astype(form.dtype).reshape((-1,) + (1,) * (rank - 1)), hint)

    def cast(self, tensor: str, dtype: np.dtype[Any]) -> str:
        """``tensor`` converted to ``dtype``."""
        return self.emit("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(dtype))

    def arithmetic(self, *intervals: Interval) -> Form:
        """The smallest form that holds ``intervals`` and that Add and GreaterOrEqual take."""
        return (carrier if self.profile.byte_arithmetic else wide_carrier)(*intervals)

    def define(self, value: str, tensor: str, form: Form) -> None:
        """Say that ``tensor`` holds ``value`` in ``form``."""
        if tensor in self._owner:
            tensor = self.emit("Identity", tensor)
        self._owner[tensor] = value
        self._forms[value] = {form: tensor}

    def held(self, value: str) -> Form:
        """The form in which ``value`` was defined."""
        return next(iter(self._forms[value]))

    def read(self, value: str, form: Form) -> str:
        """The tensor that holds ``value`` in ``form``, converted at most once; MASK only if held so."""
        forms = self._forms[value]
        if form not in forms:
            forms[form] = self._converted(value, form)
            self._owner[forms[form]] = value
        return forms[form]

    def _converted(self, value: str, form: Form) -> str:
        source = self.held(value)
        if source != MASK or form == BOOL:
            return self.cast(self._forms[value][source], form.dtype)
        if form == UINT8:
            return self.emit("BitwiseAnd", self._forms[value][MASK], self.scalar(1, UINT8))
        return self.cast(self.read(value, UINT8), form.dtype)

    def rename(self, outputs: Mapping[str, Form]) -> None:
        """Give every value's name to the tensor that defines it, or, for an output, holds its form."""
        final = {}
        for value, forms in self._forms.items():
            final[forms[outputs[value]] if value in outputs else next(iter(forms.values()))] = value
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [final.get(name, name) for name in names]
