"""Lowering: from a trained torch model to an integer program that equals it on every input.

The model is copied to float64 in evaluation mode and traced with ``torch.fx``; modules in ``LAYERS`` and
functions in ``FUNCTIONS`` are leaves, everything else is traced through. Each leaf's rule emits ops.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

from runtime.errors import ProgramError
from runtime.ir import Builder, Program
from runtime.ops import ArgMax
from runtime.types import Interval
from toolchain.layers import LAYERS, QuaternionConv2d, QuaternionLinear, RealConv2d, RealLinear
from toolchain.layers.base import SCORES, Lowered, LoweringError, Site
from toolchain.layers.functions import FUNCTIONS
from toolchain.layers.precision import PhasedModule
from toolchain.passes import run_passes

INPUT, CLASS = "image", "class"
"""Names of a program's input and of a classifier's decision."""

INSTEAD: dict[type[nn.Module], str] = {
    nn.ReLU: "Activation",
    nn.Conv2d: "HEQConv2d",
    nn.Linear: "HEQLinear or HEQClassifier",
    nn.BatchNorm1d: "BatchNorm",
    nn.BatchNorm2d: "BatchNorm",
    nn.AvgPool2d: "SumPool2d",
    nn.AdaptiveAvgPool2d: "GlobalSumPool",
    RealConv2d: "HEQConv2d (`gatefold quantize` makes it)",
    RealLinear: "HEQLinear or HEQClassifier (`gatefold quantize` makes them)",
    QuaternionConv2d: "HEQQuaternionConv2d (`gatefold quantize` makes it)",
    QuaternionLinear: "HEQQuaternionLinear (`gatefold quantize` makes it)",
}
"""What takes the place of a module of torch that has no lowering rule."""

__all__ = ["CLASS", "INPUT", "SCORES", "LoweringError", "lower", "reference_model"]


def reference_model(model: nn.Module) -> nn.Module:
    """A copy of ``model`` on the CPU, in float64 and evaluation mode: what a program must equal.

    Raises LoweringError for anything but a module.
    """
    if not isinstance(model, nn.Module):
        raise LoweringError(
            f"a model must be a torch.nn.Module, not {type(model).__name__}; build or load one first"
        )
    return copy.deepcopy(model).cpu().double().eval()


def lower(
    model: nn.Module,
    input_shape: tuple[int, ...],
    input_interval: Interval,
    name: str,
    metadata: Mapping[str, Any] | None = None,
) -> Program:
    """The integer program of ``model``, optimized by the default passes and verified.

    ``input_shape``: without the batch, for example (1, 28, 28). ``input_interval``: the integers that raw
    inputs take. ``metadata``: JSON kept in the program. ``model`` is not changed.

    A model that ends in a ``HEQClassifier`` gives outputs ``scores`` (integers; the float64 logits are
    ``scores * classifier.scale``, bit for bit) and ``class`` (their first largest). Any other model gives
    its last value. Raises LoweringError naming the module that cannot be lowered, and what is supported.
    """
    reference = reference_model(model)
    tracer = _Tracer()
    if tracer.is_leaf_module(reference, ""):
        reference = nn.Sequential(reference)
    graph = _trace(tracer, reference)
    builder = Builder(name)
    builder.input(INPUT, tuple(input_shape), input_interval)
    modules = dict(reference.named_modules())
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = _lower_input(node, values)
        elif node.op == "output":
            outputs = _finish(builder, fx.node.map_arg(node.args[0], values.__getitem__))
        else:
            values[node] = _lower_call(builder, node, modules, values)
    return run_passes(builder.build(outputs, metadata))


class _Tracer(fx.Tracer):
    """Stops at modules with a lowering rule, at those they take the place of, and at modules of torch."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*LAYERS, *INSTEAD)) or super().is_leaf_module(m, module_qualified_name)


def _trace(tracer: fx.Tracer, model: nn.Module) -> fx.Graph:
    try:
        return tracer.trace(model)
    except Exception as error:  # whatever a foreign forward raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise LoweringError(
            "forward must not depend on the data (no branches, loops or conversions of tensors), nor fail, "
            f"but {type(model).__name__}.forward raises {reason}; correct it"
        ) from error


def _lower_input(node: fx.Node, values: Mapping[fx.Node, Any]) -> Lowered:
    if values:
        raise LoweringError(f"a model must have one input to be lowered; remove {node.target!r}")
    return Lowered(INPUT)


def _lower_call(
    builder: Builder, node: fx.Node, modules: Mapping[str, nn.Module], values: Mapping[fx.Node, Any]
) -> Any:
    """Emit one module or function call; the result is a Lowered, or plain Python for shapes."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    site = Site(builder, _path(node))
    if node.op == "call_module":
        module = modules[node.target]
        rule = _layer_rule(site, module)
        args = (module, *args)
    else:
        rule = _function_rule(site, node)
    try:
        inspect.signature(rule).bind(site, *args, **kwargs)
    except TypeError as error:
        raise site.error(f"this way of calling it is not supported: {error}") from None
    builder.at_layer(site.path)
    try:
        return rule(site, *args, **kwargs)
    except ProgramError as error:
        raise site.error(str(error)) from None


def _path(node: fx.Node) -> str:
    """Dotted path of a module; for a function, its name after the path of the module that calls it."""
    if node.op == "call_module":
        return str(node.target)
    inside = [*node.meta.get("nn_module_stack", ())][-1:]
    return ".".join([*inside, _function_name(node.target)])


def _function_name(function: Callable[..., Any] | str) -> str:
    return function if isinstance(function, str) else function.__name__


def _layer_rule(site: Site, module: nn.Module) -> Callable[..., Any]:
    kind = type(module)
    if kind not in LAYERS:
        known = ", ".join(layer.__name__ for layer in LAYERS)
        rule = f"a module must be one of {known}, not {kind.__name__}"
        base = next((parent for parent in kind.__mro__ if parent in LAYERS), None)
        if base is not None:
            name = base.__name__
            raise site.error(
                f"{rule}, a subclass, which has no lowering rule; use or compose {name} itself"
            )
        raise site.error(f"{rule}; use {INSTEAD.get(kind, 'one of these')} instead")
    if isinstance(module, PhasedModule) and not module.quantized:
        raise site.error('a model must be quantized to be lowered; use set_precision(model, "quantized")')
    return LAYERS[kind]


def _function_rule(site: Site, node: fx.Node) -> Callable[..., Any]:
    if node.op == "get_attr":
        raise site.error("forward must not use parameters or buffers itself; put them in a layer")
    if node.target not in FUNCTIONS:
        known = ", ".join(sorted({_function_name(key) for key in FUNCTIONS}))
        raise site.error(f"a function must be one of {known}, not {_function_name(node.target)}")
    return FUNCTIONS[node.target]


def _finish(builder: Builder, tensor: object) -> tuple[str, ...]:
    """Name the outputs, after appending ArgMax to a classifier's scores."""
    site = Site(builder, "output")
    if not isinstance(tensor, Lowered):
        kind = type(tensor).__name__.removeprefix("immutable_")  # torch.fx freezes lists and dicts
        raise site.error(f"forward must return one tensor, not a {kind}; return only the last value")
    if tensor.value == INPUT and not tensor.pending:
        raise site.error("a model must compute something, not return its input; add a layer")
    if not tensor.logits:
        return (site.integers(tensor),)
    return tensor.value, site.emit(ArgMax(), tensor.value, name=CLASS)
