"""Executors ``onnx`` (ONNX Runtime on CPU) and ``onnx-reference`` (the evaluator of the onnx package)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime
from onnx.reference import ReferenceEvaluator

from exporters.onnx.build import build
from runtime.errors import InputError
from runtime.ir import Program
from runtime.types import IntArray

OPTIMIZATION = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""ONNX Runtime's graph optimization levels; results do not depend on them."""

_ERRORS_ONLY = 3


def open_model(model: bytes, optimization: str = "all", threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU. Raises InputError for an unknown optimization level."""
    if optimization not in OPTIMIZATION:
        raise InputError(f"optimization must be one of {', '.join(OPTIMIZATION)}, not {optimization!r}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = OPTIMIZATION[optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # threads that spin after a run has ended would take cores from whatever comes next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxExecutor:
    """Executor ``onnx``: the exported model in ONNX Runtime."""

    def __init__(
        self,
        program: Program,
        profile: str = "portable",
        optimization: str = "all",
        threads: int = 1,
    ) -> None:
        self._dtypes = {spec.name: spec.type.interval.dtype for spec in program.inputs}
        self._outputs = list(program.outputs)
        model = build(program, profile).SerializeToString()
        self._session = open_model(model, optimization, threads)

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for int64 inputs of shape ``(batch, *type.shape)``."""
        feeds = {name: array.astype(self._dtypes[name]) for name, array in inputs.items()}
        results = self._session.run(self._outputs, feeds)
        return {n: r.astype(np.int64) for n, r in zip(self._outputs, results, strict=True)}


class OnnxModernExecutor(OnnxExecutor):
    """Executor ``onnx-modern``: the same in the profile ``modern``."""

    def __init__(self, program: Program, threads: int = 1) -> None:
        super().__init__(program, "modern", threads=threads)


class OnnxReferenceExecutor:
    """Executor ``onnx-reference``: the exported model in ``onnx.reference.ReferenceEvaluator``."""

    def __init__(self, program: Program, profile: str = "portable") -> None:
        self._dtypes = {spec.name: spec.type.interval.dtype for spec in program.inputs}
        self._outputs = list(program.outputs)
        self._evaluator = ReferenceEvaluator(build(program, profile))

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for int64 inputs of shape ``(batch, *type.shape)``."""
        feeds = {name: array.astype(self._dtypes[name]) for name, array in inputs.items()}
        results = self._evaluator.run(self._outputs, feeds)
        return {n: r.astype(np.int64) for n, r in zip(self._outputs, results, strict=True)}
