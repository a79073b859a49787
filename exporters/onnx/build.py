"""From a program to an ONNX model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx import helper

from exporters.legalize import legalize
from exporters.onnx.fused import emit_fused, find_fused
from exporters.onnx.graph import Form, Graph, wide_carrier
from exporters.onnx.profiles import PROFILES, Profile
from exporters.onnx.rules import RULES
from runtime.errors import InputError
from runtime.ir import Program
from runtime.types import TensorType
from runtime.version import VERSION

BATCH = "batch"
"""Name of the dynamic first axis of every input and output."""


def build(program: Program, profile: str = "portable") -> onnx.ModelProto:
    """``program`` as a model of standard operators with integer arithmetic.

    Inputs: one per program input, in the smallest NumPy dtype of its interval (uint8 for pixels), shape
    ``(batch, *shape)``. Outputs: one per program output under its name, int32 where its interval fits
    and int64 elsewhere (an output that is an input keeps that input's dtype). Raises InputError for an
    unknown profile, ProgramError for an op that has no rule and does not decompose.
    """
    if profile not in PROFILES:
        raise InputError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    graph = Graph(program, PROFILES[profile])
    outputs = _output_forms(program)
    _emit_all(graph, program, outputs)
    types = program.types
    body = helper.make_graph(
        graph.nodes,
        program.name,
        [_value_info(spec.name, spec.type, spec.type.interval.dtype) for spec in program.inputs],
        [_value_info(name, types[name], form.dtype) for name, form in outputs.items()],
        graph.initializers,
    )
    return _model(body, program, PROFILES[profile])


def render(program: Program, profile: str = "portable") -> dict[str, bytes]:
    """The exporter's entry point: the serialized model."""
    return {".onnx": build(program, profile).SerializeToString(deterministic=True)}


def _output_forms(program: Program) -> dict[str, Form]:
    inputs = {spec.name: Form(spec.type.interval.dtype) for spec in program.inputs}
    types = program.types
    return {name: inputs.get(name) or wide_carrier(types[name].interval) for name in program.outputs}


def _emit_all(graph: Graph, program: Program, outputs: Mapping[str, Form]) -> None:
    legal = legalize(program, RULES, "onnx")
    graph.types = legal.types | program.types
    fused = find_fused(legal)
    absorbed = {name for chain in fused.values() for name in chain.absorbed}
    for spec in program.inputs:
        graph.define(spec.name, spec.name, Form(spec.type.interval.dtype))
    for node in legal.nodes:
        graph.at_node(node)
        if node.result in fused:
            graph.define(node.result, *emit_fused(graph, fused[node.result]))
        elif node.result not in absorbed:
            graph.define(node.result, *RULES[type(node.op)](graph, node))
        if node.result in outputs:
            graph.read(node.result, outputs[node.result])
    graph.rename(outputs)


def _value_info(name: str, type_: TensorType, dtype: Any) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, element, (BATCH, *type_.shape))


def _model(body: onnx.GraphProto, program: Program, profile: Profile) -> onnx.ModelProto:
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", profile.opset)],
        ir_version=profile.ir_version,
        producer_name="gatefold",
        producer_version=VERSION,
    )
    notes = {f"program.{key}": text for key, text in flatten(program.metadata)}
    notes |= {"program.name": program.name, "gatefold.version": VERSION}
    helper.set_model_props(model, notes | {"gatefold.profile": profile.name})
    helper.set_metadata_props(model.graph, {"program": program.name, "profile": profile.name})
    return model


def flatten(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Nested JSON as dotted keys and text: text as it is, anything else as JSON."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", text) for inner, text in flatten(value))
        else:
            yield key, value if isinstance(value, str) else json.dumps(value)
